"""TensorFlow's functions and the loops in them."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def compiled(python: Callable[..., Any], jit_compile: bool | None = None) -> Any:
    """``python``, compiled as Keras' ``fit`` does: AutoGraph, which takes a second or more to
    rewrite what a step calls, has nothing to do there."""
    return tf.function(python, autograph=False, jit_compile=jit_compile)


def over(count: tf.Tensor, work: Callable[[tf.Tensor, Any], Any], first: Any) -> Any:
    """``work(i, what came out before)`` for each of ``count``, in order."""
    _, last = tf.while_loop(
        lambda i, _: i < count, lambda i, before: (i + 1, work(i, before)), [tf.constant(0), first]
    )
    return last
