"""Floating-point operations of a training step, as PyTorch's own counter sees it compute."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def training_flops(model: torch.nn.Module, input_shape: Sequence[int]) -> int:
    """Operations of one sample's training step, from a shape of (height, width, channels), or of
    (length,) tokens: matrix products and convolutions, a multiplication and an addition counting as
    two."""
    like = next(model.parameters())
    *sides, channels = input_shape
    shape, kind = ((1, channels, *sides), like.dtype) if sides else ((1, channels), torch.int64)
    counter = FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten.convolution_backward: _convolution_backward}
    )
    model.eval()
    # Of attention's fused kernels the counter knows some, and counts what they compute twice.
    with counter, sdpa_kernel(SDPBackend.MATH):
        inputs = torch.zeros(shape, dtype=kind, device=like.device)
        model(inputs).sum().backward()
    model.zero_grad()
    return counter.get_total_flops()


def _convolution_backward(
    gradient: Sequence[int],
    inputs: Sequence[int],
    kernel: Sequence[int],
    *rest: Any,
    out_shape: Any = None,
) -> int:
    """Of the shapes: each gradient that is asked for takes what the forward pass took. PyTorch's
    own count of it (2.13) knows no groups."""
    transposed, wanted = rest[4], rest[7][:2]
    positions = inputs if transposed else gradient
    return 2 * math.prod(positions) * math.prod(kernel[1:]) * sum(wanted)
