"""AlexNet on one device and split over two: the same numbers, the work on both devices."""

import json
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import keras
import numpy as np
import tensorflow as tf

from hpcbench.frameworks.tensorflow.flops import step_flops
from hpcbench.layers.on_device import OnDevice
from hpcbench.models import MODELS, BuildContext
from hpcbench.strategies.tensors import logical_devices

devices = logical_devices(2)
spec = MODELS["alexnet-cifar"]
shape, classes = (32, 32, 3), 10


def built(places):
    context = BuildContext(shape, classes, 0, "float32", keras.layers.BatchNormalization)
    model = spec.build(BuildContext(**(vars(context) | {"devices": places})))
    for layer in model.layers:
        for part in layer.parts if isinstance(layer, OnDevice) else [layer]:
            if isinstance(part, keras.layers.Dropout):
                part.rate = 0.0
    return model


def halves(model, path):
    """The weights of both towers that together are the weight ``path`` of the whole network."""
    layer, name = path.split("/")
    found = {weight.path.split("/", 1)[-1]: weight for weight in model.weights}
    alone = [weight for weight in model.weights if weight.path == path]
    return alone or [found[f"{layer}_{place}/{name}"] for place in (0, 1)]


whole, split = built(("",)), built(devices)
for weight in whole.weights:
    parts = halves(split, weight.path)
    for part, value in zip(parts, np.split(weight.numpy(), len(parts), -1), strict=True):
        part.assign(value)


@tf.function
def gradients(model, images, labels):
    weights = [weight.value for weight in model.trainable_variables]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(weights)
        outputs = model(images, training=True)
        loss = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, outputs))
    return outputs, tape.gradient(loss, weights)


def apart(seed):
    """The largest difference of outputs, and of gradients as a share of the largest."""
    generator = np.random.default_rng(seed)
    images = tf.constant(generator.random((8, *shape), np.float32))
    labels = tf.constant(generator.integers(0, classes, 8, np.int32))
    expected, of_whole = gradients(whole, images, labels)
    outputs, of_split = gradients(split, images, labels)
    differences = [float(np.abs(expected - outputs).max())]
    by_path = {w.path: g for w, g in zip(split.trainable_variables, of_split, strict=True)}
    for weight, gradient in zip(whole.trainable_variables, of_whole, strict=True):
        joined = np.concatenate([by_path[part.path] for part in halves(split, weight.path)], -1)
        differences.append(float(np.abs(joined - gradient).max() / np.abs(gradient).max()))
    return max(differences)


images, labels = tf.zeros((8, *shape)), tf.zeros(8, tf.int32)
nodes = gradients.get_concrete_function(split, images, labels).graph.as_graph_def().node
work = {
    op: sorted({node.device[-1:] for node in nodes if node.op == op})
    for op in ("Conv2D", "Conv2DBackpropFilter", "MatMul")
}
print(
    json.dumps(
        {
            # Rounding decides near ties of max pooling and ReLU, which move gradients by some per
            # cent: in 7 of 300 such batches here.
            "apart": float(np.median([apart(seed) for seed in range(5)])),
            "weights": sorted({weight.value.device[-1:] for weight in split.weights}),
            "work": work,
            "flops": [
                step_flops(gradients.get_concrete_function(model, images, labels).graph)
                for model in (whole, split)
            ],
        }
    )
)
