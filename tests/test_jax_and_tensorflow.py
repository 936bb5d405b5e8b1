"""JAX computes what TensorFlow does: first weights, steps, layers, losses and operations."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from hpcbench.datasets import DATASETS
from support import RANKS, launcher, run

jax = pytest.importorskip("jax", reason="JAX is an optional extra")


def weights_of(folder, framework, strategy, ranks=1, devices=1, rounds=0, optimizer="sgd"):
    """What each rank's weights, and what its optimizer keeps of them, become, in one row."""
    folder.mkdir()
    arguments = [framework, strategy, str(devices), str(rounds), folder, "fc-64", optimizer]
    start = launcher(strategy, ranks) if ranks > 1 else []
    done = run([*start, sys.executable, RANKS / "framework_weights.py", *arguments])
    assert done.status == 0, done.errors
    kept = []
    for rank in range(ranks):
        with np.load(folder / f"rank{rank}.npz") as state:
            kept.append(np.concatenate([state[name].ravel() for name in state.files]))
    return kept


@pytest.mark.slow
def test_all_strategies_take_tensorflows_steps(tmp_path):
    """A remainder of 5 samples makes the last step one of unequal shares; phases change nothing."""
    (expected,) = weights_of(tmp_path / "tensorflow", "tensorflow", "single")
    found = {
        "single": weights_of(tmp_path / "single", "jax", "single"),
        "sharded": weights_of(tmp_path / "sharded", "jax", "sharded", devices=2),
    }
    for several in ("jax-distributed", "zero-1"):
        of_ranks = weights_of(tmp_path / several, "jax", several, ranks=2, devices=2, rounds=6)
        assert np.array_equal(*of_ranks)
        found[several] = of_ranks
    for name, states in found.items():
        for state in states:
            # TensorFlow's side rounds a share's size to float32.
            assert np.abs(state - expected).max() < 1e-8, name
            assert np.abs(state - found["single"][0]).max() < 1e-12, name


@pytest.mark.slow
def test_larc_is_tensorflows(tmp_path):
    theirs, ours = (
        weights_of(tmp_path / framework, framework, "single", optimizer="larc")[0]
        for framework in ("tensorflow", "jax")
    )
    assert np.abs(ours - theirs).max() < 1e-7
    assert np.abs(ours).max() > 0.1


# All distributions that a model's first weights are drawn from.
STARTING = ("bert-base", "gpt-124m", "resnet-50", "vgg-16", "cnn-pytorch", "text-average")


@pytest.mark.slow
def test_training_starts_from_tensorflows_weights(tmp_path):
    """But for the last bits of a sine and a logarithm."""
    found = []
    for framework in ("tensorflow", "jax"):
        file = tmp_path / f"{framework}.npz"
        done = run([sys.executable, RANKS / "initial_weights.py", framework, file, *STARTING])
        assert done.status == 0, done.errors
        with np.load(file) as weights:
            found.append({name: weights[name] for name in weights.files})
    theirs, ours = found
    assert theirs.keys() == ours.keys()
    for name, expected in theirs.items():
        assert ours[name].dtype == expected.dtype
        np.testing.assert_allclose(
            ours[name], expected, rtol=0, atol=8 * np.finfo(expected.dtype).eps
        )
        assert len(np.unique(expected)) > 100, name


COUNTS = """
import json, sys
import numpy as np
from hpcbench.frameworks import FRAMEWORKS
FRAMEWORKS["jax"].prepare(1, 1, 0)
import jax, keras
from hpcbench.datasets import DATASETS
from hpcbench.frameworks.keras_model import build_model
from hpcbench.frameworks.jax.flops import training_flops
from hpcbench.models import BuildContext
found = {}
for name in sys.argv[1:]:
    shape = DATASETS["mnist"].input_shape
    model = build_model(
        "jax", name, BuildContext(shape, 10, 0, "float32", keras.layers.BatchNormalization)
    )
    others = [variable.value for variable in model.non_trainable_variables]
    weights = [variable.value for variable in model.trainable_variables]
    forward = lambda w, x: model.stateless_call(w, others, x)[0]
    images = np.zeros((8, *shape), np.float32)
    compiled = jax.jit(jax.grad(lambda w, x: forward(w, x).sum())).lower(weights, images).compile()
    analysis = compiled.cost_analysis()
    found[name] = training_flops(forward, weights, images), analysis["flops"]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_operations_are_those_that_tensorflow_computes():
    """And for matrix products alone, those of XLA's cost analysis, which counts all else too."""
    from hpcbench.frameworks.tensorflow.flops import step_flops
    from test_flops import BATCH, built, training_graph

    names = ["fc-64", "fc-512", "cnn-1", "cnn-2", "cnn-pytorch"]
    done = run([sys.executable, "-c", COUNTS, *names])
    assert done.status == 0, done.errors
    for name, (ours, xla) in json.loads(done.output.splitlines()[-1]).items():
        shape = (28, 28, 1)
        assert ours % 8 == 0
        expected = step_flops(training_graph(built(name, shape), shape))
        assert ours // 8 * BATCH == expected, name
        if name.startswith("fc"):
            assert xla == pytest.approx(ours, rel=0.02), name


