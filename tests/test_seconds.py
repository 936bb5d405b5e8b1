"""Runs of a length in seconds, whatever the machine and the device count."""

import signal

import pytest

from hpcbench.config import RunConfig
from hpcbench.records.reader import read_results
from hpcbench.sweeps.plan import STARTUP_SECONDS, PlannedRun, estimated_seconds
from hpcbench.training.loop import FEWEST_INTERVALS
from support import only_run, run, train, train_command
from test_failures import start

pytestmark = pytest.mark.slow

SMALL = ("--model=fc-64", "--test-samples=500", "--repeat=0", "--cores-per-device=1")


def measured(results, seconds):
    """The rows of the one run, which ended with the first interval that was enough."""
    read = read_results(results)
    assert read.skipped == []
    rows = read.throughput
    assert len(rows) >= FEWEST_INTERVALS
    assert rows["seconds"].sum() >= seconds
    assert rows["seconds"][:-1].sum() < seconds or len(rows) == FEWEST_INTERVALS
    return rows, read.accuracy


@pytest.mark.parametrize(("strategy", "devices"), [("single", 1), ("mpi", 2)])
def test_it_measures_for_as_long_as_was_asked(tmp_path, strategy, devices):
    flags = ("--seconds=2.5", "--train-samples=20000")
    done = train(tmp_path / "r", *SMALL, *flags, strategy=strategy, devices=devices)
    assert done.status == 0, done.errors
    assert "samples/s" in done.output
    assert "test accuracy" not in done.output
    _, accuracy = measured(tmp_path / "r", 2.5)
    assert accuracy.empty
    _, document = only_run(tmp_path / "r")
    assert (document["status"], document["schedule"]["epochs"]) == ("complete", 0)
    plotted = run(["python", "-m", "hpcbench", "plot", tmp_path / "r", "--output", tmp_path / "f"])
    assert plotted.status == 0, plotted.errors


def test_epochs_are_evaluated_and_the_rest_is_measured(tmp_path):
    done = train(tmp_path, *SMALL, "--seconds=2", "--epochs=2", "--train-samples=2000")
    assert done.status == 0, done.errors
    rows, accuracy = measured(tmp_path, 2)
    assert accuracy["epoch"].tolist() == [1, 2]
    assert accuracy["elapsed_seconds"].iloc[-1] < rows["seconds"].sum()


def test_a_stopped_run_goes_on_to_the_same_length(tmp_path):
    command = train_command(tmp_path, *SMALL, "--seconds=4", "--train-samples=5000")
    process = start(command, tmp_path, "throughput.csv", 2)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    again = run([*command, "--resume"])
    assert again.status == 0, again.errors
    rows, _ = measured(tmp_path, 4)
    assert rows["interval"].tolist() == list(range(len(rows)))


def test_plan_counts_them(tmp_path):
    config = RunConfig(model="cnn-cifar", strategy="single", devices=1, seconds=30)
    assert estimated_seconds(PlannedRun(config, tmp_path, 50_000)) == STARTUP_SECONDS + 30
