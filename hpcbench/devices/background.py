"""What threads take of this process's cores though nothing is asked of them: those of libraries
that wait by looking, or of anything else that works beside training.

They are found while the process sleeps. Linux counts for each thread how long it ran, and how long
it was ready to and had no core (schedstat in its Documentation/scheduler/sched-stats.rst).
"""

import contextlib
import math
import threading
import time
from typing import NamedTuple

from hpcbench.devices.core_time import THREADS

# Threads of OpenMP go on looking for work for a while: GNU's for milliseconds, LLVM's and Intel's
# for 200 (KMP_BLOCKTIME). Then so long is looked who works.
SETTLING_SECONDS, LOOKING_SECONDS = 0.25, 0.05
# Of a core; what takes less is no cause of anything.
LEAST_SHARE = 0.01


class _Times(NamedTuple):
    """Seconds of a thread: on a core, and ready for one."""

    ran: float
    waited: float


class BackgroundThreads:
    """Watches the threads of this process, which computes on so many ``cores``; on none, or where
    the kernel does not count, nothing is known."""

    def __init__(self, cores: int = 0) -> None:
        self._cores = cores
        self._found: set[str] | None = None
        self._began: dict[str, _Times] = {}

    def find(self) -> None:
        """Sleep, and look which threads do not."""
        if not self._cores:
            return
        time.sleep(SETTLING_SECONDS)
        before, start = _times(), time.monotonic()
        time.sleep(LOOKING_SECONDS)
        least = LEAST_SHARE * (time.monotonic() - start)
        if before:
            self._found = {
                thread
                for thread, ran in _ran_since(before).items()
                # Whoever looks works at that.
                if ran.ran >= least and thread != str(threading.get_native_id())
            }

    def begin(self) -> None:
        """An interval begins."""
        if self._found:
            self._began = _times()

    def end(self) -> float:
        """By how many seconds they made it longer: on average over the cores so long did they run
        while others waited; NaN where it is not known."""
        if self._found is None:
            return math.nan
        if not self._found:
            return 0.0
        since = _ran_since(self._began)
        ran = sum(times.ran for thread, times in since.items() if thread in self._found)
        waited = sum(times.waited for thread, times in since.items() if thread not in self._found)
        return min(ran, waited) / self._cores


def _ran_since(before: dict[str, _Times]) -> dict[str, _Times]:
    """By thread, of those that there are now."""
    since = {}
    for thread, now in _times().items():
        then = before.get(thread, _Times(0, 0))
        since[thread] = _Times(now.ran - then.ran, now.waited - then.waited)
    return since


def _times() -> dict[str, _Times]:
    """By thread, of all that there are; none where the kernel does not count."""
    found = {}
    for path in THREADS.iterdir():
        # A thread may end while it is read.
        with contextlib.suppress(OSError, ValueError, IndexError):
            ran, waited, _ = (path / "schedstat").read_text(encoding="ascii").split()
            found[path.name] = _Times(int(ran) / 1e9, int(waited) / 1e9)
    return found
