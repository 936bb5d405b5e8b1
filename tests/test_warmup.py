"""Steps before the clock starts, and how long an interval is, on made-up step times."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbench.training.loop import INTERVAL_SECONDS, steps_of_interval
from hpcbench.training.warmup import PATIENCE, WarmUp, until_steady


class Machine:
    """Step number n takes ``seconds_of_step(n)``; counts the calls and their seconds."""

    def __init__(self, seconds_of_step):
        self._seconds_of_step = seconds_of_step
        self.taken, self.seconds, self.calls = 0, 0.0, []

    def __call__(self, steps):
        first, self.taken = self.taken, self.taken + steps
        spent = sum(self._seconds_of_step(n) for n in range(first, self.taken))
        self.seconds += spent
        self.calls.append(steps)
        return spent


@pytest.mark.parametrize("seconds", [1e-5, 1e-3, 0.03])
def test_it_waits_until_a_slow_start_is_over(seconds):
    """A step of ten times its steady time falls to it over the first 0.2 s."""
    made = Machine(lambda n: 5.0 if n == 0 else seconds * (1 + 9 * np.exp(-n * seconds / 0.05)))
    found = until_steady(made, 10)
    assert found.steady
    assert found.step_seconds == pytest.approx(seconds, rel=0.1)
    assert found.steps == made.taken >= 10


def test_what_never_is_steady_is_measured_after_a_second():
    generator = np.random.default_rng(0)
    made = Machine(lambda n: 0.03 * generator.choice([0.3, 1.7]))
    found = until_steady(made, 10)
    assert not found.steady
    assert made.seconds < 2 * PATIENCE


def test_slow_steps_are_not_multiplied():
    """Ten steps of 20 s are the floor, and five of them tell whether it is steady."""
    made = Machine(lambda n: 20.0)
    assert until_steady(made, 10) == WarmUp(10, 20.0, steady=True)
    assert made.calls == [1] * 10
    assert until_steady(Machine(lambda n: 20.0), 1).steps == 2


@given(st.floats(1e-6, 10), st.integers(1, 100_000))
def test_intervals_are_about_as_long_and_parts_of_an_epoch_or_whole_ones(step_seconds, full_steps):
    steps = steps_of_interval(step_seconds, full_steps)
    assert 1 <= steps < full_steps or steps % full_steps == 0
    assert steps * step_seconds >= 0.5 * INTERVAL_SECONDS
    assert steps == 1 or steps * step_seconds <= 2 * INTERVAL_SECONDS + step_seconds
