"""Made-up images in the shape of a real data set, to measure without an input of one's own."""

from typing import Any

import numpy as np

from hpcbench.datasets import Arrays, DatasetSpec


def arrays(spec: DatasetSpec, seed: int) -> Arrays:
    """Random bytes and labels, as many as the real set has."""
    generator = np.random.default_rng(seed)

    def half(samples: int) -> tuple[Any, Any]:
        images = generator.integers(0, 256, (samples, *spec.input_shape), np.uint8)
        return images, generator.integers(0, spec.classes, samples, np.int32)

    return Arrays(*half(spec.train_samples), *half(spec.test_samples))
