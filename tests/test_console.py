"""What a run prints at its end."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from hpcbench.records.schema import ThroughputRow
from hpcbench.runs.observers.console import RESAMPLES, rate_interval


@pytest.mark.parametrize("count", [1, 2, 40])
def test_the_spread_within_a_run_is_that_of_its_intervals_resampled(count):
    """All samples over all seconds, and scipy's own percentile bootstrap of it."""
    times = np.random.default_rng(count).lognormal(0, 0.1, count)
    rows = [ThroughputRow("train", i, 10, 1280, t, t, t, 1280 / t) for i, t in enumerate(times)]
    rate, low, high = rate_interval(rows)
    assert rate == pytest.approx(1280 * count / times.sum())
    if count == 1:
        assert low == rate == high
        return
    expected = bootstrap(
        (np.full(count, 1280.0), times),
        lambda samples, seconds, axis: samples.sum(axis=axis) / seconds.sum(axis=axis),
        paired=True,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert (low, high) == pytest.approx((expected.low, expected.high))
