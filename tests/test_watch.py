"""Runs are followed while they measure: in the terminal, and as a page that reloads itself."""

import json
import signal
from pathlib import Path

import pytest

from hpcbench.analysis.underway import look
from hpcbench.config import RunConfig
from hpcbench.sweeps.submission import Submission
from hpcbench.watch import main as watch
from support import call, run, start, train_command
from synthetic_sweep import write_sweep

RELOADS = '<meta http-equiv="refresh"'


@pytest.fixture
def results(tmp_path) -> Path:
    """Five runs that have ended, of one and two devices, and one that writes a line just now."""
    folder = tmp_path / "results" / "s"
    write_sweep(folder, (1, 2), 3, intervals=4, models=["cnn-2"], strategies=["horovod"])
    cut_off(folder / "cnn-2-horovod-2-2")
    return folder


def cut_off(folder: Path) -> None:
    path = folder / "run.json"
    config = {"model": "cnn-2", "strategy": "horovod", "devices": 2, "repeat": 2}
    document = json.loads(path.read_text()) | {"status": "running", "config": config}
    path.write_text(json.dumps(document))
    csv = folder / "throughput.csv"
    csv.write_text(csv.read_text().rstrip("\n")[:-3])


def submitted(folder: Path, runs: int) -> None:
    """As a submission of so many runs wrote it."""
    record = Submission("s", "mine", folder.parent, None)
    configs = [RunConfig(model="cnn-2", devices=1, repeat=number) for number in range(runs)]
    record.tasks["0"] = configs
    (folder / "submissions").mkdir()
    record.write(folder / "submissions" / "one.json")


def test_what_is_under_way_is_told_by_its_whole_lines(results):
    progress = look(results.parent)
    assert progress.ended == {"complete": 5}
    (under_way,) = progress.under_way
    assert (under_way.devices, under_way.repeat) == (2, 2)
    lines = (results / "cnn-2-horovod-2-2" / "throughput.csv").read_text().split("\n")
    names, rows = lines[0].split(","), [line.split(",") for line in lines[1:-1]]
    train = [dict(zip(names, row, strict=True)) for row in rows if "train" in row]
    seconds = sum(float(row["seconds"]) for row in train)
    assert under_way.samples_per_second == pytest.approx(
        sum(float(row["samples"]) for row in train) / seconds
    )
    for text in ("", "run_id\n", "x,y\n1,2\n", lines[0] + "\n"):
        (results / "cnn-2-horovod-2-2" / "throughput.csv").write_text(text)
        (under_way,) = look(results).under_way
        assert under_way.samples_per_second is None
    (results / "cnn-2-horovod-2-2" / "throughput.csv").unlink()
    assert look(results).under_way[0].samples_per_second is None


def test_the_points_so_far_and_what_is_to_come(results):
    submitted(results, 8)
    shown = call(watch, results, "--once")
    assert shown.status == 0
    assert "5 complete, 1 under way, 2 to come" in shown.output
    assert "samples/s now" in shown.output
    efficiency = [line for line in shown.output.splitlines() if "100%" in line]
    assert len(efficiency) == 1, "the base"
    assert call(watch, results / "none").status == 2
    assert call(watch, results, "--seconds", "0").status == 2


@pytest.mark.slow
def test_the_page_reloads_itself_until_all_is_over(results, tmp_path):
    submitted(results, 6)
    page = tmp_path / "page"
    line = ("python", "-m", "hpcbench", "watch", results, "--page", page, "--seconds", "1")
    assert run([*line, "--once"]).status == 0
    assert RELOADS in (page / "report.html").read_text()
    again = results / "cnn-2-horovod-2-2"
    document = json.loads((again / "run.json").read_text()) | {"status": "failed"}
    (again / "run.json").write_text(json.dumps(document))
    done = run(line)
    assert done.status == 0, "it ends by itself"
    assert "5 complete, 1 failed, 0 under way" in done.output
    assert RELOADS not in (page / "report.html").read_text()


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
