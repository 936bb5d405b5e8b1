"""A sweep on this machine: run after run, stopped, failed, and what is told of it."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from hpcbench.errors import ConfigError
from hpcbench.sweeps.plan import make_plan, read_sweep
from hpcbench.sweeps.runner import Runner
from support import only_run, run, start
from support.sweeps import SMALL, TWO, sweep_file


def lines_with(results):
    """The command lines of processes that name a folder."""
    lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(results) in line]


@pytest.mark.slow
def test_a_sweep_runs_plots_and_skips_what_is_done(tmp_path):
    path = sweep_file(tmp_path)
    results = tmp_path / "results"
    sweep = ["python", "-m", "hpcbench.sweep", "run", path, "--results", results]
    first = run([*sweep, "--plot", tmp_path / "figures"])
    assert first.status == 0, first.output + first.errors
    assert first.output.count(": done,") == 4
    assert "(a guess) for the others" in first.output
    early, late = first.output.split("[3/4]")
    assert f"left; what is known so far: {tmp_path}/figures/report.html" in early
    assert "4 runs, 4 points" in late
    again = run(sweep)
    assert again.status == 0
    assert "4 complete already" in again.output
    assert "still missing" not in (tmp_path / "figures" / "report.html").read_text()
    for name in ("overview", "throughput", "speedup", "efficiency", "accuracy_epochs"):
        for suffix in ("png", "svg"):
            assert (tmp_path / "figures" / f"{name}.{suffix}").stat().st_size > 5000
    assert (tmp_path / "figures" / "scaling.csv").read_text().count("\n") == 5


@pytest.mark.slow
def test_a_sweep_that_is_told_to_stop_stops_its_run(tmp_path):
    """And says how to go on; nothing trains behind its back."""
    long = SMALL.replace("epochs = 1", "epochs = 5000").replace("[1, 2]", "[2]")
    path = sweep_file(tmp_path, long.replace(', "mirrored"', ""))
    results = tmp_path / "results"
    command = [sys.executable, "-m", "hpcbench.sweep", "run", str(path), "--results", str(results)]
    process = start(command, results, "throughput.csv")
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 75, output + errors
    assert "stopped, to be resumed" in output
    assert "does what is missing" in errors
    folder, document = only_run(results)
    assert document["status"] == "failed"
    assert (folder / "checkpoint.npz").exists()
    assert lines_with(results) == []


@pytest.mark.slow
def test_an_interrupted_sweep_leaves_a_report_of_what_was_measured(tmp_path):
    """Also where the signal reached the sweep alone; nothing trains on."""
    text = SMALL.replace("[1, 2]", "[1]").replace('"horovod", ', "")
    path = sweep_file(tmp_path, text)
    results = tmp_path / "results"
    command = [sys.executable, "-m", "hpcbench.sweep", "run", str(path), "--results", str(results)]
    assert run(command).status == 0
    (rows,) = results.rglob("throughput.csv")
    path.write_text(text.replace("epochs = 1", "epochs = 5000"))
    command += ["--plot", str(tmp_path / "figures")]
    process = start(command, results, "throughput.csv", rows.read_text().count("\n"))
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 130, output + errors
    assert "1 run, 1 point\n" in output
    assert "run it again to go on" in errors
    report = (tmp_path / "figures" / "report.html").read_text()
    assert "1 run of this sweep still missing" in report
    assert lines_with(results) == []


@pytest.mark.slow
def test_a_failed_run_is_told_and_run_again(tmp_path):
    bad = SMALL.replace("epochs = 1", "epochs = 1\nlearning_rate = 1e30\noptimizer = 'sgd'")
    bad = bad.replace("[1, 2]", "[1]").replace('"horovod", ', "")
    path = sweep_file(tmp_path, bad)
    sweep = ["python", "-m", "hpcbench.sweep", "run", path, "--results", tmp_path / "results"]
    for _ in range(2):
        done = run(sweep)
        assert done.status == 4
        assert "FAILED (4)" in done.output
        assert "0 complete already" in done.output


def test_a_report_that_cannot_be_written_is_said_before_a_run(tmp_path):
    (tmp_path / "file").touch()
    figures = tmp_path / "file" / "figures"
    sweep = ["python", "-m", "hpcbench.sweep", "run", sweep_file(tmp_path), "--plot", figures]
    done = run([*sweep, "--results", tmp_path / "results"])
    assert done.status == 3
    assert f"folder {figures} cannot be written" in done.errors
    assert list(tmp_path.rglob("run.json")) == []


@pytest.mark.slow
def test_a_run_that_measures_nothing_is_ended(tmp_path):
    """It says that it runs, and then nothing for longer than it may."""
    planned = make_plan(read_sweep(sweep_file(tmp_path)), tmp_path, TWO).runs[0]
    planned.folder.mkdir(parents=True)
    (tmp_path / "logs").mkdir()
    says = json.dumps({"schema_version": 3, "run_id": "a", "sweep": "b", "status": "running"})
    path = str(planned.folder / "run.json")
    program = (
        f"from pathlib import Path; Path({path!r}).write_text({says!r})\n"
        f"import subprocess, sys\n"
        f"subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    )
    runner = Runner(tmp_path / "logs", {"HPCBENCH_STALL_SECONDS": "2"})
    begun = time.monotonic()
    outcome = runner.run(planned, [sys.executable, "-c", program])
    assert time.monotonic() - begun < 60
    assert "nothing was measured for 2 s (HPCBENCH_STALL_SECONDS)" in outcome.reason
    assert only_run(planned.folder)[1]["failure"] == "timeout"
    with pytest.raises(ConfigError, match="HPCBENCH_STALL_SECONDS='soon' is not a number of"):
        Runner(tmp_path, {"HPCBENCH_STALL_SECONDS": "soon"})


def test_a_run_that_the_system_kills_for_memory(tmp_path):
    group = Path("/sys/fs/cgroup/memory")
    limit = "memory.limit_in_bytes" if group.exists() else "memory.max"
    group = (group if group.exists() else group.parent) / f"hpcbench-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / limit).write_text("100000000")
    except OSError:
        pytest.skip("no right to make a control group that limits memory")
    planned = make_plan(read_sweep(sweep_file(tmp_path)), tmp_path, TWO).runs[0]
    (tmp_path / "logs").mkdir()
    program = (
        f"open('{group}/cgroup.procs', 'w').write('0'); print('training'); held = b'x' * 10**9"
    )
    try:
        outcome = Runner(tmp_path / "logs").run(planned, [sys.executable, "-u", "-c", program])
    finally:
        group.rmdir()
    assert outcome.status == -signal.SIGKILL
    document = only_run(planned.folder)[1]
    assert document["failure"] == "out-of-memory"
    assert document["message"] == "memory ran out, and the system killed processes for it; training"
