"""What goes wrong in a run, in the harness's own words."""

import os
from collections.abc import Mapping
from pathlib import Path

from hpcbench.devices.gpus import DEVICE_FOLDER, NVIDIA, visible_gpus
from hpcbench.errors import EnvironmentLacks, HpcbenchError, OutOfMemory, first_line
from hpcbench.frameworks import Framework
from hpcbench.packages import lacking

# What hides all GPUs on purpose; NoDevFiles is Slurm's, in jobs that asked for none.
HIDDEN = {"", "-1", "none", "nodevfiles", "void"}


def refuse_lost_gpus(
    framework: Framework,
    environment: Mapping[str, str] = os.environ,
    device_folder: Path = DEVICE_FOLDER,
) -> None:
    """Raise EnvironmentLacks where this machine has GPUs, nobody hid them, and the framework finds
    none: it would train on the CPU, and nobody asked for that."""
    hidden = environment.get(NVIDIA, "all").partition(",")[0].strip().lower() in HIDDEN
    if hidden or visible_gpus({}, device_folder) == 0 or framework.gpu_name() is not None:
        return
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    named = "" if chosen is None else f" with CUDA_VISIBLE_DEVICES={chosen!r}"
    raise EnvironmentLacks(
        f"this machine has GPUs, and {framework.name} finds none{named}: hpcbench doctor says "
        f"whether its CUDA libraries fit; to train on the CPU, set CUDA_VISIBLE_DEVICES to nothing"
    )


def translate(
    error: BaseException, *frameworks: Framework, remedy: str = "lower --batch"
) -> BaseException:
    """The harness's own error for what one of ``frameworks``, Horovod or MPI raise; ``remedy`` is
    what to do where memory does not suffice."""
    if isinstance(error, HpcbenchError):
        return error
    if isinstance(error, MemoryError):
        return OutOfMemory(f"out of memory: {first_line(error)}; {remedy}")
    known: HpcbenchError | None = lacking(error)
    for framework in frameworks:
        known = known or framework.translate(error)
    if isinstance(known, OutOfMemory):
        return OutOfMemory(f"{known}; {remedy}")
    return known or error
