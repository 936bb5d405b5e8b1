"""The same order and global batch give the same weights, however many devices share them."""

import hashlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from support import RANKS, launcher, only_run, run, train

pytestmark = pytest.mark.slow

STEPS, BATCH = 50, 128
RANKS_AGREE, SAME_WEIGHTS = RANKS / "ranks_agree.py", RANKS / "same_weights.py"


def weights(results: Path, strategy: str, devices: int, samples: int, *flags: str):
    """The variables after training under ``strategy``, from its checkpoint."""
    done = train(
        results / strategy,
        f"--train-samples={samples}",
        "--epochs=1",
        "--test-samples=500",
        "--scaling=strong",
        f"--batch={BATCH}",
        "--checkpoint",
        "--seed=3",
        *flags,
        strategy=strategy,
        devices=devices,
    )
    assert done.status == 0, done.errors
    folder, _ = only_run(results / strategy)
    with open(folder / "checkpoint.npz", "rb") as opened, np.load(opened) as file:
        return [file[name] for name in sorted(file) if name.startswith("variable")]


def distance(a, b) -> float:
    """The largest difference between any two values."""
    return max(float(np.abs(x.astype(float) - y).max()) for x, y in zip(a, b, strict=True))


STRATEGIES = ("horovod", "mirrored", "mpi", "multiworker")
# A remainder of 37 samples makes the last step one of unequal shares.
UNEVEN = STEPS * BATCH + 37


def test_one_device_with_128_is_two_with_64_as_typed(results):
    flags = ("--model=fc-64", "--optimizer=sgd")
    alone = weights(results, "single", 1, UNEVEN, *flags)
    for strategy in STRATEGIES:
        shared = weights(results, strategy, 2, UNEVEN, *flags)
        assert distance(alone, shared) < 1e-5, strategy


@pytest.fixture(scope="module")
def in_float64(tmp_path_factory):
    """The weights of each network by strategy, all networks of a strategy in one launch."""

    def trained(strategy: str, devices: int) -> dict[str, list]:
        folder = tmp_path_factory.mktemp(strategy)
        command = [*launcher(strategy, devices), sys.executable, SAME_WEIGHTS, strategy]
        done = run([*command, str(devices), folder, str(UNEVEN), str(STEPS * BATCH)])
        assert done.status == 0, done.errors
        found = {}
        for path in folder.glob("*.npz"):
            with np.load(path) as file:
                found[path.stem] = [file[name] for name in file]
        return found

    return trained("single", 1), {name: trained(name, 2) for name in STRATEGIES}


@pytest.mark.parametrize("network", ["fc-64", "cnn-strided-bn"])
def test_in_float64_paths_stay_together(in_float64, network):
    """Under Adam, and with batch normalization over all devices."""
    alone, shared = in_float64
    for strategy in STRATEGIES:
        assert distance(alone[network], shared[strategy][network]) < 1e-6, strategy


FEW_STEPS = ("--optimizer=sgd", "--learning-rate=0.1")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return weights(tmp_path_factory.mktemp("plain"), "single", 1, 10 * BATCH + 5, *FEW_STEPS)


@pytest.mark.parametrize(
    ("strategy", "devices", "flags"),
    [
        ("single", 1, ["--input=stream"]),
        ("mirrored", 2, ["--input=stream"]),
        ("single", 1, ["--xla"]),
        ("horovod", 2, ["--xla", "--exchange=flat"]),
        ("single", 1, ["--accumulate=4"]),
        ("horovod", 2, ["--accumulate=2"]),
        ("mirrored", 2, ["--accumulate=4", "--xla", "--input=stream"]),
    ],
)
def test_ways_to_feed_to_compile_and_to_divide_a_batch_do_not_change_the_weights(
    results, plain, strategy, devices, flags
):
    other = weights(results, strategy, devices, 10 * BATCH + 5, *FEW_STEPS, *flags)
    assert distance(plain, other) < 1e-5


# At a larger rate this network's paths part by any rounding.
PYTORCH = ("--framework=torch", "--model=cnn-pytorch", "--learning-rate=0.01")


@pytest.mark.parametrize(
    ("strategy", "flags", "compressions"),
    [
        ("horovod", (), ("fp16",)),
        ("ddp", PYTORCH, ("fp16",)),
        ("sharded", ("--framework=jax",), ("fp16", "bf16")),
    ],
)
def test_gradients_rounded_to_16_bits_train_nearly_alike(results, strategy, flags, compressions):
    few = (10 * BATCH + 5, *FEW_STEPS, *flags)
    exact = weights(results / "none", strategy, 2, *few)
    apart = {
        name: distance(exact, weights(results / name, strategy, 2, *few, f"--compression={name}"))
        for name in compressions
    }
    assert all(1e-6 < each < 1e-2 for each in apart.values()), apart
    # 10 bits against 7.
    assert list(apart.values()) == sorted(apart.values())


def test_every_other_option_trains(results):
    done = train(
        results,
        "--input=synthetic",
        "--precision=mixed_bfloat16",
        "--optimizer=adadelta",
        "--lr-scaling=linear",
        "--warmup-epochs=0.5",
        "--epochs=2",
        "--epochs-rule=horovod",
        "--train-samples=2000",
        strategy="mirrored",
        devices=2,
    )
    assert done.status == 0, done.errors
    _, document = only_run(results)
    assert document["schedule"]["epochs"] == 1
    assert document["schedule"]["scaled_learning_rate"] == 2 * document["schedule"]["learning_rate"]


def test_local_batch_normalization_is_another_network_but_the_same_under_all(results):
    flags = ("--model=cnn-strided-bn", "--batchnorm=local", "--precision=float64")
    samples = 10 * BATCH
    alone = weights(results, "single", 1, samples, *flags)
    horovod = weights(results, "horovod", 2, samples, *flags)
    mirrored = weights(results, "mirrored", 2, samples, *flags)
    assert distance(horovod, mirrored) < 1e-6
    assert distance(alone, horovod) > 1e-3


@pytest.mark.parametrize(
    ("strategy", "exchanges"),
    [
        ("horovod", ["grouped", "per-tensor", "flat"]),
        ("mpi", ["flat"]),
        # A process has one MultiWorkerMirroredStrategy in its life.
        ("multiworker", ["flat"]),
        ("multiworker", ["grouped"]),
    ],
)
def test_ranks_agree_bit_for_bit(strategy, exchanges):
    done = run([*launcher(strategy, 2), sys.executable, str(RANKS_AGREE), strategy, *exchanges])
    assert done.status == 0, done.errors
    for exchange in exchanges:
        hashes = re.findall(rf"rank \d {exchange} weights (\w+)", done.output)
        assert len(hashes) == 2
        assert len(set(hashes)) == 1
        assert all(len(value) == hashlib.sha256().digest_size * 2 for value in hashes)
