"""The workshop's models, exactly; their optimizers as Keras has them; its worked examples."""

import math
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from hpcbench.datasets import DATASETS
from hpcbench.datasets.sources import locate_for
from hpcbench.frameworks.tensorflow import optimizers
from hpcbench.layers.batch_normalization import batch_normalization
from hpcbench.models import MODELS, BuildContext
from support import run

SPEC = DATASETS["mnist"]


def own_data(name):
    """The first data set of a model, its images as large as the model wants them."""
    return locate_for(MODELS[name], "auto", made_up=True).spec


def build(name, mode="local", spec=None):
    """The model for its own data set, or for ``spec``."""
    spec = spec or own_data(name)
    factory = batch_normalization(mode, list)
    return MODELS[name].build(
        BuildContext(spec.input_shape, spec.outputs, 0, "float32", factory, spec.words)
    )


@pytest.mark.parametrize("name", MODELS.names())
def test_parameter_counts_are_as_printed(name):
    model = build(name)
    trainable = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    assert model.count_params() == MODELS[name].parameters
    assert trainable == MODELS[name].trainable_parameters
    spec = own_data(name)
    expected = (2, *spec.targets_shape, spec.outputs)
    assert model.compute_output_shape((2, *spec.input_shape)) == expected


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("adam", lambda: keras.optimizers.Adam(0.01)),
        ("sgd", lambda: keras.optimizers.SGD(0.01, momentum=0.9)),
        ("adadelta", lambda: keras.optimizers.Adadelta(0.5)),
    ],
)
def test_optimizers_update_as_keras_does(name, theirs):
    generator = np.random.default_rng(0)
    start = generator.normal(size=(5, 3)).astype("float32")
    mine, other = tf.Variable(start), keras.Variable(start)
    optimizer = optimizers.make(name, [mine], momentum=0.9)
    reference = theirs()
    rate = float(reference.learning_rate)
    for step in range(6):
        gradient = tf.constant(generator.normal(size=(5, 3)).astype("float32"))
        row = optimizer.scalars(step, np.array([rate]))[0]
        optimizer.update(tf.constant(row), [gradient])
        reference.apply([gradient], [other])
    np.testing.assert_allclose(mine.numpy(), other.numpy(), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("mode", ["local", "sync"])
@pytest.mark.parametrize("shape", [(8, 5, 5, 3), (8, 3)])
def test_batch_normalization_computes_what_keras_computes(mode, shape):
    x = tf.random.stateless_normal(shape, (1, 2)) * 3 + 1
    ours, theirs = batch_normalization(mode, list)(), keras.layers.BatchNormalization()
    for training in (True, True, False):
        a, b = ours(x, training=training), theirs(x, training=training)
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    for mine, other in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)


def test_the_workshops_forward_pass():
    """Inputs (0.5, 0.9, -0.3) through its 3-3-2 network of sigmoid units."""
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(3, "sigmoid", use_bias=False),
            keras.layers.Dense(2, "sigmoid", use_bias=False),
        ]
    )
    hidden = np.array([[1, -2, 2], [2, 1, -4], [1, -1, 0]], float).T
    output = np.array([[-3, 1, -3], [0, 1, 2]], float).T
    model.set_weights([hidden, output])
    result = model(np.array([[0.5, 0.9, -0.3]], "float32")).numpy()[0]
    np.testing.assert_allclose(result, [0.35, 0.85], atol=0.005)


def test_the_workshops_softmax_and_cross_entropy():
    logits = tf.constant([[4.8, -2.6, 2.9]])
    np.testing.assert_allclose(tf.nn.softmax(logits)[0], [0.87, 0, 0.13], atol=0.005)
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits([0], logits)
    np.testing.assert_allclose(loss, [0.14], atol=0.005)


@pytest.mark.slow
def test_keras_loads_without_what_training_does_not_need():
    """And who needs it loads it afterwards."""
    code = (
        "import sys; from hpcbench.frameworks.keras_backend import UNNEEDED\n"
        "from hpcbench.frameworks.tensorflow import load; load()\n"
        "assert not set(UNNEEDED) & set(sys.modules)\n"
        "import matplotlib, pandas; load(); print(pandas.Series([2]).sum())"
    )
    done = run([sys.executable, "-c", code])
    assert (done.status, done.output) == (0, "2\n"), done.errors
