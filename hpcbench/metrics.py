"""Metrics from counts, and weights of losses, of whatever framework or figure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def mean_iou(counts: NDArray[Any]) -> float:
    """Intersection over union, averaged over the classes that there are, from a confusion matrix:
    what of each class (rows) was taken for each class (columns)."""
    both = np.diag(counts)
    either = counts.sum(axis=0) + counts.sum(axis=1) - both
    return float(np.mean(both[either > 0] / either[either > 0]))


def class_weights(shares: Sequence[float]) -> NDArray[np.float64]:
    """Of a pixel of each class: the inverse square root of the class' share of all pixels, as Kurth
    et al. (SC'18) weight them, times what makes a pixel's mean weight 1."""
    frequency = np.array(shares) / np.sum(shares)
    return frequency**-0.5 / np.sum(frequency**0.5)
