"""PyTorch: its devices, its errors, its backend; an optional extra."""

import os
from collections.abc import Callable
from types import MappingProxyType
from typing import TYPE_CHECKING

from hpcbench.devices.cores import instruction_set
from hpcbench.errors import (
    CommunicationFailed,
    ConfigError,
    EnvironmentLacks,
    HpcbenchError,
    OutOfMemory,
    first_line,
)
from hpcbench.frameworks import FRAMEWORKS, CpuMath, Framework, Probe
from hpcbench.packages import installation

if TYPE_CHECKING:
    from hpcbench.frameworks.backend import Backend, Workload

# What Gloo and NCCL report of a rank that is gone has no class of its own.
SHARED_GPU = "Duplicate GPU detected"
UNUSED_WEIGHTS = "Expected to have finished reduction in the prior iteration"
LOST_RANKS = ("gloo", "ProcessGroup", "NCCL", "Connection reset", "Connection closed by peer")


class Torch(Framework):
    name = "torch"
    module = "torch"
    install = installation(module)
    over_processes = "ddp"
    over_devices = "ddp"
    options = MappingProxyType(
        {
            "optimizer": None,
            "momentum": None,
            "precision": ("float32", "tf32", "mixed_bfloat16", "float64"),
            "input": None,
            "accumulate": None,
        }
    )

    def prepare(self, cores: int, devices: int, local_rank: int) -> None:
        import torch

        torch.set_num_threads(cores)
        gpus = torch.cuda.device_count()
        if gpus == 0:
            return
        if local_rank >= gpus > 1:
            raise EnvironmentLacks(
                f"local rank {local_rank} on {os.uname().nodename} finds only {gpus} GPUs; "
                f"start at most one process a GPU"
            )
        torch.cuda.set_device(local_rank if gpus > 1 else 0)

    def gpu_name(self) -> str | None:
        import torch

        return torch.cuda.get_device_name() if torch.cuda.is_available() else None

    def cpu_math(self) -> CpuMath:
        import torch

        one_dnn = torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
        return CpuMath(bool(one_dnn), instruction_set(), torch.get_num_threads())

    def probe(self) -> Probe:
        import torch

        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Probe(names, self.cpu_math().kernels)

    def translate(self, error: BaseException) -> HpcbenchError | None:
        import torch

        text, whole = first_line(error), str(error)
        if SHARED_GPU in whole:
            return EnvironmentLacks(
                f"two ranks are on one GPU, which NCCL refuses ({whole.splitlines()[-1].strip()}); "
                f"start at most one process a GPU"
            )
        if isinstance(error, torch.OutOfMemoryError):
            return OutOfMemory(f"out of memory: {text}")
        if UNUSED_WEIGHTS in whole:
            return ConfigError(
                "in some step the loss does not depend on all weights of the model, for which "
                "PyTorch's DDP waits: leave out those that are not used, or take --strategy fsdp"
            )
        marked = any(mark in whole for mark in LOST_RANKS)
        gone = isinstance(error, torch.distributed.DistError)
        if gone or (isinstance(error, RuntimeError) and marked):
            return CommunicationFailed(f"the exchange between ranks failed: {text}")
        return None

    def peak_memory(self) -> int:
        import torch

        if torch.cuda.is_available():
            return int(torch.cuda.max_memory_allocated())
        return super().peak_memory()

    def multiplier(self, precision: str) -> Callable[[int], Callable[[int], None]]:
        from hpcbench.frameworks.torch.calibration import multiplier

        return multiplier(precision)

    def adder(self, size: int) -> Callable[[int], None]:
        from hpcbench.frameworks.torch.calibration import adder

        return adder(size)

    def backend(self, workload: "Workload") -> "Backend":
        from hpcbench.frameworks.torch.backend import TorchBackend

        return TorchBackend(workload)


FRAMEWORKS.add(Torch.name, Torch())
