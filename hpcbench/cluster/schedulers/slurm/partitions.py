"""What Slurm says of its partitions and limits, by sinfo and scontrol."""

import re

from hpcbench.cluster.schedulers import Partition
from hpcbench.process import output_of

# A login node must not hang on a controller that is down.
TIMEOUT = 2.0
FORMAT = "%P|%a|%l|%c|%G|%D"
UNLIMITED = float("inf")


def all_partitions() -> list[Partition] | None:
    """All partitions; None where the controller does not answer."""
    answer = output_of("sinfo", "--noheader", f"--format={FORMAT}", timeout=TIMEOUT)
    return None if answer is None else read_partitions(answer)


def read_partitions(answer: str) -> list[Partition]:
    """The partitions in what sinfo prints with :data:`FORMAT`, a line a kind of node.

    Of several kinds of nodes the one with the most CPUs counts.
    """
    lines: dict[str, list[list[str]]] = {}
    for line in filter(str.strip, answer.splitlines()):
        name, *rest = line.strip().split("|")
        lines.setdefault(name, []).append(rest)
    return [
        Partition(
            name=name.rstrip("*"),
            default=name.endswith("*"),
            state=kinds[0][0],
            limit=kinds[0][1],
            minutes=minutes(kinds[0][1]),
            cpus=max(int(kind[2].rstrip("+")) for kind in kinds),
            gpus=tuple(gpus_of(kind[3]) for kind in kinds),
            nodes=sum(int(kind[4]) for kind in kinds),
        )
        for name, kinds in lines.items()
    ]


def gpus_of(gres: str) -> dict[str, int]:
    """A node's GPUs by type, in its generic resources, as ``gpu:v100:8(S:0-1)``."""
    found: dict[str, int] = {}
    for name, count in re.findall(r"\bgpu(?::([^:,()]+))??:(\d+)", gres):
        found[name] = found.get(name, 0) + int(count)
    return found


def minutes(limit: str) -> float:
    """A time limit of Slurm's, as ``90``, ``1:30:00`` or ``1-12:00``, in minutes."""
    if not limit[:1].isdecimal():
        return UNLIMITED
    days, _, rest = limit.rpartition("-")
    parts = [float(part) for part in rest.split(":")]
    if days:
        hours, mins, seconds = (*parts, 0.0, 0.0)[:3]
    elif len(parts) == 3:
        hours, mins, seconds = parts
    else:
        hours, mins, seconds = 0.0, *(*parts, 0.0)[:2]
    return float(days or 0) * 1440 + hours * 60 + mins + seconds / 60


def max_array_size() -> int | None:
    """MaxArraySize, which caps an array's index; None where Slurm does not say."""
    answer = output_of("scontrol", "show", "config", timeout=TIMEOUT) or ""
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", answer, re.MULTILINE)
    return int(match[1]) if match else None
