"""PyTorch's DistributedDataParallel: one process a device, by NCCL on GPUs and Gloo on CPUs.

Started by torchrun, mpirun or srun. DDP exchanges gradients while the backward pass goes on, in
buckets of its own choice.
"""

import atexit
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hpcbench.cluster.launchers import Launch
from hpcbench.cluster.patience import Address, patience
from hpcbench.cluster.rendezvous import rank_hosts, rendezvous_port
from hpcbench.config import RunConfig
from hpcbench.errors import ConfigError, EnvironmentLacks
from hpcbench.strategies import STRATEGIES, TorchStrategy

if TYPE_CHECKING:
    import torch


@STRATEGIES.register("ddp")
class Ddp(TorchStrategy):
    name = "ddp"
    frameworks = ("torch",)
    exchanges = ("buckets",)
    compressions: ClassVar[tuple[str, ...]] = ("fp16", "bf16")
    needs_launcher = True
    start_hint = "torchrun --nproc-per-node"

    @classmethod
    def check(cls, config: RunConfig, launch: Launch, gpus: int, cores: int) -> int:
        world_size = super().check(config, launch, gpus, cores)
        if config.compression == "bf16" and not gpus:
            raise EnvironmentLacks("PyTorch's DDP has compression to bf16 on GPUs alone; take fp16")
        return world_size

    @classmethod
    def meeting(cls, launch: Launch, environment: Mapping[str, str]) -> dict[int, Address]:
        if launch.launcher == "torchrun":
            return {}
        return {0: (rank_hosts(launch, environment)[0], rendezvous_port(launch, environment))}

    def __init__(self, launch: Launch, devices: int, exchange: str) -> None:
        import torch
        from torch import distributed

        where = "env://"
        for host, port in self.meeting(launch, os.environ).values():
            where = f"tcp://{host}:{port}"
        try:
            distributed.init_process_group(
                "nccl" if torch.cuda.is_available() else "gloo",
                init_method=where,
                rank=launch.rank,
                world_size=launch.size,
                # Of ranks that come, and later of those that do not answer.
                timeout=timedelta(seconds=patience(os.environ)),
            )
        except ValueError as error:
            raise ConfigError(f"PyTorch's ranks do not find each other: {error}") from error
        # At a good end only: after a failure the other ranks may never answer.
        atexit.register(distributed.destroy_process_group)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self.rank, self.processes = launch.rank, launch.size
        self.world_size = self.processes

    def parallel(self, module: "torch.nn.Module", compression: str) -> "torch.nn.Module":
        from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
        from torch.nn.parallel import DistributedDataParallel

        hooks = {
            "fp16": default_hooks.fp16_compress_hook,
            "bf16": default_hooks.bf16_compress_hook,
        }
        parallel = DistributedDataParallel(module)
        if compression in hooks:
            parallel.register_comm_hook(None, hooks[compression])
        return parallel

    def all_reduce_mean_(self, tensor: "torch.Tensor") -> None:
        from torch import distributed

        distributed.all_reduce(tensor)
        tensor /= self.processes

    @contextmanager
    def unsynchronized(self, module: Any) -> Iterator[None]:
        # Or the first pass in here would wait for rank 0's moving statistics, as each pass after a
        # synchronized one does.
        before, module.require_forward_param_sync = module.require_forward_param_sync, False
        with module.no_sync():
            yield
        module.require_forward_param_sync = before

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
