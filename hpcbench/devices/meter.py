"""Energy and activity of a process' devices, sampled beside the run and read without waiting."""

import threading
import time
from collections.abc import Sequence
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from hpcbench.devices.counters import Activity, Counter

# Drivers renew their counters every 1 to 100 ms.
PERIOD_SECONDS = 0.1
# How many numbers a process reports of an interval.
READINGS = 5


class Meter:
    """Reads ``counters`` in a thread of its own, several times a second.

    Between two samples energy is taken to go on at the last one's power, so that the end of an
    interval costs arithmetic only; the readings of many intervals add up to what was counted.
    """

    def __init__(
        self, source: str, counters: Sequence[Counter], period: float = PERIOD_SECONDS
    ) -> None:
        self.source = source
        self._counters = list(counters)
        self._period = period
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="meter", daemon=True)
        self._time, self._joules, self._watts = time.perf_counter(), 0.0, 0.0
        self._before_all = self._before = self._reported = 0.0
        self._seen: list[NDArray[np.float64]] = []
        self._newest = np.zeros(3)
        self._started, self._busy = self._time, 0.0
        if self._counters:
            self._before_all = self._read()
            self._thread.start()

    def __enter__(self) -> "Meter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Sample no more."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def counts(self) -> bool:
        return bool(self._counters)

    @property
    def cost(self) -> float:
        """The share of one core's time that sampling has taken."""
        return self._busy / (self._time - self._started) if self._busy else 0.0

    def begin(self) -> None:
        """An interval begins."""
        with self._lock:
            self._seen.clear()
            self._before = self._now()

    def readings(self) -> list[float]:
        """Of the interval until now: joules, devices, and over them the sums of the mean shares
        of time busy, bytes in use and MHz; zeros where nothing is counted."""
        with self._lock:
            joules = self._now() - self._before
            activity = np.mean(self._seen, axis=0) if self._seen else self._newest
            return [joules, float(len(self._counters)), *activity.tolist()]

    def _now(self) -> float:
        """Joules drawn by this moment; never less than was reported before."""
        if not self._counters:
            return 0.0
        since = time.perf_counter() - self._time
        self._reported = max(self._reported, self._joules + self._watts * since)
        return self._reported

    def _read(self) -> float:
        return sum(counter.joules() for counter in self._counters)

    def _sample(self) -> None:
        try:
            while not self._ended.wait(self._period):
                joules = self._read() - self._before_all
                states = [_numbers(counter.activity()) for counter in self._counters]
                with self._lock:
                    now = time.perf_counter()
                    self._watts = (joules - self._joules) / (now - self._time)
                    self._time, self._joules = now, joules
                    self._newest = np.sum(states, axis=0)
                    self._seen.append(self._newest)
                    self._busy = time.thread_time()
        except (OSError, ValueError):
            # A driver that answers no more ends the counting, not the run.
            with self._lock:
                self._counters.clear()


def _numbers(activity: Activity) -> tuple[float, float, float]:
    return activity.utilization, activity.memory_bytes, activity.clock_mhz
