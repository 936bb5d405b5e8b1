"""Metrics from counts, of whatever framework or figure."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def mean_iou(counts: NDArray[Any]) -> float:
    """Intersection over union, averaged over the classes that there are, from a confusion matrix:
    what of each class (rows) was taken for each class (columns)."""
    both = np.diag(counts)
    either = counts.sum(axis=0) + counts.sum(axis=1) - both
    return float(np.mean(both[either > 0] / either[either > 0]))
