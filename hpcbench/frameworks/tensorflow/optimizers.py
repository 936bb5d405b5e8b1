"""Optimizers as TensorFlow's fused kernels, one operation a variable.

They compute what Keras' optimizers of the same name compute, with Keras' default constants.
What depends on the step number alone (learning rate, bias correction) is worked out on the
host in float64 and given to the step as a row of scalars.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from hpcbench.frameworks.optimizers import ADADELTA_RHO, ADAM_BETAS, EPSILON, LARC_TRUST


class Optimizer(ABC):
    """Holds ``slots``, per variable the tensors that an update needs beside the gradient."""

    slots_per_variable: int
    scalar_count = 1

    def __init__(self, variables: Sequence[tf.Variable]) -> None:
        self.variables = list(variables)
        self.slots = [
            [_beside(variable) for variable in self.variables]
            for _ in range(self.slots_per_variable)
        ]

    def scalars(self, first_step: int, rates: NDArray[np.float64]) -> NDArray[np.float32]:
        """Scalars for the steps from ``first_step`` (0 is the first).

        Shape (len(rates), scalar_count).
        """
        return rates[:, np.newaxis].astype(np.float32)

    def scaled(self, loss: tf.Tensor) -> tf.Tensor:
        """What gradients are taken of: ``loss``, or what :meth:`update` makes up for."""
        return loss

    def update(self, scalars: tf.Tensor, gradients: Sequence[tf.Tensor]) -> None:
        """Update the variables, inside the step of one replica."""
        self._apply(tf.cast(scalars, self.variables[0].dtype), gradients)

    @abstractmethod
    def _apply(self, scalars: tf.Tensor, gradients: Sequence[tf.Tensor]) -> None:
        """:meth:`update` with the scalars in the variables' type."""


def _beside(variable: tf.Variable) -> tf.Variable:
    """Zeros in the shape of ``variable``, on its device."""
    with tf.distribute.get_strategy().extended.colocate_vars_with(variable):
        return tf.Variable(tf.zeros_like(variable), trainable=False)


class Adam(Optimizer):
    """Kingma and Ba, arXiv 1412.6980, algorithm 1, in the order that section 2 ends with."""

    slots_per_variable = 2
    scalar_count = 3
    BETA_1, BETA_2 = ADAM_BETAS

    def scalars(self, first_step: int, rates: NDArray[np.float64]) -> NDArray[np.float32]:
        step = np.arange(first_step + 1, first_step + 1 + len(rates), dtype=np.float64)
        # The kernel divides by (1 - beta_1^t) and multiplies by sqrt(1 - beta_2^t).
        return np.stack([rates, self.BETA_1**step, self.BETA_2**step], axis=1).astype(np.float32)

    def _apply(self, scalars: tf.Tensor, gradients: Sequence[tf.Tensor]) -> None:
        rate, power_1, power_2 = tf.unstack(scalars, 3)
        for variable, m, v, gradient in zip(self.variables, *self.slots, gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=power_1,
                beta2_power=power_2,
                lr=rate,
                beta1=self.BETA_1,
                beta2=self.BETA_2,
                epsilon=EPSILON,
                grad=gradient,
            )


class Sgd(Optimizer):
    """Stochastic gradient descent with Polyak's momentum."""

    slots_per_variable = 1

    def __init__(self, variables: Sequence[tf.Variable], momentum: float) -> None:
        super().__init__(variables)
        self.momentum = momentum

    def _apply(self, scalars: tf.Tensor, gradients: Sequence[tf.Tensor]) -> None:
        rate = scalars[0]
        for variable, velocity, gradient in zip(
            self.variables, self.slots[0], gradients, strict=True
        ):
            tf.raw_ops.ResourceApplyKerasMomentum(
                var=variable.handle,
                accum=velocity.handle,
                lr=rate,
                momentum=self.momentum,
                grad=gradient,
            )


class Larc(Sgd):
    """As ``hpcbench.frameworks.optimizers`` has it."""

    def _apply(self, scalars: tf.Tensor, gradients: Sequence[tf.Tensor]) -> None:
        rate = scalars[0]
        adapted = []
        for variable, gradient in zip(self.variables, gradients, strict=True):
            weight_norm, gradient_norm = tf.norm(variable), tf.norm(gradient)
            own = tf.math.divide_no_nan(LARC_TRUST * weight_norm, gradient_norm * rate)
            known = (weight_norm > 0) & (gradient_norm > 0)
            adapted.append(gradient * tf.where(known, tf.minimum(own, 1), 1))
        super()._apply(scalars, adapted)


class Adadelta(Optimizer):
    """Zeiler, arXiv 1212.5701, algorithm 1."""

    slots_per_variable = 2

    def _apply(self, scalars: tf.Tensor, gradients: Sequence[tf.Tensor]) -> None:
        rate = scalars[0]
        for variable, squares, updates, gradient in zip(
            self.variables, *self.slots, gradients, strict=True
        ):
            tf.raw_ops.ResourceApplyAdadelta(
                var=variable.handle,
                accum=squares.handle,
                accum_update=updates.handle,
                lr=rate,
                rho=ADADELTA_RHO,
                epsilon=EPSILON,
                grad=gradient,
            )


def make(name: str, variables: Sequence[tf.Variable], momentum: float) -> Optimizer:
    """The optimizer ``name``: adam, sgd, larc or adadelta."""
    if name in ("sgd", "larc"):
        return {"sgd": Sgd, "larc": Larc}[name](variables, momentum)
    return {"adam": Adam, "adadelta": Adadelta}[name](variables)
