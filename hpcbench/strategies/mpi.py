"""mpi4py: one ``MPI_Allreduce`` on one flat gradient buffer a step, and nothing else.

On CPUs the floor that the other strategies are held against.
"""

import math
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hpcbench.cluster.launchers import Launch
from hpcbench.errors import EnvironmentLacks
from hpcbench.strategies import STRATEGIES, TensorFlowStrategy

if TYPE_CHECKING:
    import tensorflow as tf

# In bytes, of what TensorFlow's kernels read (EIGEN_MAX_ALIGN_BYTES with AVX-512).
MEMORY_ALIGNMENT = 64


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
        self._comm, self._in_place = MPI.COMM_WORLD, MPI.IN_PLACE
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

        whole, parts = _buffer([tensor.shape.as_list() for tensor in tensors], tensors[0].dtype)

        def allreduce(*local: NDArray[Any]) -> list[NDArray[Any]]:
            for part, tensor in zip(parts, local, strict=True):
                np.copyto(part, tensor)
            self._comm.Allreduce(self._in_place, whole)
            np.multiply(whole, 1 / self.processes, out=whole)
            return parts

        means = tf.numpy_function(allreduce, list(tensors), [tensor.dtype for tensor in tensors])
        return [
            tf.ensure_shape(mean, tensor.shape) for mean, tensor in zip(means, tensors, strict=True)
        ]

    def all_gather(self, values: Sequence[float]) -> NDArray[np.float64]:
        mine = np.array(values, np.float64)
        rows = np.empty((self.processes, len(mine)), np.float64)
        self._comm.Allgather(mine, rows)
        return rows

    def broadcast(self, variables: "Sequence[tf.Variable]") -> None:
        for variable in variables:
            variable.assign(self._comm.bcast(variable.numpy(), root=0))


def _buffer(shapes: Sequence[Sequence[int]], dtype: "tf.DType") -> tuple[NDArray[Any], list[Any]]:
    """A flat buffer, and its parts in these ``shapes``, which TensorFlow takes as tensors as they
    are, without a copy, since they begin where it wants memory to. They change with the next
    exchange: a step's updates, of which it waits for all, have used them up by then."""
    alignment = MEMORY_ALIGNMENT // dtype.size
    sizes = [math.prod(shape) for shape in shapes]
    ends = np.cumsum([-(-size // alignment) * alignment for size in sizes])
    memory = np.zeros(ends[-1] + alignment, dtype.as_numpy_dtype)
    first = -memory.ctypes.data % MEMORY_ALIGNMENT // dtype.size
    whole = memory[first : first + ends[-1]]
    starts = [0, *ends[:-1]]
    return whole, [
        whole[start : start + size].reshape(shape)
        for start, size, shape in zip(starts, sizes, shapes, strict=True)
    ]
