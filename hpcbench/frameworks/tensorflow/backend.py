"""TensorFlow's side of training: a Keras model in a compiled loop."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from hpcbench.datasets import DATASETS
from hpcbench.frameworks.backend import (
    DEVICE_STRIDE,
    Backend,
    Exchange,
    Sums,
    Workload,
    check_tf32,
    evaluation_batch,
)
from hpcbench.frameworks.keras_backend import set_random_seed
from hpcbench.frameworks.keras_model import (
    build_model,
    generator_states,
    refuse_other_normalization,
)
from hpcbench.frameworks.statistics import StatisticsExchange
from hpcbench.frameworks.tensorflow import optimizers
from hpcbench.frameworks.tensorflow.augmentation import augmentation
from hpcbench.frameworks.tensorflow.exchanging import GradientExchange
from hpcbench.frameworks.tensorflow.flops import step_flops
from hpcbench.frameworks.tensorflow.loop import TrainingLoop
from hpcbench.frameworks.tensorflow.loss_scale import LossScaled
from hpcbench.frameworks.tensorflow.objectives import objective
from hpcbench.layers.batch_normalization import batch_normalization
from hpcbench.models import MODELS, BuildContext
from hpcbench.strategies import TensorFlowStrategy

# What a run that keeps its model writes.
MODEL_FILE = "model.keras"


def set_arithmetic(precision: str) -> None:
    """Keras' policy, and whether a GPU may round the factors of float32 products to TF32's 10 bits,
    which TensorFlow does unless told not to; raises EnvironmentLacks where TF32 is asked for and
    not there."""
    rounded = precision == "tf32"
    if rounded:
        gpus = tf.config.get_visible_devices("GPU")
        details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
        check_tf32(details.get("compute_capability"))
    tf.config.experimental.enable_tensor_float_32_execution(rounded)
    keras.config.set_dtype_policy("float32" if rounded else precision)


class TensorFlowBackend(Backend):
    def __init__(self, workload: Workload) -> None:
        config, schedule, spec = workload.config, workload.schedule, workload.spec
        strategy = workload.strategy
        if not isinstance(strategy, TensorFlowStrategy):
            raise TypeError(f"strategy {strategy.name} is not TensorFlow's")
        self._strategy = strategy
        self._objective = objective(spec)
        self.metric, self.metric_sums = self._objective.metric, self._objective.sums
        set_random_seed(workload.seed)
        set_arithmetic(config.precision)
        statistics = StatisticsExchange(strategy.all_reduce_mean)
        normalization = batch_normalization(config.batchnorm, statistics.mean)
        with strategy.scope():
            self.model = build_model(
                config.framework,
                config.model,
                BuildContext(
                    input_shape=spec.input_shape,
                    outputs=spec.outputs,
                    words=spec.words,
                    # Devices' own seeds are made of this one below.
                    seed=workload.seed,
                    logits_dtype="float64" if config.precision == "float64" else "float32",
                    devices=strategy.replica_devices,
                    batch_normalization=normalization,
                ),
            )
            if config.batchnorm == "sync":
                refuse_other_normalization(self.model, config.model, normalization)
            weights = [variable.value for variable in self.model.trainable_variables]
            self._optimizer = optimizers.make(schedule.optimizer, weights, schedule.momentum)
            if config.precision == "mixed_float16":
                self._optimizer = LossScaled(self._optimizer)
        self._loop = TrainingLoop(
            self.model,
            self._optimizer,
            strategy,
            GradientExchange(strategy, weights, config.compression),
            statistics,
            workload.data,
            self._objective,
            schedule.batch_per_device,
            config.accumulate,
            config.xla,
            config.input == "stream",
            evaluation_batch(spec.largest_shape),
            augmentation(config.augmentations) if config.augmentations else None,
            workload.seed,
        )
        self._samples_of_a_step = strategy.replicas * schedule.batch_per_device
        self._parts = config.accumulate
        self.parameters = self.model.count_params()
        self.trainable_parameters = sum(weight.shape.num_elements() for weight in weights)
        slots = [slot for kind in self._optimizer.slots for slot in kind]
        # The same on all ranks; the seeds of dropout's generators are not.
        self._shared = [variable.value for variable in self.model.weights] + slots
        self._generators = [variable.value for variable in generator_states(self.model)]
        self._set_generators([variable.numpy() for variable in self._generators])
        strategy.broadcast(weights)

    def metric_value(self, sums: Sums, samples: int) -> float:
        return self._objective.value(sums, samples)

    @property
    def graph(self) -> Any:
        """The graph of the training loop, for TensorBoard."""
        return self._loop.graph

    def steps(
        self,
        order: NDArray[np.int32],
        rates: NDArray[np.float64],
        first_step: int = 0,
        exchange: Exchange = Exchange.GRADIENTS,
        held: Any = None,
    ) -> Sums:
        scalars = self._optimizer.scalars(first_step, rates)
        return self._loop.steps(order, scalars, first_step, exchange, held)

    def hold(self, rows: NDArray[np.int32]) -> Any:
        return self._loop.hold(rows)

    def exchanges(self, count: int, exchange: Exchange) -> None:
        self._loop.exchanges(count, exchange)

    def partial_step(
        self,
        shares: Sequence[NDArray[np.int32]],
        rates: NDArray[np.float64],
        total: int,
        step: int = 0,
    ) -> Sums:
        return self._loop.partial_step(shares, self._optimizer.scalars(step, rates), total, step)

    def evaluate(self, start: int, stop: int) -> Sums:
        return self._loop.evaluate(start, stop)

    def average_batch_norm_state(self) -> None:
        self._loop.average_batch_norm_state()

    def state(self) -> list[NDArray[Any]]:
        return [variable.numpy() for variable in self._shared] + self._of_first_device()

    def restore(self, state: Sequence[NDArray[Any]]) -> None:
        count = len(self._shared)
        for variable, value in zip(self._shared, state[:count], strict=True):
            variable.assign(value)
        self._set_generators(state[count:])

    def _of_first_device(self) -> list[NDArray[Any]]:
        """The states of generators as the first of all devices has them."""
        states = [self._strategy.copies(variable)[0].numpy() for variable in self._generators]
        return [state - _of_device(self._strategy.first_device, state) for state in states]

    def _set_generators(self, of_first_device: Sequence[NDArray[Any]]) -> None:
        """Each device draws numbers of its own."""
        for variable, state in zip(self._generators, of_first_device, strict=True):
            for place, copy in enumerate(self._strategy.copies(variable)):
                copy.assign(state + _of_device(self._strategy.first_device + place, state))

    @contextmanager
    def put_back(self) -> Iterator[None]:
        # Weights are the same on all devices of a process, local batch normalization's are not.
        variables = self._shared + self._generators
        copies = [copy for each in variables for copy in self._strategy.copies(each)]
        before = [copy.numpy() for copy in copies]
        yield
        for copy, value in zip(copies, before, strict=True):
            copy.assign(value)

    def broadcast_state(self) -> None:
        self._strategy.broadcast(self._shared)
        states = self._of_first_device()
        if not states:
            # Nothing to agree on.
            return
        counters = self._strategy.all_gather([float(counter) for _, counter in states])[0]
        for state, counter in zip(states, counters, strict=True):
            state[1] = counter
        self._set_generators(states)

    def flops_per_sample(self) -> int | None:
        flops = step_flops(self._loop.graph, self._parts)
        return flops // self._samples_of_a_step if flops else None

    def named_weights(self) -> list[tuple[str, NDArray[Any]]]:
        return [(weight.path, weight.value.numpy()) for weight in self.model.trainable_variables]

    def save_model(self, folder: Path) -> None:
        self.model.save(folder / MODEL_FILE)


def _of_device(device: int, state: NDArray[Any]) -> NDArray[Any]:
    """What tells a device's generator from that of the first, in the type of its ``state``."""
    return np.array([DEVICE_STRIDE * device, 0], state.dtype)


def gradient_sizes(name: str) -> list[int]:
    """How many elements each gradient of the model ``name`` has, on its first data set."""
    spec = DATASETS[MODELS[name].datasets[0]]
    if spec.resized:
        spec = spec.resized(spec, MODELS[name].image_size)
    context = BuildContext(
        input_shape=spec.input_shape,
        outputs=spec.outputs,
        words=spec.words,
        seed=0,
        logits_dtype="float32",
        batch_normalization=batch_normalization("local", list),
    )
    model = build_model("tensorflow", name, context)
    return [int(weight.value.shape.num_elements()) for weight in model.trainable_variables]
