"""TensorFlow's products of matrices and additions of arrays, one after the other."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from hpcbench.frameworks.tensorflow.backend import set_arithmetic

# Of the products in a precision; float32 in those that are not here.
KINDS = {
    "mixed_bfloat16": tf.bfloat16,
    "mixed_float16": tf.float16,
    "float64": tf.float64,
}


def _repeated(operation: Callable[[Any, Any], Any], left: Any, right: Any) -> Callable[[int], None]:
    """``operation`` so many times; to read a number of the last waits for all."""

    def work(count: int) -> None:
        out = None
        for _ in range(count):
            out = operation(left, right)
        tf.reshape(out, [-1])[0].numpy()

    return work


def multiplier(precision: str) -> Callable[[int], Callable[[int], None]]:
    """As :meth:`hpcbench.frameworks.Framework.multiplier`."""
    set_arithmetic(precision)
    kind = KINDS.get(precision, tf.float32)

    def of_side(side: int) -> Callable[[int], None]:
        left, right = (tf.cast(tf.random.normal((side, side)), kind) for _ in range(2))
        return _repeated(tf.linalg.matmul, left, right)

    return of_side


def adder(size: int) -> Callable[[int], None]:
    """As :meth:`hpcbench.frameworks.Framework.adder`."""
    left, right = (tf.ones((size // 4,)) for _ in range(2))
    return _repeated(tf.add, left, right)
