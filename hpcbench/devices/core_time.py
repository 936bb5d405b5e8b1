"""How long this process computed, and how long it was ready to and had no core.

Linux counts both for each thread: /proc/<pid>/schedstat, in its Documentation/scheduler/
sched-stats.rst.
"""

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

THREADS = Path("/proc/self/task")
# Shorter ones say little.
LEAST_SECONDS = 5.0


@dataclass(frozen=True)
class CoreTime:
    """Seconds since this process began (``elapsed`` since whenever): on cores, and waiting for one,
    both over all threads that live."""

    elapsed: float
    ran: float
    waited: float

    def since(self, before: "CoreTime") -> "CoreTime":
        """The time between two moments; threads that ended between take theirs with them."""
        return CoreTime(
            self.elapsed - before.elapsed,
            max(self.ran - before.ran, 0.0),
            max(self.waited - before.waited, 0.0),
        )

    @property
    def starved(self) -> bool:
        """Whether it got less than half a core, and waited for more longer than it had it.

        A process that waits for data or for another rank is not ready, so that does not count.
        """
        enough = self.elapsed >= LEAST_SECONDS
        return enough and self.ran < self.elapsed / 2 and self.waited > self.ran

    def __str__(self) -> str:
        return (
            f"in {self.elapsed:.0f} s it had a core for {self.ran:.0f} s and waited for one for "
            f"{self.waited:.0f} s"
        )


def core_time() -> CoreTime:
    """Until now; nothing where the kernel does not count."""
    ran = waited = 0
    for thread in THREADS.glob("*/schedstat"):
        # A thread may end while it is read.
        with contextlib.suppress(OSError, ValueError):
            on_core, ready, _ = map(int, thread.read_text().split())
            ran += on_core
            waited += ready
    return CoreTime(time.monotonic(), ran / 1e9, waited / 1e9)
