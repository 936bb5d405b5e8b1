"""The dilated convolution of the climate network beside Keras' own, as this process computes it."""

import json
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import keras
import numpy as np
import tensorflow as tf

from hpcbench.devices.cores import instruction_set
from hpcbench.layers.dilated_convolution import DilatedConv2D, one_dnn_is_on

images = np.random.default_rng(0).normal(size=(2, 9, 7, 4)).astype(np.float32)
ours = DilatedConv2D(5, 3, padding="same", use_bias=False, dilation_rate=3)
theirs = keras.layers.Conv2D(5, 3, padding="same", use_bias=False, dilation_rate=3)
found = []
for layer in (ours, theirs):
    layer.build(images.shape)
    layer.set_weights(ours.get_weights())
    with tf.GradientTape() as tape:
        outputs = layer(images)
        loss = tf.reduce_sum(outputs**2)
    found.append((outputs.numpy(), tape.gradient(loss, layer.kernel.value).numpy()))
apart = [
    float(np.abs(mine - other).max() / np.abs(other).max())
    for mine, other in zip(*found, strict=True)
]
facts = {"one_dnn": one_dnn_is_on(), "instruction_set": instruction_set(), "apart": apart}
print(json.dumps(facts))
