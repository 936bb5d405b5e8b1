"""Made-up samples in the shape of a real data set, to measure without an input of one's own."""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from hpcbench.datasets import Arrays, DatasetSpec
from hpcbench.datasets.masking import TEST, TRAIN, masked_rows
from hpcbench.models import OF_TOKENS

# The most that is made up of training samples, and of test samples.
LIMIT_BYTES = 1 << 30


def limited(spec: DatasetSpec, least: int = 1) -> DatasetSpec:
    """``spec`` with no more samples than fit into ``LIMIT_BYTES``, but ``least`` training samples,
    as a step takes them."""
    most = max(
        1, LIMIT_BYTES // (math.prod(spec.input_shape) * (1 if spec.kind == "images" else 4))
    )
    return replace(
        spec,
        train_samples=min(spec.train_samples, max(most, least)),
        test_samples=min(spec.test_samples, most // 10 + 1),
        count=None,
    )


def arrays(spec: DatasetSpec, seed: int) -> Arrays:
    """Random inputs and targets, as many as ``spec`` has."""
    generator = np.random.default_rng(seed)

    def half(samples: int, part: int) -> tuple[Any, Any]:
        shape = (samples, *spec.input_shape)
        if spec.kind == "images":
            inputs: Any = generator.integers(0, 256, shape, np.uint8)
        elif spec.kind in ("texts", *OF_TOKENS):
            inputs = generator.integers(1, spec.words, shape, np.int32)
        else:
            inputs = generator.standard_normal(shape, np.float32)
        if spec.task == "regression":
            return inputs, generator.standard_normal(samples, np.float32)
        if spec.task == "next-token":
            return inputs, np.roll(inputs, -1, axis=1)
        if spec.task == "masked-token":
            return masked_rows(inputs, spec.words, seed, part)
        if spec.task == "segmentation":
            return inputs, generator.integers(0, spec.outputs, shape[:-1], np.uint8)
        return inputs, generator.integers(0, max(2, spec.outputs), samples, np.int32)

    return Arrays(*half(spec.train_samples, TRAIN), *half(spec.test_samples, TEST))
