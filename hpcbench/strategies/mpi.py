"""mpi4py: one ``MPI_Allreduce`` on one flat gradient buffer a step, and nothing else.

On CPUs the floor that the other strategies are held against.
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


@STRATEGIES.register("mpi")
class Mpi(TensorFlowStrategy):
    name = "mpi"
    exchanges = ("flat",)
    needs_launcher = True

    @classmethod
    def probe(cls) -> dict[str, Any]:
        if find_spec("mpi4py") is None:
            return {}
        import mpi4py

        # Under an srun that does not start MPI's ranks, to start MPI is to be killed by it.
        mpi4py.rc.initialize = False
        from mpi4py import MPI

        return {"library": MPI.Get_library_version()}

    def __init__(self, launch: Launch, devices: int, exchange: str) -> None:
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            raise EnvironmentLacks(
                f"strategy mpi needs an MPI library, which does not load here ({error}); "
                f"install one (Debian: apt-get install openmpi-bin libopenmpi-dev)"
            ) from error
        self._comm = MPI.COMM_WORLD
        if self._comm.size != launch.size:
            raise EnvironmentLacks(
                f"{launch.launcher} started {launch.size} processes but mpi4py sees "
                f"{self._comm.size}: it uses another MPI than the launcher's"
            )
        self.rank, self.processes = self._comm.rank, self._comm.size
        self.world_size = self.processes

    def all_reduce_mean(self, tensors: "Sequence[tf.Tensor]") -> "list[tf.Tensor]":
        if self.processes == 1:
            return list(tensors)

        import tensorflow as tf

        flat = flatten(tensors)
        # Kept: what a step got is used up before the next step has gradients.
        received = np.empty(flat.shape, flat.dtype.as_numpy_dtype)

        def allreduce(local: NDArray[np.float32]) -> NDArray[np.float32]:
            self._comm.Allreduce(local, received)
            np.multiply(received, 1 / self.processes, out=received)
            return received

        total = tf.numpy_function(allreduce, [flat], flat.dtype)
        return unflatten(tf.ensure_shape(total, flat.shape), tensors)

    def all_gather(self, values: Sequence[float]) -> NDArray[np.float64]:
        mine = np.array(values, np.float64)
        rows = np.empty((self.processes, len(mine)), np.float64)
        self._comm.Allgather(mine, rows)
        return rows

    def broadcast(self, variables: "Sequence[tf.Variable]") -> None:
        for variable in variables:
            variable.assign(self._comm.bcast(variable.numpy(), root=0))