@pytest.mark.parametrize(
    ("task", "outputs_shape", "classes"),
    [
        ("classification", (20, 10), 10),
        ("binary", (20, 1), 2),
        ("regression", (20, 1), 2),
        ("segmentation", (20, 4, 5, 3), 3),
    ],
)
def test_what_is_minimized_is_what_tensorflow_minimizes(task, outputs_shape, classes):
    import tensorflow as tf

    from hpcbench.frameworks.jax.objectives import objective
    from hpcbench.frameworks.tensorflow.objectives import objective as of_tensorflow

    spec = replace(DATASETS["mnist"], task=task, class_shares=(0.9, 0.02, 0.08))
    ours, theirs = objective(spec), of_tensorflow(spec)
    generator = np.random.default_rng(0)
    outputs = generator.normal(0, 30, outputs_shape).astype(np.float32)
    targets = generator.integers(0, classes, outputs_shape[:-1]).astype(np.int32)
    expected = theirs.losses(tf.constant(targets), tf.constant(outputs)).numpy()
    assert np.asarray(ours.losses(targets, outputs)) == pytest.approx(expected, rel=1e-6, abs=1e-5)
    tally = theirs.tally(tf.constant(targets), tf.constant(outputs)).numpy()
    of_samples = np.asarray(ours.tally(targets, outputs), float).reshape(20, ours.sums)
    assert of_samples.sum(axis=0) == pytest.approx(tally, rel=1e-6)
    assert (ours.metric, ours.value(tally, 20)) == (theirs.metric, theirs.value(tally, 20))


OUTPUTS_OF_LAYERS = """
import sys
from hpcbench.frameworks import FRAMEWORKS

FRAMEWORKS[sys.argv[1]].prepare(1, 1, 0)
import numpy as np
from hpcbench.frameworks.keras_backend import load_keras

load_keras(sys.argv[1])
from hpcbench.layers.dilated_convolution import DilatedConv2D
from hpcbench.layers.grouped_convolution import GroupedConv2D
from hpcbench.layers.response_normalization import LocalResponseNormalization

generator = np.random.default_rng(0)
images = generator.normal(0, 30, (2, 9, 9, 8)).astype(np.float32)
found = {}
for layer in (
    LocalResponseNormalization(2),
    LocalResponseNormalization(),
    GroupedConv2D(6, 3, 2, padding="same", groups=2),
    DilatedConv2D(4, 3, padding="same", dilation_rate=2),
):
    layer.build(images.shape)
    layer.set_weights([generator.normal(size=part.shape) for part in layer.weights])
    found[layer.name] = np.asarray(layer(images))
np.savez(sys.argv[2], **found)
"""


@pytest.mark.slow
def test_layers_of_ours_compute_what_they_do_in_tensorflow(tmp_path):
    found = []
    for framework in ("tensorflow", "jax"):
        done = run([sys.executable, "-c", OUTPUTS_OF_LAYERS, framework, tmp_path / framework])
        assert done.status == 0, done.errors
        with np.load(tmp_path / f"{framework}.npz") as outputs:
            found.append({name: outputs[name] for name in outputs.files})
    theirs, ours = found
    assert len(theirs) == 4
    for name, expected in theirs.items():
        np.testing.assert_allclose(ours[name], expected, rtol=1e-5, atol=1e-3, err_msg=name)
