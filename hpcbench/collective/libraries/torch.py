"""torch.distributed: NCCL on GPUs, Gloo on CPUs. Sums replace what was given."""

from collections.abc import Callable, Sequence

import numpy as np

from hpcbench.collective import Floats
from hpcbench.collective.libraries import LIBRARIES, Exchange, Library


@LIBRARIES.register("torch")
class TorchDistributed(Library):
    name = "torch"
    strategy = "ddp"
    framework = "torch"
    modules = ("torch",)
    operations = ("all_reduce", "reduce_scatter", "all_gather", "broadcast")
    forms = ("flat", "per-tensor")

    def exchange(self, operation: str, form: str, inputs: Sequence[Floats]) -> Exchange:
        import torch
        from torch import distributed

        on_gpu = torch.cuda.is_available()
        device = "cuda" if on_gpu else "cpu"
        mine = [torch.from_numpy(np.array(value)).to(device) for value in inputs]
        results, first = mine, mine[0]
        run: Callable[[], object]
        if operation == "all_reduce" and form == "flat" and len(mine) > 1:

            def run() -> None:
                total = torch.cat(mine)
                distributed.all_reduce(total)
                parts = total.split([len(value) for value in mine])
                torch._foreach_copy_(mine, list(parts))

        elif operation == "all_reduce":

            def run() -> None:
                under_way = [distributed.all_reduce(value, async_op=True) for value in mine]
                for work in under_way:
                    work.wait()

        elif operation == "broadcast":

            def run() -> None:
                distributed.broadcast(first, 0)

        else:
            ranks, scatters = self.ranks.processes, operation == "reduce_scatter"
            count = len(first) // ranks if scatters else len(first) * ranks
            output = torch.empty(count, device=device)
            results = [output]
            new, old = (
                ("reduce_scatter_single", "reduce_scatter_tensor")
                if scatters
                else ("all_gather_single", "all_gather_into_tensor")
            )
            call = getattr(distributed, new, None) or getattr(distributed, old)

            def run() -> None:
                call(output, first)

        wait = torch.cuda.synchronize if on_gpu else (lambda: None)
        return Exchange(run, lambda: [value.cpu().numpy() for value in results], wait)
