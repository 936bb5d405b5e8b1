"""The climate network: its loss and metric, its optimizer, loss scaling, and its data."""

import json
import re
import sys

import h5py
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from hpcbench.datasets import DATASETS
from hpcbench.datasets.climate import CLASSES, STORM_SHARES
from hpcbench.datasets.sources import locate
from hpcbench.errors import DataError
from hpcbench.frameworks.optimizers import LARC_TRUST
from hpcbench.frameworks.tensorflow import optimizers
from hpcbench.frameworks.tensorflow.loss_scale import LossScaled
from hpcbench.frameworks.tensorflow.objectives import Segmentation
from support import RANKS, environment, only_run, run, train, train_command

SHAPE = (32, 48, 16)


def test_background_alone_has_high_accuracy_and_a_poor_metric():
    """Why plain accuracy says nothing here: 98 % for a network that sees no storm."""
    labels = np.asarray(DATASETS["synthetic-storms"].read([]).test_targets)
    nothing = tf.one_hot(np.zeros_like(labels), CLASSES)
    objective = Segmentation(STORM_SHARES)
    tally = objective.tally(labels, nothing).numpy().astype(float)
    accuracy = np.trace(tally.reshape(CLASSES, CLASSES)) / len(labels)
    assert accuracy > 0.975
    assert objective.value(tally, len(labels)) == pytest.approx(accuracy / 3)
    for found, share in enumerate(STORM_SHARES):
        assert np.mean(labels == found) == pytest.approx(share, rel=0.25)


def test_intersection_over_union_of_counted_pixels():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, CLASSES, (4, 5, 6), np.uint8)
    outputs = generator.normal(size=(4, 5, 6, CLASSES)).astype(np.float32)
    guesses = outputs.argmax(-1)
    objective = Segmentation((0.5, 0.3, 0.2))
    expected = [
        ((labels == c) & (guesses == c)).sum() / ((labels == c) | (guesses == c)).sum()
        for c in range(CLASSES)
    ]
    found = objective.value(objective.tally(labels, outputs).numpy().astype(float), 4)
    assert found == pytest.approx(np.mean(expected), rel=1e-5)


def test_rare_classes_weigh_more_and_the_mean_weight_is_one():
    shares = (0.98, 0.005, 0.015)
    objective = Segmentation(shares)
    same = np.zeros((1, 2, 2, CLASSES), np.float32)
    losses = [
        float(objective.losses(np.full((1, 2, 2), c, np.uint8), same)[0]) for c in range(CLASSES)
    ]
    assert losses[1] / losses[0] == pytest.approx((0.98 / 0.005) ** 0.5, rel=1e-5)
    assert np.dot(losses, shares) == pytest.approx(np.log(CLASSES), rel=1e-5)


