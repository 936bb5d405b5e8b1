"""NVIDIA GPUs as device files and their driver (NVML) tell of them, without a framework."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcbench.errors import EnvironmentLacks

# Where device files, the driver's facts of its GPUs, and AMD's compute devices are.
DEVICE_FOLDER = Path("/dev")
DRIVER_FOLDER = Path("/proc/driver/nvidia/gpus")
AMD_FOLDER = Path("/sys/class/kfd/kfd/topology/nodes")
# Which GPUs a process may use; AMD's variables each count among those that the one before left, the
# last one as NVIDIA's is set ("GPU isolation techniques" of ROCm's documentation).
NVIDIA = "CUDA_VISIBLE_DEVICES"
AMD = ("ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "HIP_VISIBLE_DEVICES")
# A part of a GPU.
MIG = "MIG-"


@dataclass(frozen=True)
class Gpu:
    """A GPU, where on the PCI bus it is, and who uses it; memory in bytes, ``processes`` by
    process id."""

    index: int
    uuid: str
    name: str
    memory: int
    memory_used: int
    processes: tuple[int, ...]
    bus: str = ""


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
        bus=_bus(library, handle),
    )


def _bus(library: Any, handle: Any) -> str:
    """The address on the PCI bus; empty where the driver does not tell."""
    try:
        return str(library.nvmlDeviceGetPciInfo(handle).busId)
    except library.NVMLError:
        return ""


def memory_of(library: Any, handle: Any) -> Any:
    """A GPU's memory, of which ``used`` is what programs hold; what the driver keeps for itself,
    0.6 GiB of an idle H200, is counted as used by drivers before version 510 alone."""
    try:
        return library.nvmlDeviceGetMemoryInfo(handle, version=library.nvmlMemory_v2)
    except library.NVMLError:
        return library.nvmlDeviceGetMemoryInfo(handle)


def chosen(gpus: list[Gpu], environment: Mapping[str, str]) -> list[Gpu]:
    """Those of ``gpus`` that CUDA_VISIBLE_DEVICES leaves, in its order; none for a part of one
    (MIG), of which neither memory nor energy is the whole GPU's."""
    return [gpus[i] for i in named(environment.get(NVIDIA), [gpu.uuid for gpu in gpus])]


def gpus_of_process(local_rank: int, devices: int, environment: Mapping[str, str]) -> list[Gpu]:
    """Those on which a process of so many ``devices`` computes, by its place on the host; raises
    EnvironmentLacks."""
    gpus = chosen(list_gpus(), environment)
    return gpus[local_rank:][:1] if devices == 1 < len(gpus) else gpus[:devices]


def visible_gpus(
    environment: Mapping[str, str],
    device_folder: Path = DEVICE_FOLDER,
    amd_folder: Path = AMD_FOLDER,
    driver_folder: Path = DRIVER_FOLDER,
) -> int:
    """GPUs that this process may use, NVIDIA's or else AMD's, counted without loading anything."""
    present = [p for p in device_folder.glob("nvidia*") if re.fullmatch(r"nvidia\d+", p.name)]
    if present:
        entries = environment.get(NVIDIA)
        if entries is not None and entries.strip().startswith(MIG):
            # Of the parts of GPUs a process sees the first alone (NVIDIA MIG User Guide, "CUDA
            # Device Enumeration").
            return 1
        return len(named(entries, _uuids(driver_folder, len(present))))
    gpus = sum(_text(node / "gpu_id").strip() not in ("", "0") for node in amd_folder.glob("*"))
    same = environment.get(NVIDIA)
    for variable in AMD:
        entries = environment.get(variable, same if variable == AMD[-1] else None)
        gpus = len(named(entries, [""] * gpus, either=True))
    return gpus


def named(entries: str | None, uuids: Sequence[str], either: bool = False) -> list[int]:
    """The GPUs, by their place in ``uuids``, that a variable such as CUDA_VISIBLE_DEVICES leaves.

    As CUDA reads it (and PyTorch, ``torch.cuda._parse_visible_devices``): in its order, all numbers
    or all UUIDs, up to the first entry that names no GPU, or several; a number is what an entry
    begins with; none at all where one is named twice. An empty UUID is not known, and taken for any
    that is asked for. ``either``: numbers may stand beside UUIDs, as in ROCm's variables.
    """
    if entries is None:
        return list(range(len(uuids)))
    by_uuid = entries.strip().startswith("GPU-")
    found: list[int] = []
    parts = [part.strip() for part in entries.split(",")]
    for place, entry in enumerate(parts):
        if (by_uuid or either) and entry.startswith("GPU-"):
            match = [i for i, uuid in enumerate(uuids) if uuid.startswith(entry)]
            match = match or [i for i, uuid in enumerate(uuids) if not uuid and i not in found][:1]
        elif (either or not by_uuid) and (number := re.match(r"\+?(\d+)", entry)):
            match = [int(number[1])] if int(number[1]) < len(uuids) else []
        else:
            match = []
        if len(match) != 1:
            break
        if match[0] in found or entry in parts[:place]:
            return []
        found.append(match[0])
    return found


def _uuids(driver_folder: Path, present: int) -> list[str]:
    """The UUIDs of the GPUs as the driver's files tell them; as many empty ones where they do
    not."""
    texts = [_text(path) for path in sorted(driver_folder.glob("*/information"))]
    found = [match[1] for text in texts if (match := re.search(r"UUID:\s*(GPU-\S+)", text))]
    return found if len(found) == present else [""] * present


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
