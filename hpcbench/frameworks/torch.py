"""PyTorch: its devices, its errors, its backend; an optional extra."""

import os
from typing import TYPE_CHECKING

from hpcbench.errors import (
    CommunicationFailed,
    ConfigError,
    EnvironmentLacks,
    HpcbenchError,
    OutOfMemory,
)
from hpcbench.frameworks import FRAMEWORKS, Framework

if TYPE_CHECKING:
    from hpcbench.config import OutputConfig, RunConfig, Schedule
    from hpcbench.datasets import Arrays, DatasetSpec
    from hpcbench.engine.backend import Backend
    from hpcbench.strategies import Strategy


class Torch(Framework):
    name = "torch"
    module = "torch"
    install = "containers/setup.sh --torch"
    over_processes = "ddp"
    over_devices = "ddp"

    def check(self, config: "RunConfig", output: "OutputConfig") -> None:
        super().check(config, output)
        for flag, given in (
            ("--xla", config.xla),
            ("--augment", config.augmentations),
            ("--batchnorm sync", config.batchnorm == "sync"),
            ("--tensorboard", output.tensorboard),
            ("--optimizer larc", config.optimizer == "larc"),
            (f"--precision {config.precision}", config.precision not in ("float32", "float64")),
        ):
            if given:
                raise ConfigError(f"{flag} is not there for framework torch")

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

    def translate(self, error: BaseException) -> HpcbenchError | None:
        import torch

        text = str(error).split("\n")[0][:300]
        if isinstance(error, torch.OutOfMemoryError):
            return OutOfMemory(f"out of memory: {text}; lower --batch")
        # What Gloo and NCCL report of a rank that is gone has no class of its own.
        marks = ("gloo", "ProcessGroup", "Connection reset")
        lost = isinstance(error, torch.distributed.DistError)
        if lost or (isinstance(error, RuntimeError) and any(mark in str(error) for mark in marks)):
            return CommunicationFailed(f"the exchange between ranks failed: {text}")
        return None

    def backend(
        self,
        config: "RunConfig",
        plan: "Schedule",
        seed: int,
        spec: "DatasetSpec",
        data: "Arrays",
        strategy: "Strategy",
    ) -> "Backend":
        from hpcbench.engine.torch_backend import TorchBackend

        return TorchBackend(config, plan, seed, spec, data, strategy)


FRAMEWORKS.add(Torch.name, Torch())
