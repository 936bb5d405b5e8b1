"""mpi4py: MPI's own operations on buffers of the host."""

from collections.abc import Callable, Sequence

import numpy as np

from hpcbench.collective import Floats
from hpcbench.collective.libraries import LIBRARIES, Exchange, Library


@LIBRARIES.register("mpi4py")
class Mpi4py(Library):
    name = "mpi4py"
    strategy = "mpi"
    modules = ("mpi4py",)
    operations = ("all_reduce", "reduce_scatter", "all_gather", "broadcast")
    forms = ("flat", "per-tensor")

    def exchange(self, operation: str, form: str, inputs: Sequence[Floats]) -> Exchange:
        if operation != "all_reduce":
            return self._single(operation, inputs[0])
        from mpi4py import MPI

        comm = MPI.COMM_WORLD
        outputs = [np.empty_like(mine) for mine in inputs]
        if form == "flat" and len(inputs) > 1:
            ends = np.cumsum([len(mine) for mine in inputs])
            packed = np.empty(ends[-1], np.float32)
            total = np.empty_like(packed)

            def packing() -> None:
                np.concatenate(inputs, out=packed)
                comm.Allreduce(packed, total)
                for output, part in zip(outputs, np.split(total, ends[:-1]), strict=True):
                    output[:] = part

            return Exchange(packing, lambda: outputs)

        def each() -> None:
            for mine, output in zip(inputs, outputs, strict=True):
                comm.Allreduce(mine, output)

        return Exchange(each, lambda: outputs)

    def _single(self, operation: str, mine: Floats) -> Exchange:
        from mpi4py import MPI

        comm = MPI.COMM_WORLD
        count = {
            "reduce_scatter": len(mine) // comm.size,
            "all_gather": len(mine) * comm.size,
            "broadcast": 0,
        }[operation]
        output = np.empty(count, np.float32) if count else mine.copy()
        runs: dict[str, Callable[[], object]] = {
            "reduce_scatter": lambda: comm.Reduce_scatter_block(mine, output),
            "all_gather": lambda: comm.Allgather(mine, output),
            "broadcast": lambda: comm.Bcast(output, root=0),
        }
        return Exchange(runs[operation], lambda: [output])
