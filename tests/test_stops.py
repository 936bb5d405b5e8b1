"""Runs that are stopped, killed or starved: what they measured stays, and is gone on from."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from hpcbench.devices.memory import oom_kills
from hpcbench.records.reader import read_results
from support import only_run, run, start, train, train_command
from support.networks import own_network

LONG = ("--epochs=400", "--interval-steps=20")


@pytest.mark.slow
def test_control_c_keeps_the_rows(results):
    process = start(train_command(results, *LONG), results)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    folder, document = only_run(results)
    assert document["status"] == "failed"
    assert (folder / "throughput.csv").read_text().endswith("\n")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["horovod", "mpi"])
def test_a_killed_rank_ends_the_others_and_leaves_readable_files(results, strategy):
    process = start(train_command(results, *LONG, strategy=strategy, devices=2), results)
    ranks = {
        child.environ()["OMPI_COMM_WORLD_RANK"]: child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "OMPI_COMM_WORLD_RANK" in child.environ()
    }
    os.kill(ranks["1"].pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode != 0
    _, alive = psutil.wait_procs(list(ranks.values()), timeout=60)
    assert not alive
    folder, document = only_run(results)
    assert document["status"] == "failed"
    assert document["failure"] == "communication"
    for name in ("throughput.csv", "accuracy.csv"):
        text = (folder / name).read_text()
        assert text.endswith("\n")
        assert len({line.count(",") for line in text.splitlines()}) == 1


SEEDED = ("--seed=5", "--repeat=0", "--cores-per-device=1")
THREE_EPOCHS = (*SEEDED, "--epochs=3", "--interval-steps=9")


@pytest.fixture(scope="module")
def not_stopped(tmp_path_factory):
    """What a run measures that nobody stops."""
    results = tmp_path_factory.mktemp("whole")
    whole = train(results, *THREE_EPOCHS, f"--model={own_network(results, width=512)}")
    assert whole.status == 0, whole.errors
    return read_results(results)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_stopped_run_resumes_as_if_it_had_not_stopped(tmp_path, not_stopped, number):
    """With what its optimizer, its moving statistics and its generators had come to."""
    network = own_network(tmp_path, width=512)
    command = train_command(tmp_path / "parts", *THREE_EPOCHS, f"--model={network}")
    # In the midst of the second of three epochs of 53 intervals.
    process = start(command, tmp_path / "parts", "throughput.csv", 60)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    folder, document = only_run(tmp_path / "parts")
    assert document["status"] == "failed"
    # The second where the machine is so busy.
    assert document["failure"] in ("preempted", "starved")
    measured = (folder / "throughput.csv").read_text().count("\n") - 1
    again = run([*command, "--resume"])
    assert again.status == 0, again.errors
    assert not (folder / "checkpoint.npz").exists()
    tables = not_stopped, read_results(tmp_path / "parts")
    assert 60 <= measured < len(tables[0].throughput)
    for name in ("interval", "steps", "samples"):
        one, other = (table.throughput[name].tolist() for table in tables)
        assert one == other
    columns = ["epoch", "train_loss", "train_metric", "test_metric"]
    one, other = (table.accuracy[columns].to_numpy() for table in tables)
    np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("framework", "model", "strategy"),
    [("torch", "cnn-pytorch", "fsdp"), ("jax", "fc-512", "zero-1")],
)
def test_parts_of_a_stopped_run_make_a_whole_that_goes_on(tmp_path, framework, model, strategy):
    """Two ranks, each with a part of what a checkpoint holds; the odd test sample makes the passes
    of their evaluations differ in number."""
    pytest.importorskip(framework)
    flags = (f"--framework={framework}", f"--model={model}", "--epochs=2", "--checkpoint")
    flags = (*flags, "--train-samples=1541", "--test-samples=2001", "--interval-steps=2")
    of_ranks = {"strategy": strategy, "devices": 2}
    through, parts = tmp_path / "through", tmp_path / "parts"
    done = train(through, *flags, *SEEDED, **of_ranks)
    assert done.status == 0, done.errors
    command = train_command(parts, *flags, *SEEDED, **of_ranks)
    process = start(command, parts, "throughput.csv", 3)
    for child in psutil.Process(process.pid).children(recursive=True):
        if "hpcbench.train" in child.cmdline():
            child.send_signal(signal.SIGUSR1)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 75, errors
    done = run([*command, "--resume"])
    assert done.status == 0, done.errors
    states = []
    for results in (through, parts):
        folder, _ = only_run(results)
        assert list(folder.glob("model.*"))
        with np.load(folder / "checkpoint.npz") as file:
            states.append({name: file[name] for name in file.files if name != "behind"})
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        np.testing.assert_array_equal(value, states[1][name], err_msg=name)


@pytest.mark.slow
def test_a_run_without_a_core_says_so(results):
    """Others have its core for most of the time, until somebody ends it."""
    core = str(min(os.sched_getaffinity(0)))
    process = start(["taskset", "--cpu-list", core, *train_command(results, *LONG)], results)
    burn = ["taskset", "--cpu-list", core, sys.executable, "-c", "while True: pass"]
    burners = [subprocess.Popen(burn) for _ in range(10)]
    try:
        # Until it has waited for longer than it ran, start-up included.
        used = psutil.Process(process.pid).cpu_times()
        time.sleep(3 * (used.user + used.system))
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=120)
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    assert process.returncode == 75, errors
    _, document = only_run(results)
    assert document["failure"] == "starved"
    assert "other processes had the cores of this rank" in document["message"]
    assert "stopped" in document["message"]


@pytest.mark.slow
def test_a_run_stopped_in_its_last_interval_completes(tmp_path):
    """What is left then is the last evaluation."""
    flags = ("--model=cnn-1", "--epochs=1", "--train-samples=9600", "--interval-steps=150")
    command = train_command(tmp_path, *flags, *SEEDED)
    process = start(command, tmp_path, "throughput.csv", 1)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    again = run([*command, "--resume"])
    assert again.status == 0, again.errors
    assert "already complete" in again.output
    assert only_run(tmp_path)[1]["status"] == "complete"


def test_only_what_was_killed_of_ones_own_job_counts(tmp_path):
    (tmp_path / "vmstat").write_text("oom_fake 3\noom_kill 9\n")
    groups = tmp_path / "cgroup"
    job = groups / "system.slice" / "slurmstepd.scope" / "job_17"
    (job / "step_0" / "user").mkdir(parents=True)
    (job / "memory.events").write_text("low 0\noom 4\noom_kill 2\noom_group_kill 0\n")
    (job / "step_0" / "user" / "memory.events").write_text("oom_kill 0\n")
    mine = tmp_path / "mine"
    for listed, count in (
        ("0::/system.slice/slurmstepd.scope/job_17/step_0/user\n", 2),
        ("0::/system.slice/slurmstepd.scope/job_17\n", 2),
        ("0::/system.slice/other.scope\n", 9),
        ("4:memory:/slurm/uid_0/job_17\n0::/\n", 9),
        ("", 9),
    ):
        mine.write_text(listed)
        assert oom_kills(tmp_path / "vmstat", groups, mine) == count
    assert oom_kills(tmp_path / "none", groups, mine) == 0
