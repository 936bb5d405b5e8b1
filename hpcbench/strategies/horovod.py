"""Horovod: one process a device, started by horovodrun, mpirun or srun.

Only Horovod's operations are used. Its ``DistributedOptimizer`` under Keras 3's ``compile`` and
``fit`` runs without an error and exchanges nothing.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hpcbench.cluster.launchers import Launch
from hpcbench.errors import EnvironmentLacks
from hpcbench.strategies import STRATEGIES, TensorFlowStrategy
from hpcbench.strategies.tensors import flatten, unflatten

if TYPE_CHECKING:
    import tensorflow as tf


@STRATEGIES.register("horovod")
class Horovod(TensorFlowStrategy):
    name = "horovod"
    # On CPUs one buffer was measured to be as fast or faster; on GPUs, where the exchange may go on
    # behind the backward pass, what Horovod's users have.
    exchanges = ("flat", "grouped", "per-tensor")
    exchange_on_gpus = "per-tensor"
    compressions = ("fp16",)
    needs_launcher = True

    @classmethod
    def probe(cls) -> dict[str, Any]:
        if find_spec("horovod") is None:
            return {}
        import horovod.tensorflow as hvd

        built = {"MPI": hvd.mpi_built, "Gloo": hvd.gloo_built, "NCCL": hvd.nccl_built}
        return {name: bool(ask()) for name, ask in built.items()}

    def __init__(self, launch: Launch, devices: int, exchange: str) -> None:
        try:
            import horovod.tensorflow as hvd
        except ImportError as error:
            raise EnvironmentLacks(
                f"strategy horovod needs Horovod, which does not load here ({error}); "
                f"run make setup in a clone of the project, or choose --strategy mpi"
            ) from error
        hvd.init()
        if hvd.size() != launch.size:
            raise EnvironmentLacks(
                f"{launch.launcher} started {launch.size} processes but Horovod sees "
                f"{hvd.size()}: it was built for another MPI; run make setup again"
            )
        self._hvd = hvd
        self._exchange = exchange
        self.rank, self.processes = hvd.rank(), hvd.size()
        self.world_size = self.processes

    def all_reduce_mean(self, tensors: "Sequence[tf.Tensor]") -> "list[tf.Tensor]":
        if self.processes == 1:
            return list(tensors)
        if self._exchange == "per-tensor" or len(tensors) == 1:
            return [self._hvd.allreduce(tensor, op=self._hvd.Average) for tensor in tensors]
        if self._exchange == "flat":
            flat = self._hvd.allreduce(flatten(tensors), op=self._hvd.Average)
            return unflatten(flat, tensors)
        return list(self._hvd.grouped_allreduce(list(tensors), op=self._hvd.Average))

    def all_gather(self, values: Sequence[float]) -> NDArray[np.float64]:
        import tensorflow as tf

        row = tf.constant([list(values)], tf.float64)
        return np.asarray(self._hvd.allgather(row, name="gather"))

    def broadcast(self, variables: "Sequence[tf.Variable]") -> None:
        self._hvd.broadcast_variables(list(variables), root_rank=0)