# How a CPU computes differs with its instructions and with this switch of TensorFlow's.
PROCESSORS = [
    {"TF_ENABLE_ONEDNN_OPTS": "1"},
    {"TF_ENABLE_ONEDNN_OPTS": "1", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    {"TF_ENABLE_ONEDNN_OPTS": "0"},
]
# What oneDNN says of itself (its src/cpu/x64/cpu_isa_traits.cpp), and the name that chooses it.
AVX512 = "Intel AVX-512 with "
SPOKEN = {
    "Intel SSE4.1": "SSE41",
    "Intel AVX": "AVX",
    "Intel AVX2": "AVX2",
    f"{AVX512}AVX512BW, AVX512VL, and AVX512DQ extensions": "AVX512_CORE",
    f"{AVX512}Intel DL Boost": "AVX512_CORE_VNNI",
    f"{AVX512}Intel DL Boost and bfloat16 support": "AVX512_CORE_BF16",
    f"{AVX512}float16, Intel DL Boost and bfloat16 support": "AVX512_CORE_FP16",
    f"{AVX512}float16, Intel DL Boost and bfloat16 support and Intel AMX with bfloat16 and 8-bit "
    "integer support": "AVX512_CORE_AMX",
}
DILATED = RANKS / "dilated_convolution.py"


@pytest.mark.slow
@pytest.mark.parametrize("processor", PROCESSORS, ids=lambda v: " ".join(v.values()))
def test_a_dilated_convolution_is_keras_own_on_every_processor(processor):
    done = run([sys.executable, DILATED], env=environment(**processor, ONEDNN_VERBOSE="1"))
    assert done.status == 0, done.errors
    found = json.loads(done.output.splitlines()[-1])
    assert found["one_dnn"] == (processor["TF_ENABLE_ONEDNN_OPTS"] == "1")
    assert max(found["apart"]) < 1e-4
    if found["one_dnn"]:
        (spoken,) = re.findall(r"cpu,isa:(.*)", done.output)
        assert found["instruction_set"] == SPOKEN[spoken.strip()]


@pytest.mark.slow
def test_the_climate_network_trains_without_onednn(results):
    few = ("--train-samples=16", "--test-samples=8", "--batch=8")
    flags = ("--model=climate-tiny", *few, "--epochs=1", "--warmup-steps=1")
    done = run(train_command(results, *flags), env=environment(TF_ENABLE_ONEDNN_OPTS="0"))
    assert done.status == 0, done.errors


def test_larc_holds_an_update_to_a_share_of_the_weights():
    trust, rate = LARC_TRUST, 0.5
    start = [np.full((3, 2), 2.0, np.float32), np.zeros(4, np.float32), np.ones(2, np.float32)]
    gradients = [np.full((3, 2), 7.0), np.ones(4), np.full(2, 1e-4)]
    variables = [tf.Variable(value) for value in start]
    optimizer = optimizers.make("larc", variables, momentum=0.0)
    row = tf.constant(optimizer.scalars(0, np.array([rate]))[0])
    optimizer.update(row, [tf.constant(g, tf.float32) for g in gradients])
    moved = [before - after.numpy() for before, after in zip(start, variables, strict=True)]
    # A large gradient: the layer's own rate. Weights of zero, small gradients: the optimizer's.
    assert np.linalg.norm(moved[0]) == pytest.approx(trust * np.linalg.norm(start[0]), rel=1e-5)
    np.testing.assert_allclose(moved[1], rate * gradients[1], rtol=1e-5)
    np.testing.assert_allclose(moved[2], rate * gradients[2], rtol=1e-3)


def test_an_overflow_is_left_out_and_halves_the_scale(monkeypatch):
    monkeypatch.setattr(LossScaled, "GROWTH_STEPS", 3)
    variable = tf.Variable([1.0, 2.0])
    optimizer = LossScaled(optimizers.make("adam", [variable], 0.0))
    scale, first = optimizer.slots[-1][0], LossScaled.INITIAL

    def step(gradient):
        scaled = optimizer.scaled(tf.constant(gradient))
        optimizer.update(tf.constant(optimizer.scalars(0, np.array([0.1]))[0]), [scaled])

    step([np.inf, 1.0])
    assert variable.numpy().tolist() == [1.0, 2.0]
    assert float(scale) == first / 2
    plain = tf.Variable([1.0, 2.0])
    reference = optimizers.make("adam", [plain], 0.0)
    for number in range(3):
        step([0.5, -3.0])
        row = tf.constant(reference.scalars(0, np.array([0.1]))[0])
        reference.update(row, [tf.constant([0.5, -3.0])])
        assert float(scale) == (first if number == 2 else first / 2)
    np.testing.assert_allclose(variable.numpy(), plain.numpy(), rtol=1e-6)


@pytest.mark.slow
def test_float16_learns_as_float32_does(results):
    flags = ("--dataset=mnist-5k", "--epochs=3", "--seed=0", "--checkpoint")
    found = {}
    for precision in ("float32", "mixed_float16"):
        done = train(results / precision, *flags, f"--precision={precision}")
        assert done.status == 0, done.errors
        folder, _ = only_run(results / precision)
        found[precision] = pd.read_csv(folder / "accuracy.csv")["test_metric"].iloc[-1]
        with np.load(folder / "checkpoint.npz") as kept:
            scales = [kept[n] for n in kept.files if kept[n].shape == () and kept[n] >= 2**10]
        assert len(scales) == (precision == "mixed_float16")
    assert found["mixed_float16"] == pytest.approx(found["float32"], abs=0.02)


def write_deepcam(folder, counts=(6, 2)):
    generator = np.random.default_rng(0)
    for part, count in zip(("train", "validation"), counts, strict=True):
        (folder / part).mkdir(parents=True)
        for index in range(count):
            with h5py.File(folder / part / f"data-2106-{index:02}.h5", "w") as file:
                file["climate/data"] = generator.uniform(-5, 5, SHAPE).astype(np.float32)
                file["climate/labels_0"] = generator.integers(0, CLASSES, SHAPE[:2])
    with h5py.File(folder / "stats.h5", "w") as file:
        file["climate/minval"] = np.full(SHAPE[2], -5.0)
        file["climate/maxval"] = np.full(SHAPE[2], 5.0)


def test_deepcam_is_read_a_sample_at_a_time(tmp_path):
    write_deepcam(tmp_path / "deepcam")
    source = locate("deepcam", tmp_path)
    assert (source.spec.input_shape, source.train_samples) == (SHAPE, 6)
    data = source.spec.read(source.files)
    # What another rank reads need not even be there.
    (tmp_path / "deepcam" / "train" / "data-2106-05.h5").write_bytes(b"damaged")
    fields, labels = data.train_inputs[np.array([4, 0])], data.train_targets[np.array([4, 0])]
    with h5py.File(tmp_path / "deepcam" / "train" / "data-2106-04.h5") as file:
        np.testing.assert_allclose(fields[0], (file["climate/data"][...] + 5) / 10, atol=1e-6)
        assert (labels[0] == file["climate/labels_0"][...]).all()
    assert (fields.dtype, labels.dtype) == (np.float32, np.uint8)
    with pytest.raises(DataError, match=r"data-2106-05\.h5 has no readable climate/data"):
        np.asarray(data.train_inputs)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("climate/labels_0", np.full(SHAPE[:2], 3), "labels outside of 0 to 2"),
        ("climate/data", np.zeros((32, 32, 16), np.float32), "where others have"),
        ("climate/labels_0", None, "no readable climate/labels_0"),
        ("climate/labels_0", np.full(SHAPE[:2], np.nan), "labels outside of 0 to 2"),
        ("climate/data", np.full(SHAPE, np.nan, np.float32), "not finite"),
    ],
)
def test_deepcam_files_that_do_not_fit(tmp_path, name, value, says):
    write_deepcam(tmp_path)
    with h5py.File(tmp_path / "train" / "data-2106-03.h5", "a") as file:
        del file[name]
        if value is not None:
            file[name] = value
    source = locate("deepcam", tmp_path)
    data = source.spec.read(source.files)
    with pytest.raises(DataError, match=f"data-2106-03.*{says}"):
        np.asarray(data.train_inputs), np.asarray(data.train_targets)


