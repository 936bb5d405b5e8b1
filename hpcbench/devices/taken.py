"""What share of the time of this process's cores went to others: the reason why a run is slow that
no timing of it shows."""

import math
import os
import time
from collections.abc import Iterable
from pathlib import Path

STAT = Path("/proc/stat")
# Columns of a processor's line that are work of processes, this one's among them, and "steal", what
# a virtual machine did not get (proc(5)); interrupts are left out, since the packets of ranks on
# one host are some.
_USER, _NICE, _SYSTEM, _STEAL = 0, 1, 2, 7
# The kernel counts in hundredths of a second, and within so many little can be told.
LEAST_SECONDS = 1.0


def processor_seconds(cores: Iterable[int], text: str) -> float:
    """Seconds that ``cores`` worked for any process, or were the hypervisor's, since the machine
    began, by ``text``, the kernel's statistics; nan where one of them is not told of."""
    of_core = {}
    for line in text.splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name[3:].isdecimal():
            of_core[int(name[3:])] = ticks
    try:
        worked = [
            sum(int(of_core[core][column]) for column in (_USER, _NICE, _SYSTEM, _STEAL))
            for core in cores
        ]
    except (KeyError, IndexError):
        return math.nan
    return sum(worked) / os.sysconf("SC_CLK_TCK")


class CoresTaken:
    """Watches the cores of this process from when it is made."""

    def __init__(self, processes_per_core: int) -> None:
        # Whose work is whose cannot be told where ranks share cores.
        self._alone = processes_per_core == 1
        self._cores = os.sched_getaffinity(0)
        self._began = self._now()

    def _now(self) -> tuple[float, float, float]:
        try:
            text = STAT.read_text(encoding="ascii")
        except OSError:
            text = ""
        return time.monotonic(), processor_seconds(self._cores, text), time.process_time()

    def share(self) -> float:
        """Of the time of these cores since then, what others took; nan where it is not known."""
        elapsed, worked, own = (
            after - before for after, before in zip(self._now(), self._began, strict=True)
        )
        if not self._alone or elapsed < LEAST_SECONDS:
            return math.nan
        # The kernel counts processors by ticks and processes exactly.
        return min(max(0.0, (worked - own) / (elapsed * len(self._cores))), 1.0)
