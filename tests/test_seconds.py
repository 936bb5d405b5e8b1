"""Runs of a length in seconds, whatever the machine and the device count."""

import json
import signal

import numpy as np
import pytest

from hpcbench.config import RunConfig
from hpcbench.records.reader import read_results
from hpcbench.sweeps.durations import STARTUP_SECONDS, Durations, Earlier
from hpcbench.sweeps.plan import PlannedRun
from hpcbench.training.loop import FEWEST_INTERVALS
from support import only_run, run, start, train, train_command

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


def test_intervals_of_a_small_set_go_on_through_epochs(tmp_path):
    """And what is trained on is the same as in so many epochs that are evaluated one by one."""
    flags = (*SMALL, "--train-samples=700", "--seed=1", "--checkpoint")
    states = []
    # Thirteen whole steps of five an epoch, and what remains of each; the fewest intervals, ten.
    for kind, more in (
        ("long", ["--seconds=0.001", "--interval-steps=13"]),
        ("short", ["--epochs=26"]),
    ):
        done = train(tmp_path / kind, *flags, *more)
        assert done.status == 0, done.errors
        folder, _ = only_run(tmp_path / kind)
        with np.load(folder / "checkpoint.npz") as file:
            states.append([file[name] for name in sorted(file) if name.startswith("variable")])
    rows = read_results(tmp_path / "long").throughput
    assert rows["samples"].sum() == 26 * 700
    assert rows["steps"].tolist() == [15, 16, 15, 16, 16] * 2
    assert all(np.array_equal(one, other) for one, other in zip(*states, strict=True))


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
    assert Durations().seconds(PlannedRun(config, tmp_path, 50_000)) == STARTUP_SECONDS + 30


def test_a_run_takes_as_long_as_earlier_ones(tmp_path):
    """With more samples and epochs more, by what each took; of another machine nothing is known."""
    done = train(tmp_path, *SMALL, "--train-samples=2000", "--epochs=2", "--sweep=s")
    assert done.status == 0, done.errors
    _, document = only_run(tmp_path)
    whole, training = document["process_seconds"], document["training_seconds"]
    assert 0 < training + document["evaluation_seconds"] < whole
    assert (document["training_samples"], document["evaluations"]) == (4000, 2)
    planned = RunConfig.model_validate(document["config"] | {"repeat": 5})
    durations = Durations.below(tmp_path, None)
    same = PlannedRun(planned, tmp_path / "x", 60_000)
    assert durations.known(same)
    assert durations.seconds(same) == pytest.approx(whole)
    longer = planned.model_copy(update={"epochs": 6})
    more = 2 * (training + document["evaluation_seconds"])
    assert durations.seconds(PlannedRun(longer, tmp_path / "y", 60_000)) == pytest.approx(
        whole + more
    )
    changes = {"batch": 64, "precision": "float64", "model": "cnn-1", "exchange": "flat"}
    for field, value in changes.items():
        other = PlannedRun(planned.model_copy(update={field: value}), tmp_path / field, 60_000)
        assert not durations.known(other), field
    assert not Durations.below(tmp_path, "a-site").known(same)
    path = next(tmp_path.rglob("run.json"))
    document["provenance"]["host"] = "another"
    path.write_text(json.dumps(document))
    assert not Durations.below(tmp_path, None).known(same)
    assert Earlier.of({"status": "complete"}) is None
