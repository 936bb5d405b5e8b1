"""``tf.distribute.MirroredStrategy``: one process, several GPUs or several logical CPU devices."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hpcbench.config import RunConfig
from hpcbench.launch import Launch
from hpcbench.strategies import STRATEGIES, Strategy, devices_of_process, logical_devices
from hpcbench.strategies.buffers import all_reduce_mean

if TYPE_CHECKING:
    import tensorflow as tf


@STRATEGIES.register("mirrored")
class Mirrored(Strategy):
    name = "mirrored"
    exchanges = ("flat", "grouped")

    @classmethod
    def check(cls, config: RunConfig, launch: Launch, gpus: int, cores: int) -> int:
        super().check(config, launch, gpus, cores)
        return devices_of_process(config.devices, config, gpus, cores)

    def __init__(self, launch: Launch, devices: int, exchange: str) -> None:
        import tensorflow as tf

        self.world_size = self.replicas = devices
        self._flat = exchange == "flat"
        self._strategy = tf.distribute.MirroredStrategy(logical_devices(devices))

    def scope(self) -> AbstractContextManager[Any]:
        return self._strategy.scope()

    def place(self, make: "Callable[[int], tf.Tensor]") -> Any:
        def value(context: Any) -> "tf.Tensor":
            return make(context.replica_id_in_sync_group)

        return self._strategy.experimental_distribute_values_from_function(value)

    def run(self, step: Callable[..., Any], *args: Any) -> "list[tf.Tensor]":
        import tensorflow as tf

        def replica_step(*values: Any) -> Any:
            context = tf.distribute.get_replica_context()
            return step(context.replica_id_in_sync_group, *values)

        per_replica = self._strategy.run(replica_step, args)
        return [self._strategy.reduce("SUM", value, axis=None) for value in per_replica]

    def mean(self, tensors: "Sequence[tf.Tensor]") -> "list[tf.Tensor]":
        return all_reduce_mean(tensors, self._flat)

    def gather(self, values: Sequence[float]) -> NDArray[np.float64]:
        return np.array([values], np.float64)
