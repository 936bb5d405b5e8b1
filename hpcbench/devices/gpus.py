"""NVIDIA GPUs as device files and their driver (NVML) tell of them, without a framework."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcbench.errors import EnvironmentLacks

DEVICE_FOLDER = Path("/dev")


@dataclass(frozen=True)
class Gpu:
    """A GPU and who uses it; memory in bytes, ``processes`` by process id."""

    index: int
    uuid: str
    name: str
    memory: int
    memory_used: int
    processes: tuple[int, ...]


def nvml() -> Any:
    """NVML, started; EnvironmentLacks where the driver does not answer."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise EnvironmentLacks(f"the NVIDIA driver does not answer: {error}") from error
    return pynvml


def list_gpus() -> list[Gpu]:
    """All GPUs that the driver lets this process see; raises EnvironmentLacks."""
    library = nvml()
    try:
        return [_gpu(library, index) for index in range(library.nvmlDeviceGetCount())]
    except library.NVMLError as error:
        raise EnvironmentLacks(f"the NVIDIA driver does not answer: {error}") from error
    finally:
        library.nvmlShutdown()


def _gpu(library: Any, index: int) -> Gpu:
    handle = library.nvmlDeviceGetHandleByIndex(index)
    memory = memory_of(library, handle)
    processes = library.nvmlDeviceGetComputeRunningProcesses(handle)
    return Gpu(
        index=index,
        uuid=str(library.nvmlDeviceGetUUID(handle)),
        name=str(library.nvmlDeviceGetName(handle)),
        memory=int(memory.total),
        memory_used=int(memory.used),
        processes=tuple(int(process.pid) for process in processes),
    )


def memory_of(library: Any, handle: Any) -> Any:
    """A GPU's memory, of which ``used`` is what programs hold; what the driver keeps for itself,
    0.6 GiB of an idle H200, is counted as used by drivers before version 510 alone."""
    try:
        return library.nvmlDeviceGetMemoryInfo(handle, version=library.nvmlMemory_v2)
    except library.NVMLError:
        return library.nvmlDeviceGetMemoryInfo(handle)


def chosen(gpus: list[Gpu], environment: Mapping[str, str]) -> list[Gpu]:
    """Those of ``gpus`` that CUDA_VISIBLE_DEVICES leaves, in its order.

    As CUDA does it, the list ends at the first entry that names no GPU.
    """
    entries = environment.get("CUDA_VISIBLE_DEVICES")
    if entries is None:
        return gpus
    found: list[Gpu] = []
    for entry in (part.strip() for part in entries.split(",")):
        match = [g for g in gpus if entry == str(g.index) or (entry and g.uuid.startswith(entry))]
        if not match:
            break
        found.append(match[0])
    return found


def visible_gpus(environment: Mapping[str, str], device_folder: Path = DEVICE_FOLDER) -> int:
    """GPUs that this process may use, counted without loading anything."""
    entries = environment.get("CUDA_VISIBLE_DEVICES")
    present = len([p for p in device_folder.glob("nvidia*") if re.fullmatch(r"nvidia\d+", p.name)])
    if entries is None or present == 0:
        return present
    return len([entry for entry in entries.split(",") if entry.strip() not in ("", "-1")])
