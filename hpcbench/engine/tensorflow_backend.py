"""TensorFlow's side of training: a Keras model in a compiled loop."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from hpcbench.config import RunConfig, Schedule
from hpcbench.datasets import Arrays, DatasetSpec
from hpcbench.engine import optimizers
from hpcbench.engine.augmentation import augmentation
from hpcbench.engine.backend import Backend, Sums
from hpcbench.engine.flops import training_flops
from hpcbench.engine.loop import TrainingLoop
from hpcbench.engine.loss_scale import LossScaled
from hpcbench.engine.objectives import objective
from hpcbench.errors import ConfigError
from hpcbench.models import MODELS, BuildContext
from hpcbench.models.normalization import batch_normalization
from hpcbench.strategies import Strategy


class TensorFlowBackend(Backend):
    def __init__(
        self,
        config: RunConfig,
        plan: Schedule,
        seed: int,
        spec: DatasetSpec,
        data: Arrays,
        strategy: Strategy,
    ) -> None:
        self._strategy = strategy
        self._objective = objective(spec)
        self.metric, self.metric_sums = self._objective.metric, self._objective.sums
        keras.utils.set_random_seed(seed)
        keras.config.set_dtype_policy(config.precision)
        with strategy.scope():
            self.model = _build(
                config.model,
                BuildContext(
                    input_shape=spec.input_shape,
                    outputs=spec.outputs,
                    words=spec.words,
                    seed=seed + 1_000_003 * strategy.rank,
                    logits_dtype="float64" if config.precision == "float64" else "float32",
                    devices=strategy.replica_devices,
                    batch_normalization=batch_normalization(config.batchnorm, strategy.mean),
                ),
            )
            weights = [variable.value for variable in self.model.trainable_variables]
            self._optimizer = optimizers.make(plan.optimizer, weights, plan.momentum)
            if config.precision == "mixed_float16":
                self._optimizer = LossScaled(self._optimizer)
        self._loop = TrainingLoop(
            self.model, self._optimizer, strategy, data, self._objective, plan.batch_per_device,
            config.xla, config.input == "stream",
            augmentation(config.augmentations) if config.augmentations else None, seed,
        )  # fmt: skip
        self.graph = self._loop.graph
        self.parameters = self.model.count_params()
        self.trainable_parameters = sum(weight.shape.num_elements() for weight in weights)
        slots = [slot for kind in self._optimizer.slots for slot in kind]
        # The same on all ranks; the states of dropout's generators, (seed, counter), are not.
        self._shared = [variable.value for variable in self.model.weights] + slots
        self._generators = [
            variable.value for variable in self.model.variables if variable.dtype == "uint32"
        ]
        strategy.broadcast(weights)

    def metric_value(self, sums: Sums, samples: int) -> float:
        return self._objective.value(sums, samples)

    def steps(
        self, order: NDArray[np.int32], rates: NDArray[np.float64], first_step: int = 0
    ) -> Sums:
        return self._loop.steps(order, self._optimizer.scalars(first_step, rates), first_step)

    def steps_without_exchange(self, order: NDArray[np.int32], rates: NDArray[np.float64]) -> None:
        self._loop.steps_without_exchange(order, self._optimizer.scalars(0, rates))

    def remainder(
        self,
        shares: Sequence[NDArray[np.int32]],
        rates: NDArray[np.float64],
        total: int,
        step: int = 0,
    ) -> Sums:
        return self._loop.remainder(shares, self._optimizer.scalars(step, rates), total, step)

    def evaluate(self, start: int, stop: int) -> Sums:
        return self._loop.evaluate(start, stop)

    def average_batch_norm_state(self) -> None:
        self._loop.average_batch_norm_state()

    def state(self) -> list[NDArray[Any]]:
        return [variable.numpy() for variable in self._shared + self._generators]

    def restore(self, state: Sequence[NDArray[Any]]) -> None:
        for variable, value in zip(self._shared + self._generators, state, strict=True):
            variable.assign(value)

    def share_state(self) -> None:
        self._strategy.broadcast(self._shared)
        for variable in self._generators:
            seed, counter = variable.numpy()
            told = self._strategy.gather([float(seed), float(counter)])
            variable.assign(np.array([seed, told[0, 1]], np.uint32))

    def flops_per_sample(self) -> int:
        return training_flops(self.model)

    def named_weights(self) -> list[tuple[str, NDArray[Any]]]:
        return [(weight.path, weight.value.numpy()) for weight in self.model.trainable_variables]

    def save_model(self, folder: Path) -> None:
        self.model.save(folder / "model.keras")


def _build(name: str, context: BuildContext) -> keras.Model:
    """Raises ConfigError where the network cannot be built for inputs of this shape."""
    try:
        return MODELS[name].build(context)
    except ValueError as error:
        shape = " x ".join(map(str, context.input_shape))
        raise ConfigError(
            f"model {name} cannot be built for inputs of {shape}; choose other data, or of images "
            f"of any size another --image-size"
        ) from error
