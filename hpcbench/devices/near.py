"""Hardware threads near a GPU: of its part of the machine (NUMA), as the kernel tells, and as
NVIDIA's binding scripts and ``nvidia-smi topo`` have it."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from hpcbench.devices.gpus import Gpu

# A folder a device of the PCI bus, by its address.
PCI = Path("/sys/bus/pci/devices")


def near(gpu: Gpu, pci: Path = PCI) -> list[int]:
    """The threads near ``gpu``; none where the kernel does not say."""
    # The driver writes a domain of eight digits, the kernel one of four.
    try:
        text = (pci / gpu.bus.lower()[-12:] / "local_cpulist").read_text(encoding="ascii")
    except OSError:
        return []
    return numbers(text)


def numbers(text: str) -> list[int]:
    """``0-3,8`` as single numbers; none for what is no such list."""
    text = text.strip()
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
        return []
    spans = (part.split("-") for part in text.split(","))
    return [number for span in spans for number in range(int(span[0]), int(span[-1]) + 1)]


def near_rank(
    own: Sequence[Gpu],
    every: Sequence[Gpu],
    local_rank: int,
    local_size: int,
    threads: Iterable[int],
    pci: Path = PCI,
) -> tuple[list[int], int, int] | None:
    """Those of ``threads`` near the GPU of a host's rank, its place among the ranks that share
    them, and how many these are.

    ``own`` are the GPUs that the rank may use, one or a rank's each, ``every`` those that there
    are. None where it cannot be told for all ranks alike: then none goes by it.
    """
    if len(own) == 1 < local_size:
        # Each rank has one of its own; which of the others are used is not known.
        mine, users = own[0], list(every)
        if len(users) < local_size:
            return None
    elif len(own) >= local_size:
        mine, users = own[local_rank], list(own[:local_size])
    else:
        return None
    allowed = set(threads)
    found = {gpu.uuid: [t for t in near(gpu, pci) if t in allowed] for gpu in users}
    if not all(found.values()):
        return None
    beside = [gpu.uuid for gpu in users if found[gpu.uuid] == found[mine.uuid]]
    return found[mine.uuid], beside.index(mine.uuid), len(beside)
