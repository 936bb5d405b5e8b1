"""``tf.distribute.MirroredStrategy``: one process, several GPUs or several logical CPU devices."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from hpcbench.cluster.launchers import Launch
from hpcbench.config import RunConfig
from hpcbench.strategies import STRATEGIES, TensorFlowStrategy, devices_here
from hpcbench.strategies.tensors import logical_devices, mean_over_replicas

if TYPE_CHECKING:
    import tensorflow as tf


@STRATEGIES.register("mirrored")
class Mirrored(TensorFlowStrategy):
    name = "mirrored"
    exchanges = ("flat", "grouped")

    @classmethod
    def check(cls, config: RunConfig, launch: Launch, gpus: int, cores: int) -> int:
        super().check(config, launch, gpus, cores)
        return devices_here(config.devices, config, gpus, cores)

    def __init__(self, launch: Launch, devices: int, exchange: str) -> None:
        import tensorflow as tf

        self.world_size = self.replicas = devices
        self._flat = exchange == "flat"
        self._strategy = tf.distribute.MirroredStrategy(logical_devices(devices))

    def scope(self) -> AbstractContextManager[Any]:
        return self._strategy.scope()

    def copies(self, variable: "tf.Variable") -> "Sequence[tf.Variable]":
        return tuple(self._strategy.experimental_local_results(variable))

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

    def all_reduce_mean(self, tensors: "Sequence[tf.Tensor]") -> "list[tf.Tensor]":
        return mean_over_replicas(tensors, self._flat)