def test_statistics_of_deepcam(tmp_path):
    write_deepcam(tmp_path)
    with h5py.File(tmp_path / "stats.h5", "a") as file:
        file["climate/maxval"][0] = -5.0
    data = locate("deepcam", tmp_path).read()
    assert np.isfinite(np.asarray(data.train_inputs)).all(), "a channel without range"
    with h5py.File(tmp_path / "stats.h5", "a") as file:
        file["climate/maxval"][0] = -6.0
    with pytest.raises(DataError, match="minval is not at most its maxval"):
        locate("deepcam", tmp_path).read()


@pytest.mark.slow
def test_training_on_deepcam_files(results, tmp_path):
    """At full size, where a sample takes a core seconds."""
    write_deepcam(tmp_path / "deepcam", counts=(4, 2))
    done = train(
        results,
        "--model=climate-tiny",
        "--dataset=deepcam",
        f"--data-dir={tmp_path}",
        "--batch=1",
        "--epochs=1",
        "--input=stream",
        "--warmup-steps=1",
        "--seed=0",
        strategy="horovod",
        devices=2,
    )
    assert done.status == 0, done.errors
    rows = pd.read_csv(only_run(results)[0] / "accuracy.csv")
    assert (rows["metric"] == "mean_iou").all()
    assert (rows["dataset"] == "deepcam").all()


@pytest.mark.slow
def test_storms_are_found_and_drawn(results, tmp_path):
    """Far better than background everywhere, which comes to 0.33."""
    done = train(results, "--model=climate-tiny", "--epochs=5", "--seed=0", "--checkpoint")
    assert done.status == 0, done.errors
    folder, _ = only_run(results)
    assert pd.read_csv(folder / "accuracy.csv")["test_metric"].iloc[-2:].max() > 0.45
    plot = run(["python", "analysis/plot_training.py", folder, "--output", tmp_path / "f"])
    assert plot.status == 0, plot.errors
    names = {path.stem for path in (tmp_path / "f").iterdir()}
    assert names == {"curves", "samples", "confusion"}
