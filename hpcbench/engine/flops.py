"""Floating-point operations of a model, counted from its layers."""

import math
from collections.abc import Iterator, Sequence

import keras

from hpcbench.layers import OnDevice


def forward_flops(model: keras.Model) -> int:
    """Operations of one sample's forward pass in dense and convolution layers.

    A multiplication and an addition count as two. Other layers are left out: in the
    workshop's models they come to a few per cent.
    """
    total = 0
    for layer, shape in _with_shapes(model):
        if isinstance(layer, keras.layers.Dense):
            total += 2 * math.prod(layer.kernel.shape)
        elif isinstance(layer, keras.layers.Conv2D):
            total += 2 * math.prod(shape[1:-1]) * math.prod(layer.kernel.shape)
    return total


def _with_shapes(model: keras.Model) -> Iterator[tuple[keras.layers.Layer, Sequence[int]]]:
    """Each layer, those placed on a device too, with the shape of what it gives."""
    for layer in model.layers:
        if isinstance(layer, OnDevice):
            yield from zip(layer.parts, layer.output_shapes, strict=True)
        else:
            yield layer, layer.output.shape


def training_flops(model: keras.Model) -> int:
    """Operations of one sample's training step: the backward pass does twice the forward's."""
    return 3 * forward_flops(model)
