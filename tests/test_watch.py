"""Runs are followed while they measure: in the terminal, and as a page that reloads itself."""

import json
import shutil
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hpcbench.analysis.underway import look
from hpcbench.config import RunConfig
from hpcbench.sweeps.submission import Submission
from hpcbench.watch import main as watch
from support import IDENTITY, call, run, start, train_command
from synthetic_sweep import write_run, write_sweep

RELOADS = '<meta http-equiv="refresh"'


CONFIGS = [
    RunConfig(model="cnn-2", strategy="horovod", devices=1 + number // 3, repeat=number % 3)
    for number in range(8)
]
LAST = CONFIGS[5].run_id


@pytest.fixture
def results(tmp_path) -> Path:
    """Five runs that have ended, of one and two devices, and one that writes a line just now."""
    folder, generator = tmp_path / "results" / "s", np.random.default_rng(1)
    for config in CONFIGS[:6]:
        identity = replace(
            IDENTITY,
            **{"run_id": config.run_id, "sweep": "s", "model": "cnn-2", "strategy": "horovod"},
            **{"devices": config.devices, "global_batch": 128 * config.devices},
            repeat=config.repeat,
        )
        rate = 1000.0 if config.devices == 1 else 1900.0
        of_run = {"config": config.model_dump(mode="json")}
        write_run(folder / config.run_id, identity, rate, 4, generator, **of_run)
    edited(folder, status="running")
    csv = folder / LAST / "throughput.csv"
    csv.write_text(csv.read_text().rstrip("\n")[:-3])
    return folder


def edited(folder: Path, **changes: str) -> None:
    """The last run's run.json, with ``changes``."""
    path = folder / LAST / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def submitted(folder: Path, configs: list[RunConfig]) -> None:
    """As a submission of these runs wrote it."""
    record = Submission("s", "mine", folder.parent, None, {"0": list(configs)})
    (folder / "submissions").mkdir()
    record.write(folder / "submissions" / "one.json")


def test_what_is_under_way_is_told_by_its_whole_lines(results):
    progress = look(results.parent)
    assert Counter(progress.ended.values()) == {"complete": 5}
    (under_way,) = progress.under_way
    assert (under_way.devices, under_way.repeat) == (2, 2)
    lines = (results / LAST / "throughput.csv").read_text().split("\n")
    names, rows = lines[0].split(","), [line.split(",") for line in lines[1:-1]]
    train = [dict(zip(names, row, strict=True)) for row in rows if "train" in row]
    seconds = sum(float(row["seconds"]) for row in train)
    assert under_way.samples_per_second == pytest.approx(
        sum(float(row["samples"]) for row in train) / seconds
    )
    for text in ("", "run_id\n", "x,y\n1,2\n", lines[0] + "\n"):
        (results / LAST / "throughput.csv").write_text(text)
        (under_way,) = look(results).under_way
        assert under_way.samples_per_second is None
    (results / LAST / "throughput.csv").unlink()
    assert look(results).under_way[0].samples_per_second is None


def test_the_points_so_far_and_what_is_to_come(results):
    submitted(results, CONFIGS)
    shown = call(watch, results, "--once")
    assert shown.status == 0
    assert "5 complete, 1 under way, 2 to come" in shown.output
    assert "samples/s now" in shown.output
    efficiency = [line for line in shown.output.splitlines() if "100%" in line]
    assert len(efficiency) == 1, "the base"
    # Runs that others made do not stand for those that were submitted and are to come.
    for config in CONFIGS[:5]:
        shutil.rmtree(results / config.run_id)
    write_sweep(results.parent / "other", (1, 2), 9, 4, models=["cnn-2"], strategies=["horovod"])
    assert "18 complete, 1 under way, 7 to come" in call(watch, results.parent, "--once").output
    assert call(watch, results / "none").status == 2
    assert call(watch, results, "--seconds", "0").status == 2


def test_a_run_that_says_that_it_is_complete_and_is_not_whole_is_no_point(results):
    for config in CONFIGS[:5]:
        (results / config.run_id / "throughput.csv").write_text("cut")
    shown = call(watch, results, "--once")
    assert shown.status == 0
    assert "5 complete" in shown.output
    assert "so far" not in shown.output


@pytest.mark.slow
def test_the_page_reloads_itself_until_all_is_over(results, tmp_path):
    submitted(results, CONFIGS[:6])
    page = tmp_path / "page"
    line = ("python", "-m", "hpcbench", "watch", results, "--page", page, "--seconds", "1")
    assert run([*line, "--once"]).status == 0
    assert RELOADS in (page / "report.html").read_text()
    edited(results, status="failed")
    done = run(line)
    assert done.status == 0, "it ends by itself"
    assert "5 complete, 1 failed, 0 under way" in done.output
    assert RELOADS not in (page / "report.html").read_text()


@pytest.mark.slow
def test_a_program_is_followed(tmp_path):
    """Of which rows are written when it ends; a step sleeps for 5 ms on 32 samples."""
    program = (
        "import time, numpy, hpcbench\n"
        "for _ in hpcbench.steps(numpy.ones((32, 4)) for _ in range(10_000)):\n"
        "    time.sleep(0.005)\n"
    )
    command = ["python", "-m", "hpcbench", "scale", "--results", tmp_path, "--devices=1"]
    process = start([*command, "--", "python", "-c", program], tmp_path, "*.jsonl", rows=25)
    try:
        (run,) = look(tmp_path).under_way
        assert 0.3 * 6400 < run.samples_per_second < 6400
        assert run.silent_seconds < 30
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


@pytest.mark.slow
def test_a_real_run_is_followed(tmp_path):
    command = train_command(tmp_path, "--model=fc-64", "--seconds=30")
    process = start(command, tmp_path, wait_for="throughput.csv", rows=3)
    try:
        shown = call(watch, tmp_path, "--once")
        assert "1 under way" in shown.output
        assert look(tmp_path).under_way[0].samples_per_second > 0
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
