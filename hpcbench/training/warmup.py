"""Steps before the clock starts: until a step's time is steady.

Georges, Buytaert and Eeckhout (OOPSLA 2007, section 4.1) measure from where the coefficient of
variation of the last iterations falls below a threshold. An iteration here is a window of as many
steps as make it long enough to be timed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# So many windows in a row whose coefficient of variation is below this are steady.
STEADY_WINDOWS, STEADY_VARIATION = 5, 0.05
# Seconds: a shorter window is a matter of the clock and the barrier.
SHORTEST_WINDOW = 0.02
# Seconds after which what is not steady is measured as it is.
PATIENCE = 1.0


@dataclass(frozen=True)
class WarmUp:
    """What came of it: steps taken, seconds of one, whether they had become steady."""

    steps: int
    step_seconds: float
    steady: bool


def until_steady(seconds_of: Callable[[int], float], floor: int) -> WarmUp:
    """Take ``floor`` steps at least, of which the first compiles, and more until they are steady.

    ``seconds_of(steps)`` takes so many and returns the slowest rank's seconds, the same on all
    ranks, so that they stop together.
    """
    seconds_of(1)
    taken, window, behind = 1, 1, 0.0
    times: list[float] = []
    while True:
        seconds = seconds_of(window)
        taken, behind = taken + window, behind + seconds
        times.append(seconds / window)
        last = np.array(times[-STEADY_WINDOWS:])
        enough = len(last) == STEADY_WINDOWS
        steady = bool(enough and last.std(ddof=1) < STEADY_VARIATION * last.mean())
        if taken >= floor and (steady or behind > PATIENCE):
            return WarmUp(taken, float(np.median(last)), steady)
        if seconds < SHORTEST_WINDOW:
            window *= 2
            times.clear()
