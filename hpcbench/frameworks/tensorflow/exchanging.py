"""What replicas give each other in a step of TensorFlow's loop, and that alone, time after time."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from hpcbench.frameworks.backend import Exchange
from hpcbench.frameworks.tensorflow.functions import compiled, over
from hpcbench.strategies import TensorFlowStrategy

# From a replica's gradients to those it updates with.
Mean = Callable[[Sequence[tf.Tensor]], Sequence[tf.Tensor]]
# Gradients that are compressed.
TRAVELS_AS = {"fp16": tf.float16, "bf16": tf.bfloat16}


class GradientExchange:
    """Of gradients in the shapes of ``weights``, rounded for it if ``compression`` is not none."""

    def __init__(
        self, strategy: TensorFlowStrategy, weights: Sequence[tf.Variable], compression: str
    ) -> None:
        self._strategy, self._weights = strategy, weights
        # Those of a single device travel nowhere.
        self._travels_as = TRAVELS_AS.get(compression) if strategy.world_size > 1 else None

    def mean(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Over all devices."""
        if self._travels_as is None:
            return self._strategy.all_reduce_mean(gradients)
        rounded = [tf.cast(gradient, self._travels_as) for gradient in gradients]
        mean = self._strategy.all_reduce_mean(rounded)
        return [tf.cast(one, like.dtype) for one, like in zip(mean, gradients, strict=True)]

    def met(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """``gradients``, once all devices have theirs: an element of each, in one, is averaged."""
        mean = self._strategy.all_reduce_mean([_element_of(gradients)])
        with tf.control_dependencies(mean):
            return [tf.identity(gradient) for gradient in gradients]

    def of_step(self, exchange: Exchange) -> Mean:
        """What stands in a step's place for its exchange."""
        ways: dict[Exchange, Mean] = {
            Exchange.GRADIENTS: self.mean,
            Exchange.ONE_ELEMENT: self.met,
            Exchange.NONE: list,
        }
        return ways[exchange]

    def trace(self, exchange: Exchange) -> Any:
        """A compiled function that exchanges as many times as it is told."""

        def step(_: Any, before: tf.Tensor) -> Any:
            # One after the other: each waits for what came out of the one before.
            with tf.control_dependencies([before]):
                like = [tf.identity(weight) for weight in self._weights]
                given = [_element_of(like)] if exchange is Exchange.ONE_ELEMENT else like
            return (tf.cast(_element_of(self.mean(given)), tf.float32)[0],)

        def again(_: tf.Tensor, before: tf.Tensor) -> tf.Tensor:
            return self._strategy.run(step, before)[0]

        def run(count: tf.Tensor) -> Any:
            return [over(count, again, tf.zeros(()))]

        return compiled(run).get_concrete_function(tf.TensorSpec((), tf.int32))


def _element_of(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """A number that all of ``tensors`` are needed for, shape (1,)."""
    return tf.add_n([tf.reshape(tensor, [-1])[:1] for tensor in tensors])
