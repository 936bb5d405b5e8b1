"""What real ranks time beside training: it changes nothing there, and finds the slow rank."""

import numpy as np
import pytest

import hpcbench
from hpcbench.records.reader import read_results
from hpcbench.training.beside import FEWEST, PHASES, Beside
from support import only_run, train

pytestmark = pytest.mark.slow

SHORT = (
    "--train-samples=2500",
    "--epochs=2",
    "--test-samples=500",
    "--interval-steps=4",
    "--seed=1",
)
SLOW_RANK = """
import os
import time

from torch import nn

from hpcbench.models import MODELS, ModelSpec


class Slow(nn.Module):
    def forward(self, inputs):
        if os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("HOROVOD_RANK")) == "1":
            time.sleep(0.05)
        return inputs


def build(input_shape, outputs):
    return nn.Sequential(Slow(), nn.Flatten(), nn.Linear(784, 64), nn.Linear(64, outputs))


network = {"optimizer": "sgd", "learning_rate": 0.1, "batch": 128}
MODELS.add("slow", ModelSpec(name="slow", builders={"torch": build}, epochs=1, **network))
"""


@pytest.mark.parametrize(
    ("strategy", "flags"),
    [
        # Dropout and Adam: random numbers and slots are part of the state.
        ("mpi", ["--model=cnn-2", "--train-samples=512"]),
        ("mirrored", ["--model=fc-512"]),
        # Each device has moving statistics of its own, to be averaged at an epoch's end.
        ("mirrored", ["--model=cnn-strided-bn", "--batchnorm=local", "--train-samples=1000"]),
        ("ddp", ["--framework=torch", "--model=cnn-pytorch", "--train-samples=512"]),
    ],
)
def test_training_is_bit_for_bit_the_same_without_it(tmp_path, strategy, flags):
    if strategy == "ddp":
        pytest.importorskip("torch")
    states, losses = [], []
    for rounds in (0, 4):
        results = tmp_path / str(rounds)
        done = train(
            *(results, *SHORT, *flags, "--checkpoint", f"--no-exchange-intervals={rounds}"),
            strategy=strategy,
            devices=2,
        )
        assert done.status == 0, done.errors
        folder, _ = only_run(results)
        with np.load(folder / "checkpoint.npz") as file:
            states.append({name: file[name] for name in file if name.startswith("variable")})
        read = read_results(results)
        losses.append(read.accuracy[["train_loss", "test_loss"]].to_numpy())
        phases = set(read.ranks["phase"])
        alone = set() if strategy == "mirrored" else {"alone"}
        assert phases == {"train", *(set(PHASES) - {"alone"} | alone if rounds else ())}
    assert states[0]
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])
    assert np.array_equal(losses[0], losses[1])


def test_a_rank_that_is_slow_is_named_with_what_it_costs(tmp_path):
    """It sleeps for 50 ms a step: so much do the others wait."""
    pytest.importorskip("torch")
    (tmp_path / "slow.py").write_text(SLOW_RANK)
    results = tmp_path / "results"
    flags = ("--framework=torch", f"--model={tmp_path / 'slow.py'}", *SHORT)
    for devices in (1, 2):
        for repeat in (0, 1):
            done = train(
                *(results, *flags, f"--repeat={repeat}", "--cores-per-device=1"),
                "--no-exchange-intervals=8",
                strategy="ddp",
                devices=devices,
            )
            assert done.status == 0, done.errors
    (row,) = hpcbench.load(results).why.to_dict("records")
    assert (row["rank"], row["devices"], row["runs"]) == (1, 2, 2)
    assert row["host"]
    assert row["blamed"][0] == "waiting"
    assert 0.0375 < row["waiting_seconds"] < row["step_seconds"]


@pytest.mark.parametrize("intervals", [1, 7, 100, 10_000])
def test_rounds_are_spread_and_few(intervals):
    after = Beside(rounds=20).after(intervals)
    assert FEWEST <= sum(after.values()) <= max(FEWEST, 0.3 * intervals)
    assert all(0 <= interval < intervals for interval in after)
    assert Beside(rounds=0).after(intervals).total() == 0
