"""AlexNet: the printed counts, its two layers that Keras lacks, and its split over two devices."""

import json
import math
import sys

import numpy as np
import pytest

from hpcbench.models import MODELS, BuildContext
from hpcbench.records.reader import read_results
from support import RANKS, only_run, run, train


@pytest.fixture(scope="module")
def keras():
    return pytest.importorskip("keras")


# What the workshop prints: 35K, 307K, 884K, 1.3M, 442K, 37M, 16M, 4M.
PRINTED = [34_848, 307_200, 884_736, 1_327_104, 442_368, 37_748_736, 16_777_216, 4_096_000]


@pytest.mark.parametrize(("name", "fourth"), [("alexnet", 1_327_104), ("alexnet-grouped", 663_552)])
def test_weights_by_layer_are_as_printed(keras, name, fourth):
    context = BuildContext((227, 227, 3), 1000, 0, "float32", keras.layers.BatchNormalization)
    model = MODELS[name].build(context)
    kernels = [math.prod(w.shape) for w in model.weights if w.path.endswith("/kernel")]
    assert kernels == [*PRINTED[:3], fourth, *PRINTED[4:]]
    assert model.count_params() == MODELS[name].parameters


def test_a_grouped_convolution_is_two_of_half_the_channels(keras):
    from hpcbench.layers.grouped_convolution import GroupedConv2D

    images = np.random.default_rng(0).normal(size=(2, 7, 7, 4)).astype(np.float32)
    layer = GroupedConv2D(6, 3, groups=2, padding="same")
    whole = layer(images).numpy()
    kernel = layer.kernel.numpy()
    for half in (0, 1):
        part = keras.layers.Conv2D(3, 3, padding="same")
        part.build((None, 7, 7, 2))
        part.set_weights([kernel[..., 3 * half : 3 * half + 3], np.zeros(3)])
        expected = part(images[..., 2 * half : 2 * half + 2]).numpy()
        assert np.abs(whole[..., 3 * half : 3 * half + 3] - expected).max() < 1e-5


def test_response_normalization_is_the_papers_formula(keras):
    from hpcbench.layers.response_normalization import LocalResponseNormalization

    values = np.random.default_rng(0).normal(scale=50, size=(1, 2, 2, 12))
    got = LocalResponseNormalization(groups=2)(values.astype(np.float32)).numpy()
    for channel in range(12):
        tower = range(6 * (channel // 6), 6 * (channel // 6) + 6)
        near = [c for c in tower if abs(c - channel) <= 2]
        scale = (2 + 1e-4 * (values[..., near] ** 2).sum(-1)) ** 0.75
        assert np.allclose(got[..., channel], values[..., channel] / scale, rtol=1e-4)


@pytest.mark.slow
def test_split_over_two_devices_it_is_the_same_network():
    done = run([sys.executable, RANKS / "split_alexnet.py"])
    assert done.status == 0, done.errors
    found = json.loads(done.output.splitlines()[-1])
    assert found["apart"] < 1e-4
    assert found["flops"][0] == found["flops"][1] > 0
    # Weights and both directions of the work are on both devices.
    assert found["weights"] == ["0", "1"]
    assert {"0", "1"} <= set(found["work"]["Conv2D"])
    assert {"0", "1"} <= set(found["work"]["Conv2DBackpropFilter"])
    assert {"0", "1"} <= set(found["work"]["MatMul"])


@pytest.mark.slow
def test_it_trains_split_over_two_devices(results):
    done = train(
        results,
        "--model=alexnet-cifar",
        "--input=synthetic",
        "--train-samples=256",
        "--batch=32",
        "--epochs=1",
        "--checkpoint",
        strategy="model-parallel",
        devices=2,
    )
    assert done.status == 0, done.errors
    folder, _ = only_run(results)
    assert (folder / "model.keras").exists()
    rows = read_results(results).throughput
    assert set(rows["devices"]) == {2}
    assert set(rows["global_batch"]) == {32}


@pytest.mark.slow
def test_what_cannot_be_split_is_refused(results):
    done = train(results, "--model=cnn-2", strategy="model-parallel", devices=2)
    assert done.status == 2
    assert "cannot be split over 2 devices; choose from alexnet" in done.errors
