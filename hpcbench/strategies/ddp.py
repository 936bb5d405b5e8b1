"""PyTorch's DistributedDataParallel: one process a device, by NCCL on GPUs and Gloo on CPUs.

Started by torchrun, mpirun or srun. DDP exchanges gradients while the backward pass goes on, in
buckets of its own choice.
"""

import atexit
import os
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hpcbench.cluster.launchers import Launch
from hpcbench.cluster.rendezvous import rank_hosts, rendezvous_port
from hpcbench.errors import ConfigError
from hpcbench.strategies import STRATEGIES, TorchStrategy

if TYPE_CHECKING:
    import torch

# Ranks that do not come, or do not answer, within this time are taken for dead.
PATIENCE = timedelta(minutes=5)


@STRATEGIES.register("ddp")
class Ddp(TorchStrategy):
    name = "ddp"
    frameworks = ("torch",)
    exchanges = ("buckets",)
    needs_launcher = True
    start_hint = "torchrun --nproc-per-node"

    def __init__(self, launch: Launch, devices: int, exchange: str) -> None:
        import torch
        from torch import distributed

        if launch.launcher == "torchrun":
            where = "env://"
        else:
            host = rank_hosts(launch, os.environ)[0]
            where = f"tcp://{host}:{rendezvous_port(launch, os.environ)}"
        try:
            distributed.init_process_group(
                "nccl" if torch.cuda.is_available() else "gloo",
                init_method=where,
                rank=launch.rank,
                world_size=launch.size,
                timeout=PATIENCE,
            )
        except ValueError as error:
            raise ConfigError(f"PyTorch's ranks do not find each other: {error}") from error
        # At a good end only: after a failure the other ranks may never answer.
        atexit.register(distributed.destroy_process_group)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self.rank, self.processes = launch.rank, launch.size
        self.world_size = self.processes

    def parallel(self, module: "torch.nn.Module") -> "torch.nn.Module":
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(module)

    def unsynchronized(self, module: Any) -> AbstractContextManager[Any]:
        return module.no_sync()

    def all_gather(self, values: Sequence[float]) -> NDArray[np.float64]:
        import torch
        from torch import distributed

        mine = torch.tensor(list(values), dtype=torch.float64, device=self._device)
        rows = [torch.empty_like(mine) for _ in range(self.processes)]
        distributed.all_gather(rows, mine)
        # A thread of Gloo's that lets go of a tensor during Python's farewell aborts the process
        # (pytorch/pytorch, pull request 179291), and this may be the last exchange before it.
        while self._device == "cpu" and any(row._use_count() > 1 for row in (mine, *rows)):
            time.sleep(1e-5)
        return np.stack([row.cpu().numpy() for row in rows])

    def broadcast(self, variables: Sequence[Any]) -> None:
        from torch import distributed

        for tensor in variables:
            distributed.broadcast(tensor, src=0)
