"""Being asked to stop, and noticing that another rank is gone.

A signal handler in Python runs only between two bytecodes of the main thread, which may sit in
a collective for ever if another rank died. So SIGTERM and SIGUSR1 are taken by a thread of
their own.
"""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path


class StopSignal:
    """Knows whether SIGTERM or SIGUSR1 came.

    ``on_terminate`` is called at once on SIGTERM, from the waiting thread: the process may be
    killed a second later, or never leave the collective it is in.
    """

    def __init__(self, on_terminate: Callable[[], None]) -> None:
        self.requested = False
        self._on_terminate = on_terminate
        # Blocked here, before TensorFlow starts threads that inherit the mask.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
        threading.Thread(target=self._wait, daemon=True, name="stop-signal").start()

    def _wait(self) -> None:
        while True:
            received = signal.sigwait({signal.SIGTERM, signal.SIGUSR1})
            self.requested = True
            if received == signal.SIGTERM:
                self._on_terminate()


def gone(pids: dict[int, int]) -> list[int]:
    """The ranks of this host, of those in rank -> process id, that have died."""
    return [rank for rank, pid in pids.items() if not _alive(pid)]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (OSError, ProcessLookupError):
        return False
