"""Floating-point operations of a training step: counted by hand, and as PyTorch counts them."""

import keras
import pytest
import tensorflow as tf

from hpcbench.frameworks.tensorflow.flops import step_flops
from hpcbench.layers.dilated_convolution import DilatedConv2D
from hpcbench.layers.grouped_convolution import GroupedConv2D
from hpcbench.models import MODELS, BuildContext

SHAPE = (12, 10, 4)
BATCH = 2


def training_graph(model, shape, steps=None, xla=False, kind=tf.float32, parts=1):
    """The graph of a training step on BATCH samples of ``shape``, or of a loop of so many, each in
    so many parts of as many."""

    def step(inputs):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(inputs, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
            variable.assign_sub(0.1 * tf.convert_to_tensor(gradient))
        return loss

    step = tf.function(step, jit_compile=True) if xla else step

    def loop(inputs):
        total = 0.0
        for _ in tf.range(steps):
            if parts == 1:
                total += step(inputs)
            else:
                for _ in tf.range(parts):
                    total += step(inputs)
        return total

    traced = tf.function(loop if steps else step)
    return traced.get_concrete_function(tf.TensorSpec((BATCH, *shape), kind)).graph


def built(name, shape, outputs=10):
    spec = MODELS[name]
    return spec.build(BuildContext(shape, outputs, 0, "float32", keras.layers.BatchNormalization))


@pytest.mark.parametrize(
    ("name", "shape", "products"),
    [
        # Forwards, gradient of the weights, gradient of the input: not of the first layer's.
        ("fc-64", (28, 28, 1), 2 * 784 * 64 + 3 * (64 * 64 + 64 * 10)),
        # (W - N + 2P) / S + 1 = 26 positions a side; 3 * 3 * 1 * 32 weights.
        ("cnn-1", (28, 28, 1), 2 * 26**2 * 9 * 32 + 3 * (13 * 13 * 32 * 100 + 100 * 10)),
    ],
)
def test_workshop_models_by_hand(name, shape, products):
    assert step_flops(training_graph(built(name, shape), shape)) == 2 * BATCH * products


def test_a_loop_counts_once_compiled_by_xla_or_not():
    model = built("cnn-1", (28, 28, 1))
    one = step_flops(training_graph(model, (28, 28, 1)))
    assert one
    for xla in (False, True):
        assert step_flops(training_graph(model, (28, 28, 1), steps=7, xla=xla)) == one
        in_parts = training_graph(model, (28, 28, 1), steps=7, xla=xla, parts=4)
        assert step_flops(in_parts, parts=4) == 4 * one


def networks(torch):
    """The same layers in Keras and in PyTorch, which has samples of (channels, height, width)."""
    layers, nn = keras.layers, torch.nn
    return {
        "transposed": (
            [layers.Conv2D(6, 3), layers.Conv2DTranspose(5, 2, strides=2, padding="same")],
            [nn.Conv2d(4, 6, 3), nn.ConvTranspose2d(6, 5, 2, 2)],
        ),
        "grouped": (
            [layers.Conv2D(6, 1), GroupedConv2D(8, 3, groups=2)],
            [nn.Conv2d(4, 6, 1), nn.Conv2d(6, 8, 3, groups=2)],
        ),
        "dilated": (
            [layers.Conv2D(6, 1), DilatedConv2D(8, 3, padding="same", dilation_rate=2)],
            [nn.Conv2d(4, 6, 1), nn.Conv2d(6, 8, 3, padding="same", dilation=2)],
        ),
        "depthwise": (
            [layers.Conv2D(6, 1), layers.DepthwiseConv2D(3)],
            [nn.Conv2d(4, 6, 1), nn.Conv2d(6, 6, 3, groups=6)],
        ),
        "dense": (
            [layers.Conv2D(6, 3, strides=2), layers.Flatten(), layers.Dense(7), layers.Dense(3)],
            [nn.Conv2d(4, 6, 3, 2), nn.Flatten(), nn.Linear(120, 7), nn.Linear(7, 3)],
        ),
    }


@pytest.mark.parametrize("name", ["transposed", "grouped", "dilated", "depthwise", "dense"])
def test_pytorch_counts_the_same(name):
    torch = pytest.importorskip("torch")
    from hpcbench.frameworks.torch.flops import training_flops

    ours, theirs = networks(torch)[name]
    model = keras.Sequential([keras.Input(SHAPE), *ours])
    expected = training_flops(torch.nn.Sequential(*theirs), SHAPE)
    assert step_flops(training_graph(model, SHAPE)) == BATCH * expected > 0


def test_attention_counts_its_products():
    """Two heads of size 3 over 5 words of 8 numbers; no gradient of the words is asked for."""
    inputs = keras.Input((5, 8))
    hidden = keras.layers.Dense(8)(inputs)
    outputs = keras.layers.MultiHeadAttention(2, 3, flash_attention=False)(hidden, hidden)
    projections, scores = 4 * 5 * 8 * 6, 2 * 2 * 5 * 5 * 3
    products = 2 * 5 * 8 * 8 + 3 * (projections + scores)
    graph = training_graph(keras.Model(inputs, outputs), (5, 8))
    assert step_flops(graph) == 2 * BATCH * products


def test_what_is_not_known_is_no_number():
    """A loop within the step goes on for nobody knows how long."""
    recurrent = keras.Sequential([keras.Input((5, 8)), keras.layers.GRU(3, unroll=False)])
    assert step_flops(training_graph(recurrent, (5, 8), steps=2)) is None
    assert step_flops(training_graph(recurrent, (5, 8), steps=2, parts=3), parts=3) is None
    model = keras.Sequential([keras.Input((None, 8)), keras.layers.Dense(3)])
    assert step_flops(training_graph(model, (None, 8))) is None


def test_a_graph_is_counted_as_it_runs():
    """A branch that computes more counts; what nobody asks for does not."""

    @tf.function
    def choose(a, b):
        unused = tf.matmul(b, b)
        del unused
        return tf.cond(tf.reduce_sum(a) > 0, lambda: tf.matmul(a, b), lambda: a)

    shapes = tf.TensorSpec((3, 4)), tf.TensorSpec((4, 4))
    graph = choose.get_concrete_function(*shapes).graph
    assert step_flops(graph) == 2 * 3 * 4 * 4
