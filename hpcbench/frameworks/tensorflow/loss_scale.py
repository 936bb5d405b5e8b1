"""Loss scaling, without which float16 loses small gradients."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from hpcbench.frameworks.tensorflow.optimizers import Optimizer


class LossScaled(Optimizer):
    """An optimizer whose gradients are of a loss that was multiplied by a scale.

    Micikevicius et al., ICLR 2018 (arXiv 1710.03740), sections 3.2 and 5: a step whose gradients
    overflowed is left out and halves the scale; a run of ``GROWTH_STEPS`` steps without doubles it.
    Gradients are looked at after the exchange, so all devices decide alike.
    """

    INITIAL, LARGEST, GROWTH_STEPS = 2.0**15, 2.0**24, 2000
    slots_per_variable = 0

    def __init__(self, inner: Optimizer) -> None:
        super().__init__(inner.variables)
        self._inner = inner
        self.scalar_count = inner.scalar_count
        self._scale = tf.Variable(self.INITIAL, trainable=False)
        self._steps = tf.Variable(0.0, trainable=False)
        self.slots = [*inner.slots, [self._scale, self._steps]]

    def scalars(self, first_step: int, rates: NDArray[np.float64]) -> NDArray[np.float32]:
        return self._inner.scalars(first_step, rates)

    def scaled(self, loss: tf.Tensor) -> tf.Tensor:
        return loss * tf.cast(self._scale, loss.dtype)

    def update(self, scalars: tf.Tensor, gradients: Sequence[tf.Tensor]) -> None:
        scale, steps = tf.identity(self._scale), self._steps + 1
        gradients = [gradient / scale for gradient in gradients]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(part)) for part in gradients])

        def apply() -> tf.Tensor:
            self._inner.update(scalars, gradients)
            return tf.constant(True)

        tf.cond(finite, apply, lambda: tf.constant(False))
        grown = steps >= self.GROWTH_STEPS
        larger = tf.minimum(scale * tf.where(grown, 2.0, 1.0), self.LARGEST)
        self._put(self._scale, tf.where(finite, larger, tf.maximum(scale / 2, 1.0)))
        self._put(self._steps, tf.where(finite & ~grown, steps, 0.0))

    def _apply(self, scalars: tf.Tensor, gradients: Sequence[tf.Tensor]) -> None:
        self._inner._apply(scalars, gradients)

    @staticmethod
    def _put(variable: tf.Variable, value: tf.Tensor) -> None:
        """Assign in this replica alone, where all replicas assign the same."""
        tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)
