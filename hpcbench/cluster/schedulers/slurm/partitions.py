"""What Slurm says of its partitions and limits, by sinfo and scontrol."""

import re
from collections.abc import Sequence

from hpcbench.cluster.survey import UNLIMITED, NodeKind, Partition, minutes
from hpcbench.process import output_of

# A login node must not hang on a controller that is down.
TIMEOUT = 2.0
FORMAT = "%P|%a|%l|%c|%G|%D|%T|%z|%m|%s|%h"
# What a node's state begins with that takes no jobs; one that ends with a star does not answer.
UNUSABLE = ("down", "drain", "fail", "inval", "unknown", "error", "future", "maint")


def all_partitions(timeout: float = TIMEOUT) -> list[Partition] | None:
    """All partitions; None where the controller does not answer."""
    answer = output_of("sinfo", "--noheader", f"--format={FORMAT}", timeout=timeout)
    return None if answer is None else read_partitions(answer)


def read_partitions(answer: str) -> list[Partition]:
    """The partitions in what sinfo prints with :data:`FORMAT`, a line a kind of node."""
    lines: dict[str, list[list[str]]] = {}
    for line in filter(str.strip, answer.splitlines()):
        name, *rest = line.strip().split("|")
        lines.setdefault(name, []).append(rest)
    return [_partition(name, of_name) for name, of_name in lines.items()]


def _partition(name: str, lines: Sequence[Sequence[str]]) -> Partition:
    state, limit, *_, size, sharing = lines[0]
    largest = size.rpartition("-")[2]
    return Partition(
        name=name.rstrip("*"),
        default=name.endswith("*"),
        state=state,
        limit=limit,
        minutes=minutes(limit),
        kinds=[_kind(line) for line in lines],
        max_nodes=int(largest) if largest.isdecimal() else UNLIMITED,
        whole_nodes=sharing == "EXCLUSIVE",
    )


def _kind(line: Sequence[str]) -> NodeKind:
    _, _, cpus, gres, count, state, layout, memory, *_ = (field.rstrip("+") for field in line)
    sockets, _, threads = (int(part.rstrip("+")) for part in layout.split(":"))
    return NodeKind(
        count=int(count),
        usable=not state.startswith(UNUSABLE) and not state.endswith("*"),
        cpus=int(cpus),
        sockets=sockets,
        threads=threads,
        megabytes=int(memory),
        gpus=gpus_of(gres),
    )


def gpus_of(gres: str) -> dict[str, int]:
    """A node's GPUs by type, in its generic resources, as ``gpu:v100:8(S:0-1)``."""
    found: dict[str, int] = {}
    for name, count in re.findall(r"\bgpu(?::([^:,()]+))??:(\d+)", gres):
        found[name] = found.get(name, 0) + int(count)
    return found
