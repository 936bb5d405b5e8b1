"""Tails of step times: known percentiles; and whether logarithms look normal."""

import numpy as np
import pandas as pd
import pytest

from hpcbench.analysis.normality import check_normality
from hpcbench.analysis.scaling import with_speedups
from hpcbench.analysis.tails import rank_tails, run_tails, tail_table
from support.runs import rows, runs_of


def intervals_of(rates, seconds):
    """Runs of two devices, each of two steps an interval; the fastest rank takes a second."""
    return [
        row | {"steps": 2, "seconds": float(time), "fastest_rank_seconds": 1.0}
        for row in rows(2, rates)
        for time in seconds
    ]


def test_a_percentile_is_of_the_intervals_of_a_run_and_missing_where_these_are_few():
    made = pd.DataFrame(intervals_of([100], np.arange(2, 204, 2)))
    (row,) = run_tails(made).to_dict("records")
    assert (row["intervals"], row["slowest_max"]) == (101, 101)
    assert [row[f"slowest_{name}"] for name in ("p50", "p95", "p99")] == [51, 96, 100]
    assert row["fastest_p99"] == 0.5
    few = run_tails(made.head(99)).iloc[0]
    assert (np.isnan(few["slowest_p99"]), np.isnan(few["slowest_p95"])) == (True, False)


def test_runs_are_the_observations_of_a_tail():
    """Five runs as slow as ever and one that is ten times as slow: the median run's tail."""
    made = intervals_of([100] * 6, np.linspace(2, 4, 21))
    for row in made[-21:]:
        row["seconds"] *= 10
    (row,) = tail_table(pd.DataFrame(made), runs_of(made)).to_dict("records")
    assert (row["devices"], row["runs"], row["intervals"]) == (2, 6, 126)
    assert row["slowest_p95"] == pytest.approx(1.95)
    assert row["slowest_p95_low"] == pytest.approx(1.95)
    assert row["slowest_p95_high"] > 2
    assert row["slowest_max"] == 20


def test_tails_of_each_rank_of_the_largest_count():
    """Rank 1 has a slow step in twenty; of two runs it was on two hosts."""
    times = {0: np.ones(20), 1: np.where(np.arange(20) == 7, 3.0, 1.0)}
    runs = runs_of(rows(1, [100] * 2), rows(2, [190] * 2))
    ranks = pd.DataFrame(
        {"run_id": run_id, "sweep": sweep, "phase": phase, "interval": number}
        | {"steps": 2, "rank": rank, "seconds": 2 * seconds}
        for run_id, sweep, devices in runs[["run_id", "sweep", "devices"]].to_numpy()
        for rank in range(devices)
        for phase, factor in (("train", 1), ("no_exchange", 9))
        for number, seconds in enumerate(factor * times[rank])
    )
    documents = [
        {"run_id": run_id, "sweep": sweep, "hosts": ["a", f"b{number % 2}"]}
        for number, (run_id, sweep) in enumerate(runs[["run_id", "sweep"]].to_numpy())
    ]
    found = rank_tails(ranks, runs, documents)
    assert found[["devices", "runs", "rank", "host"]].to_numpy().tolist() == [
        [2, 2, 0, "a"],
        [2, 2, 1, "b0, b1"],
    ]
    assert found["p50"].tolist() == [1, 1]
    assert found["p95"].tolist() == pytest.approx([1, 1.1])
    assert found["p99"].isna().all()
    assert found["max"].tolist() == [1, 3]
    assert rank_tails(ranks[:0], runs, documents).empty


def test_shapiro_and_wilk_see_what_is_not_normal_and_little_else():
    generator = np.random.default_rng(4)

    def doubtful(draw):
        parts = [rows(1, [100] * 40)]
        parts += [rows(n, 90 * n * np.exp(0.02 * draw(40))) for n in range(2, 42)]
        return check_normality(with_speedups(runs_of(*parts)))

    normal = doubtful(generator.standard_normal)
    assert (normal.points, normal.untested, normal.by_chance) == (40, 0, 2.0)
    assert normal.doubtful <= 6
    assert doubtful(lambda size: generator.exponential(1, size)).doubtful > 35
    alike = runs_of(rows(1, [100] * 6), rows(2, [190] * 6))
    assert check_normality(with_speedups(alike)).untested == 1
