"""Print-outs that are no training: recognized, so that nobody believes that they were lost."""

from collections.abc import Iterator, Sequence

from hpcbench.logs import Found, LeftOut

# By words that nobody else prints.
KNOWN = {
    "nccl-tests": ("# nThread ", "#  Rank  0 Group", "Out of bounds values :"),
    "RCCL's or NCCL's tests": ("# Using devices",),
    "the OSU micro-benchmarks": ("# OSU MPI", "# OSU NCCL", "# OSU OPENSHMEM"),
}


def read(lines: Sequence[str]) -> Iterator[Found]:
    """One for each of these tools that printed here."""
    for tool, words in KNOWN.items():
        if any(word in line for line in lines if "# " in line or ":" in line for word in words):
            yield LeftOut(tool, "it measures communication alone, and trains nothing")
            return
