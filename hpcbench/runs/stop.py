"""Being asked to stop, and noticing that another rank is gone.

A signal handler in Python runs only between two bytecodes of the main thread, which may sit in
a collective for ever if another rank died. So the interpreter's own handler, which runs at
once, writes the signal's number to a pipe, and a thread of ours reads it there.
"""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

STOPS = (signal.SIGTERM, signal.SIGUSR1)


class StopSignal:
    """Knows whether SIGTERM or SIGUSR1 came.

    ``on_terminate`` is called at once on SIGTERM, from the waiting thread: the process may be
    killed a second later, or never leave the collective it is in. Has to be made in the main
    thread.
    """

    def __init__(self, on_terminate: Callable[[], None]) -> None:
        self.requested = False
        self._on_terminate = on_terminate
        self._pipe, write_end = os.pipe()
        os.set_blocking(write_end, False)
        signal.set_wakeup_fd(write_end)
        for number in STOPS:
            signal.signal(number, lambda *_: None)
        threading.Thread(target=self._wait, daemon=True, name="stop-signal").start()

    def _wait(self) -> None:
        while received := os.read(self._pipe, 1):
            if received[0] in STOPS:
                self.requested = True
            if received[0] == signal.SIGTERM:
                self._on_terminate()


def gone(pids: dict[int, int]) -> list[int]:
    """The ranks of this host, of those in rank -> process id, that have died."""
    return [rank for rank, pid in pids.items() if not _alive(pid)]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except (OSError, ProcessLookupError):
        return False
