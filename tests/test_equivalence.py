"""The same order and global batch give the same weights, however many devices share them."""

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import launcher, only_run, run, train

STEPS, BATCH = 50, 128
RANKS_AGREE = Path(__file__).parent / "ranks_agree.py"


def weights(results: Path, strategy: str, devices: int, samples: int, *flags: str):
    """The variables after training under ``strategy``, from its checkpoint."""
    done = train(
        results / strategy, f"--train-samples={samples}", "--epochs=1", "--scaling=strong",
        f"--batch={BATCH}", "--checkpoint", "--seed=3", *flags,
        strategy=strategy, devices=devices,
    )  # fmt: skip
    assert done.status == 0, done.errors
    folder, _ = only_run(results / strategy)
    with open(folder / "checkpoint.npz", "rb") as opened, np.load(opened) as file:
        return [file[name] for name in sorted(file) if name.startswith("variable")]


def distance(a, b) -> float:
    """The largest difference between any two values."""
    return max(float(np.abs(x.astype(float) - y).max()) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(
    ("flags", "samples", "tolerance"),
    [
        # A remainder of 37 samples makes the last step one of unequal shares. Adam turns the
        # rounding of a gradient near zero into a whole step, so it is held to float64.
        (["--model=fc-64", "--optimizer=sgd"], STEPS * BATCH + 37, 1e-5),
        (["--model=fc-64", "--precision=float64"], STEPS * BATCH + 37, 1e-6),
        # Rounding decides which side of ReLU's bend the many equal background pixels fall on, so
        # a CNN's float32 paths part after a few steps; in float64 they stay together.
        (
            ["--model=cnn-strided-bn", "--batchnorm=sync", "--precision=float64"],
            STEPS * BATCH,
            1e-6,
        ),
    ],
    ids=["fc-64 sgd float32", "fc-64 adam", "cnn-strided-bn"],
)
def test_one_device_with_128_is_two_with_64(results, flags, samples, tolerance):
    alone = weights(results, "single", 1, samples, *flags)
    for strategy in ("horovod", "mirrored", "mpi", "multiworker"):
        shared = weights(results, strategy, 2, samples, *flags)
        assert distance(alone, shared) < tolerance, strategy


@pytest.mark.parametrize(
    ("strategy", "devices", "flags"),
    [
        ("single", 1, ["--input=stream"]),
        ("mirrored", 2, ["--input=stream"]),
        ("single", 1, ["--xla"]),
        ("horovod", 2, ["--xla", "--exchange=flat"]),
    ],
)
def test_ways_to_feed_and_to_compile_do_not_change_the_weights(results, strategy, devices, flags):
    common = ("--optimizer=sgd", "--learning-rate=0.1")
    plain = weights(results / "plain", "single", 1, 10 * BATCH + 5, *common)
    other = weights(results, strategy, devices, 10 * BATCH + 5, *common, *flags)
    assert distance(plain, other) < 1e-5


def test_every_other_option_trains(results):
    done = train(
        results, "--input=synthetic", "--precision=mixed_bfloat16", "--optimizer=adadelta",
        "--lr-scaling=linear", "--warmup-epochs=0.5", "--epochs=2", "--epochs-rule=horovod",
        "--train-samples=2000", strategy="mirrored", devices=2,
    )  # fmt: skip
    assert done.status == 0, done.errors
    _, document = only_run(results)
    assert document["schedule"]["epochs"] == 1
    assert document["schedule"]["scaled_learning_rate"] == 2 * document["schedule"]["learning_rate"]


def test_local_batch_normalization_is_another_network_but_the_same_under_all(results):
    flags = ("--model=cnn-batchnorm", "--batchnorm=local", "--precision=float64")
    samples = 10 * BATCH
    alone = weights(results, "single", 1, samples, *flags)
    horovod = weights(results, "horovod", 2, samples, *flags)
    mirrored = weights(results, "mirrored", 2, samples, *flags)
    assert distance(horovod, mirrored) < 1e-6
    assert distance(alone, horovod) > 1e-3


@pytest.mark.parametrize(
    ("strategy", "exchange"),
    [
        ("horovod", "grouped"),
        ("horovod", "per-tensor"),
        ("horovod", "flat"),
        ("mpi", "flat"),
        ("multiworker", "flat"),
        ("multiworker", "grouped"),
    ],
)
def test_ranks_agree_bit_for_bit(strategy, exchange):
    done = run([*launcher(strategy, 2), sys.executable, str(RANKS_AGREE), strategy, exchange])
    assert done.status == 0, done.errors
    hashes = [line.split()[-1] for line in done.output.splitlines() if "weights" in line]
    assert len(hashes) == 2
    assert len(set(hashes)) == 1
    assert all(len(value) == hashlib.sha256().digest_size * 2 for value in hashes)
