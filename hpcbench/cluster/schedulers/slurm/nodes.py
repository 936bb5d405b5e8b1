"""Slurm's abbreviations of nodes and of tasks a node, and on which node each task is."""

import re
from itertools import product

# One name of a list: pieces of text and of numbers in brackets. Commas within brackets do not end
# it.
_NAME = re.compile(r"(?:[^,\[\]]|\[[^\[\]]*\])+")


def expanded(nodes: str) -> list[str]:
    """The names in Slurm's abbreviation of several nodes, as ``n[1-3,07],gpu-a``; ValueError where
    it is none. Without asking Slurm, whose commands an image may lack."""
    if set("[]") & set(re.sub(r"\[[^\[\]]*\]", "", nodes)):
        raise ValueError(f"{nodes!r} is no list of nodes")
    names = []
    for name in _NAME.findall(nodes):
        pieces = re.split(r"\[([^\[\]]*)\]", name)
        choices = [_numbers(piece) if i % 2 else [piece] for i, piece in enumerate(pieces)]
        names += ["".join(parts) for parts in product(*choices)]
    return names


def _numbers(ranges: str) -> list[str]:
    """``1-3,07`` as its numbers, as wide as they are written."""
    numbers = []
    for part in ranges.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if match is None:
            raise ValueError(f"{ranges!r} are no numbers of nodes")
        first, last = match[1], match[2] or match[1]
        numbers += [str(n).zfill(len(first)) for n in range(int(first), int(last) + 1)]
    return numbers


def tasks_per_node(text: str) -> list[int]:
    """``4(x2),3`` as 4, 4 and 3; ValueError where it is no such list."""
    tasks: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip())
        if match is None:
            raise ValueError(f"{text!r} are no tasks of nodes")
        tasks += [int(match[1])] * int(match[2] or 1)
    return tasks


def node_of_each_task(tasks: list[int], distribution: str) -> list[int]:
    """The place of each task's node, of nodes with so many ``tasks``.

    ``distribution`` is srun's, of which the first word says how tasks go to nodes; ValueError where
    that cannot be known (arbitrary).
    """
    kind, _, size = distribution.partition(":")[0].partition("=")
    kind = kind.removeprefix("*") or "block"
    if kind == "arbitrary" or (kind == "plane" and not size.isdecimal()):
        raise ValueError(f"with the distribution {distribution!r} nothing says where tasks are")
    at_a_time = {"cyclic": 1, "plane": int(size) if size.isdecimal() else 0}.get(kind, max(tasks))
    left, found = list(tasks), []
    while any(left):
        for node, there in enumerate(left):
            taken = min(there, at_a_time)
            left[node] -= taken
            found += [node] * taken
    return found
