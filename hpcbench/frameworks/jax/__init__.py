"""JAX with Keras 3's models: its devices, its errors, its backend; an optional extra."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hpcbench.devices.cores import instruction_set
from hpcbench.devices.gpus import visible_gpus
from hpcbench.errors import (
    CommunicationFailed,
    EnvironmentLacks,
    HpcbenchError,
    OutOfMemory,
    first_line,
)
from hpcbench.frameworks import FRAMEWORKS, CpuMath, Framework, Probe, before_it_computes
from hpcbench.frameworks.keras_backend import choose_keras, load_keras
from hpcbench.packages import installation, lacking

if TYPE_CHECKING:
    from hpcbench.frameworks.backend import Backend, Workload

# What XLA's errors have in their text.
NO_MEMORY = ("RESOURCE_EXHAUSTED", "Out of memory")
LOST_RANKS = ("gloo", "Gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "coordination service")
# One line a GPU.
ASK = "import jax; [print(d.device_kind) for d in jax.local_devices() if d.platform == 'gpu']"


@dataclass(frozen=True)
class XlaMath(CpuMath):
    """XLA compiles its own kernels, and does not tell whether any of oneDNN are among them."""

    @property
    def kernels(self) -> str:
        return f"XLA {self.instruction_set}"

    def facts(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "one_dnn"}


def _set_environment() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    choose_keras("jax")


def load() -> None:
    """Import JAX and Keras on it."""
    _set_environment()
    try:
        import jax  # noqa: F401

        load_keras("jax")
    except ModuleNotFoundError as error:
        raise lacking(error) or error from error


@cache
def _gpu_names() -> tuple[str, ...]:
    """As a process of its own sees them: once this one has asked, no ranks can be connected."""
    if visible_gpus(os.environ) == 0:
        return ()
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    command = [sys.executable, "-c", ASK]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return tuple(done.stdout.splitlines())


class Jax(Framework):
    name = "jax"
    module = "jax"
    install = installation(module)
    over_processes = "jax-distributed"
    over_devices = "sharded"
    options = MappingProxyType(
        {
            "optimizer": None,
            "momentum": None,
            "batchnorm": None,
            "precision": ("float32", "tf32", "mixed_bfloat16", "float64"),
            "input": None,
            "accumulate": None,
        }
    )
    _cores = 1

    def set_environment(self) -> None:
        _set_environment()

    def prepare(self, cores: int, devices: int, local_rank: int) -> None:
        load()
        import jax

        self._cores = cores
        gpus = len(_gpu_names())
        if gpus == 0:
            with before_it_computes(self.name):
                jax.config.update("jax_platforms", "cpu")
                jax.config.update("jax_num_cpu_devices", devices)
        elif local_rank >= gpus > 1:
            raise EnvironmentLacks(
                f"local rank {local_rank} on {os.uname().nodename} finds only {gpus} GPUs; "
                f"start at most one process a GPU"
            )

    def gpu_name(self) -> str | None:
        return next(iter(_gpu_names()), None)

    def cpu_math(self) -> CpuMath:
        return XlaMath(False, instruction_set(), self._cores)

    def probe(self) -> Probe:
        # Not Keras, which may be another framework's in this process.
        import jax  # noqa: F401

        return Probe(list(_gpu_names()), self.cpu_math().kernels)

    def translate(self, error: BaseException) -> HpcbenchError | None:
        import jax

        if not isinstance(error, jax.errors.JaxRuntimeError):
            return None
        text, whole = first_line(error), str(error)
        if any(mark in whole for mark in NO_MEMORY):
            return OutOfMemory(f"out of memory: {text}")
        if any(mark in whole for mark in LOST_RANKS):
            return CommunicationFailed(f"the exchange between ranks failed: {text}")
        return None

    def peak_memory(self) -> int:
        import jax

        of_device = jax.local_devices()[0].memory_stats() or {}
        return int(of_device.get("peak_bytes_in_use", 0)) or super().peak_memory()

    def multiplier(self, precision: str) -> Callable[[int], Callable[[int], None]]:
        from hpcbench.frameworks.jax.calibration import multiplier

        return multiplier(precision)

    def adder(self, size: int) -> Callable[[int], None]:
        from hpcbench.frameworks.jax.calibration import adder

        return adder(size)

    def backend(self, workload: "Workload") -> "Backend":
        from hpcbench.frameworks.jax.backend import JaxBackend

        return JaxBackend(workload)


FRAMEWORKS.add(Jax.name, Jax())
