"""Made-up samples in the shape of a real data set, to measure without an input of one's own."""

from typing import Any

import numpy as np

from hpcbench.datasets import Arrays, DatasetSpec


def arrays(spec: DatasetSpec, seed: int) -> Arrays:
    """Random inputs and targets, as many as the real set has."""
    generator = np.random.default_rng(seed)

    def half(samples: int) -> tuple[Any, Any]:
        shape = (samples, *spec.input_shape)
        if spec.kind == "images":
            inputs: Any = generator.integers(0, 256, shape, np.uint8)
        elif spec.kind == "texts":
            inputs = generator.integers(1, spec.words, shape, np.int32)
        else:
            inputs = generator.standard_normal(shape, np.float32)
        if spec.task == "regression":
            return inputs, generator.standard_normal(samples, np.float32)
        return inputs, generator.integers(0, max(2, spec.outputs), samples, np.int32)

    return Arrays(*half(spec.train_samples), *half(spec.test_samples))
