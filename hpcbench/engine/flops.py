"""Floating-point operations of a model, counted from its layers."""

import math

import keras


def forward_flops(model: keras.Model) -> int:
    """Operations of one sample's forward pass in dense and convolution layers.

    A multiplication and an addition count as two. Other layers are left out: in the
    workshop's models they come to a few per cent.
    """
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dense):
            total += 2 * math.prod(layer.kernel.shape)
        elif isinstance(layer, keras.layers.Conv2D):
            positions = math.prod(layer.output.shape[1:-1])
            total += 2 * positions * math.prod(layer.kernel.shape)
    return total


def training_flops(model: keras.Model) -> int:
    """Operations of one sample's training step: the backward pass does twice the forward's."""
    return 3 * forward_flops(model)
