"""Two sides against each other: false alarms, found slowdowns, how many runs it takes."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hpcbench.analysis.comparison import compared
from hpcbench.analysis.ratios import (
    PAIRS,
    RANKS,
    STUDENT,
    fewest_runs,
    observations_needed,
    paired_interval,
    rank_interval,
    reach,
    student_interval,
)
from hpcbench.analysis.report.comparison import not_told, sentences, usage_cells
from hpcbench.analysis.sides import COMPARED, across_unknown, check_distinct
from hpcbench.analysis.together import common_change, pseudomedian
from hpcbench.analysis.verdicts import FASTER, SLOWER, UNTOLD, WITHIN, change
from hpcbench.errors import ConfigError
from hpcbench.records.identity import UNKNOWN
from support.runs import rows, runs_of

FEW_PERCENT = np.log(0.97)


def noise_of(generator, points, units, noise=0.05, shared=0.0):
    """Log rates of shape (points, units): lognormal noise, and what a whole unit shares."""
    return noise * generator.standard_normal((points, units)) + shared * generator.standard_normal(
        units
    )


def judged(old, new, method, threshold):
    """The verdict of each point, and of all together by Student's t of the same units."""
    verdicts = [
        change(before, after, method, threshold, len(old))["verdict"]
        for before, after in zip(old, new, strict=True)
    ]
    return verdicts, common_change(old, new, PAIRS if method is PAIRS else STUDENT, threshold)


def says_slower(verdicts, common):
    return SLOWER in verdicts or common.verdict == SLOWER


def no_more_than(share, events):
    """Whether so many of the trials are no surprise, at 1 %, where ``share`` of them is true."""
    return np.sum(events) <= stats.binom.ppf(0.99, len(events), share)


def side_of(logs, day=1, hour=0, runs=1, noise=0.0, generator=None):
    """A run table of log rates (points, sweeps), one sweep a day from ``day`` on at ``hour``."""
    generator = generator or np.random.default_rng(0)
    one = dict.fromkeys(COMPARED, "x") | {"sweep": "s", "software": "a"}
    return pd.DataFrame(
        [
            one
            | {
                "devices": point + 1,
                "folder": f"{hour}-{sweep}",
                "repeat": repeat,
                "seed": repeat,
                "run_id": f"{point}-{repeat}",
                "started": f"2026-01-{day + sweep:02} {hour:02}:{repeat:02}",
                "samples_per_second": 1000 * np.exp(log + noise * generator.standard_normal()),
            }
            for point, of_point in enumerate(logs)
            for sweep, log in enumerate(of_point)
            for repeat in range(runs)
        ]
    )


def test_equal_sweeps_raise_few_false_alarms_and_slow_ones_are_found():
    generator = np.random.default_rng(4)
    alarms = sum(
        says_slower(*judged(noise_of(generator, 4, 6), noise_of(generator, 4, 6), RANKS, 0.0))
        for _ in range(1000)
    )
    assert alarms <= 50
    old, new = (
        side_of(np.full((4, 1), log), runs=6, noise=0.05, generator=generator, hour=hour)
        for hour, log in ((0, 0.0), (1, np.log(0.7)))
    )
    slow = compared(old, new, 0.05).points
    assert (slow["verdict"] == SLOWER).all()
    assert (slow["joint_low"] <= slow["low"]).all()
    assert (slow["low"] < slow["change"]).all()
    assert (slow["change"] < slow["high"]).all()
    assert (slow["high"] <= slow["joint_high"]).all()


@pytest.mark.parametrize("runs", [6, 10, 15])
def test_a_slowdown_within_the_threshold_is_no_alarm_however_many_runs(runs):
    """3 % at each of 18 points, where 5 % matter; the estimate of some point is always beyond."""
    generator = np.random.default_rng(runs)
    alarms = sum(
        says_slower(
            *judged(
                noise_of(generator, 18, runs),
                noise_of(generator, 18, runs) + FEW_PERCENT,
                RANKS,
                0.05,
            )
        )
        for _ in range(60)
    )
    assert alarms <= 3


def test_a_change_of_all_points_is_found_where_none_is_alone():
    """3 % at each of 18 points, of six runs with 5 % of noise."""
    generator = np.random.default_rng(1)
    trials = [
        judged(noise_of(generator, 18, 6), noise_of(generator, 18, 6) + FEW_PERCENT, RANKS, 0.0)
        for _ in range(200)
    ]
    alone = np.mean([verdict == SLOWER for verdicts, _ in trials for verdict in verdicts])
    assert alone < 0.03
    found = [common for _, common in trials if common.verdict == SLOWER]
    assert len(found) >= 0.93 * len(trials)
    holds = [common.low < -0.03 < common.high for _, common in trials]
    assert 0.92 <= np.mean(holds) <= 0.985


def test_one_point_of_very_many_that_is_much_slower_is_found():
    """No order of six runs and six is as unlikely as 30 points ask for; and the other points do not
    speak for it."""
    generator = np.random.default_rng(3)
    slower = np.zeros((30, 1))
    slower[7] = np.log(0.5)
    old, new = (
        side_of(logs, runs=6, noise=0.005, generator=generator, hour=hour)
        for hour, logs in ((0, 0 * slower), (1, slower))
    )
    found = compared(old, new, 0.05)
    verdicts = found.points.set_index("devices")["verdict"]
    assert found.slower
    assert verdicts[verdicts == SLOWER].index.tolist() == [8]
    assert not found.common.agree
    for draw in (generator.standard_normal, lambda n: generator.standard_t(3, n) / 3**0.5):
        alarms = [
            says_slower(*judged(0.05 * draw((30, 6)), 0.05 * draw((30, 6)), RANKS, 0.0))
            for _ in range(200)
        ]
        assert no_more_than(0.05, alarms)


def test_three_runs_of_a_large_slowdown_are_no_success():
    """Three runs a point are too few for any of 18; together they tell."""
    generator = np.random.default_rng(2)
    slow = np.append(np.full(17, np.log(0.7)), 0.0)
    old, new = (
        side_of(logs[:, None], runs=3, noise=0.05, generator=generator, hour=hour)
        for hour, logs in ((0, 0 * slow), (1, slow))
    )
    found = compared(old, new, 0.05)
    assert (found.points["verdict"] == UNTOLD).all()
    assert found.slower


def test_what_slows_whole_repeats_is_no_change():
    """5 % a repeat, 1 % a run: as independent runs, 18 points would be a hundred observations."""
    generator = np.random.default_rng(3)
    trials = [
        common_change(*(noise_of(generator, 18, 6, 0.01, 0.05) for _ in range(2)), STUDENT, 0.0)
        for _ in range(500)
    ]
    assert no_more_than(0.05, [common.verdict in (SLOWER, FASTER) for common in trials])
    assert np.mean([common.agree for common in trials]) >= 0.98


@pytest.mark.parametrize("sweeps", [3, 4, 6])
@pytest.mark.parametrize("day", [0.0, 0.01])
def test_days_are_no_change_where_each_side_has_several_sweeps(sweeps, day):
    """1 % a day and 0.5 % a run, three runs a sweep, of equals: 18 points, and all together."""
    generator = np.random.default_rng(sweeps)
    reps, points = 300, 18
    old, new = (
        np.median(0.005 * generator.standard_normal((reps, points, sweeps, 3)), axis=-1)
        + day * generator.standard_normal((reps, 1, sweeps))
        for _ in range(2)
    )
    single = student_interval(old, new, 0.05 / points)
    told = ((single.low > 0) | (single.high < 0)).any(axis=1)
    assert no_more_than(0.05, told)
    together = [common_change(*sides, STUDENT, 0.0) for sides in zip(old, new, strict=True)]
    slower = np.array([common.verdict == SLOWER for common in together])
    assert no_more_than(0.05, (single.high < 0).any(axis=1) | slower)


def test_sweeps_in_turns_are_paired_and_a_days_effect_cancels():
    generator = np.random.default_rng(5)
    days = 0.05 * generator.standard_normal(4)
    logs = [days + 0.005 * generator.standard_normal((6, 4)) for _ in range(2)]
    old = side_of(logs[0], hour=1)
    new = side_of(logs[1] + np.log(0.93), hour=2)
    found = compared(old, new, 0.05)
    assert found.design.paired
    assert found.slower
    assert found.common.high - found.common.low < 0.02
    assert any("in pairs" in sentence for sentence in sentences(found))
    after = compared(old, side_of(logs[1] + np.log(0.93), hour=2, day=10), 0.05)
    assert not after.design.paired
    assert not after.slower
    unfinished = new[~((new["devices"] == 1) & (new["folder"] == "2-0"))]
    assert list(compared(old, unfinished, 0.05).points.sort_values("devices")["old_count"]) == [
        *(3, 4, 4, 4, 4, 4)
    ]


def test_one_sweep_may_be_held_against_several():
    generator = np.random.default_rng(6)
    old, new = noise_of(generator, 4, 6, 0.01), noise_of(generator, 4, 1, 0.01) + np.log(0.8)
    found = compared(side_of(old), side_of(new, hour=1, day=9), 0.05)
    assert found.sweeps == (6, 1)
    assert (found.points["verdict"] == SLOWER).all()
    assert any("known of one side alone" in sentence for sentence in sentences(found))


def test_points_that_disagree_have_no_common_change():
    generator = np.random.default_rng(7)
    change_of = np.repeat([np.log(0.8), 0.0], 4)[:, None]
    old, new = (
        side_of(logs, runs=6, noise=0.02, generator=generator, hour=hour)
        for hour, logs in ((0, 0 * change_of), (1, change_of))
    )
    found = compared(old, new, 0.05)
    assert not found.common.agree
    words = " ".join(sentences(found))
    assert "no change is stated, because the points plainly disagree" in words
    assert "[" not in words


def test_points_that_disagree_on_how_much_slower_they_are_are_slower():
    """Three runs are too few for a point, and 20 and 50 % no common change."""
    generator = np.random.default_rng(11)
    slower = np.log(np.repeat([0.8, 0.5], 4))[:, None]
    verdicts, common = judged(
        noise_of(generator, 8, 3, 0.02), noise_of(generator, 8, 3, 0.02) + slower, RANKS, 0.05
    )
    assert set(verdicts) == {UNTOLD}
    assert not common.agree
    assert common.verdict == SLOWER
    bound = np.log(np.repeat([0.95, 1.2], 4))[:, None]
    alarms = [
        common_change(
            noise_of(generator, 8, 3, 0.02), noise_of(generator, 8, 3, 0.02) + bound, STUDENT, 0.05
        ).verdict
        == SLOWER
        for _ in range(200)
    ]
    assert no_more_than(0.025, alarms)


def test_the_assumption_of_one_sweep_a_side_is_said():
    logs = np.zeros((2, 1))
    generator = np.random.default_rng(8)
    old, later, within = (
        side_of(logs, runs=4, noise=0.01, generator=generator, **when)
        for when in ({"hour": 1}, {"hour": 2}, {"hour": 1})
    )
    assert "counts as change" in " ".join(sentences(compared(old, later, 0.05)))
    within = within.assign(folder="other")
    assert "measured in turns" in " ".join(sentences(compared(old, within, 0.05)))


def test_what_either_side_uses_of_the_machine_is_told_and_decides_nothing():
    """A third more memory at the same rate; of a device that 0.1 TFLOP/s were measured on."""
    generator = np.random.default_rng(12)
    facts = {"flops_per_sample": 1e7, "calibrated_teraflops": 0.1}
    old, new = (
        side_of(np.zeros((2, 1)), runs=6, noise=0.001, generator=generator, hour=hour).assign(
            **facts, memory_gib=[gib * (1 + 0.001 * (run % 6)) for run in range(12)]
        )
        for hour, gib in ((0, 3.0), (1, 4.0))
    )
    found = compared(old, new, 0.05)
    assert not found.slower
    assert found.usage["point"].tolist() == found.points["point"].tolist()
    for row in found.usage.to_dict("records"):
        assert row["memory_change"] == pytest.approx(1 / 3, abs=1e-3)
        assert 0.32 < row["memory_change_low"] < 1 / 3 < row["memory_change_high"] < 0.35
        devices = next(int(n) for n in (1, 2) if row["point"].endswith(f"at {n}"))
        for side in ("old", "new"):
            # 1,000 samples a second on all devices.
            assert row[f"{side}_teraflops"] == pytest.approx(0.01 / devices, rel=0.01)
            assert row[f"{side}_share_of_calibrated"] == pytest.approx(0.1 / devices, rel=0.01)
    header, rows_of = usage_cells(found)
    assert header[1:] == [
        *("GFLOP/s a device", "of the calibrated peak", "peak memory, GiB", "change", "95 %")
    ]
    assert [cells[2] for cells in sorted(rows_of)] == ["10 % → 10 %", "5 % → 5 %"]
    assert [cells[4] for cells in rows_of] == ["+33.3", "+33.3"]
    assert any("no verdict depends on it" in sentence for sentence in sentences(found))


def test_of_few_runs_a_change_of_memory_has_no_interval_and_of_unknown_memory_none():
    old, new = (
        side_of(np.zeros((2, 1)), runs=2, noise=0.01, hour=hour).assign(memory_gib=gib)
        for hour, gib in ((0, 2.0), (1, 3.0))
    )
    _, rows_of = usage_cells(compared(old, new, 0.05))
    assert [cells[1:] for cells in rows_of] == [["2.00 → 3.00", "+50.0", "too few"]] * 2
    known = compared(old, new.assign(memory_gib=[3.0, np.nan] * 2), 0.05)
    assert known.usage["memory_change"].isna().all()
    assert usage_cells(
        compared(*(side.drop(columns="memory_gib") for side in (old, new)), 0.05)
    ) == (
        [],
        [],
    )
    several = [
        side_of(np.zeros((2, 3)), runs=2, noise=0.01, hour=hour, day=day).assign(memory_gib=gib)
        for hour, day, gib in ((1, 1, 2.0), (2, 9, 3.0))
    ]
    usage = compared(*several, 0.05).usage
    assert usage["memory_change_low"].tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(
    ("method", "first", "second"),
    [(RANKS, 6, 6), (RANKS, 5, 12), (STUDENT, 3, 3), (STUDENT, 6, 1), (PAIRS, 4, 4)],
)
def test_the_slowdown_that_is_said_to_be_found_is_found_in_four_of_five(method, first, second):
    """By another comparison of the same size, 5 % noise, four points, 5 % that matter."""
    generator = np.random.default_rng(first)
    error, bound, noise = 0.05 / 4, np.log(0.95), 0.05
    planned, later = (
        [noise * generator.standard_normal((3000, count)) for count in (first, second)]
        for _ in range(2)
    )
    slowdown = bound - method.spread(*planned) * reach(method, first, second, error)
    found = method.interval(later[0], later[1] + slowdown[:, None], error).high < bound
    assert 0.76 <= found.mean() <= 0.84


@pytest.mark.parametrize("method", [RANKS, STUDENT])
@pytest.mark.parametrize(
    "noises", [np.full(10, 0.02), np.full(2, 0.03), np.geomspace(0.002, 0.03, 6)]
)
def test_the_number_of_runs_that_is_asked_for_tells_all_points_and_fewer_do_not(method, noises):
    margin = -np.log(0.95)
    needed = observations_needed(method, noises, margin, 0.05)
    generator = np.random.default_rng(9)
    power = []
    for count in (needed - 1, needed):
        shape = (1000, len(noises), count)
        old, new = (noises[:, None] * generator.standard_normal(shape) for _ in range(2))
        power.append((method.interval(old, new, 0.05).low > -margin).all(axis=1).mean())
    assert power[0] < 0.82
    assert 0.77 < power[1] < 0.95


def test_no_number_of_runs_is_promised_where_none_is_known():
    assert observations_needed(RANKS, np.array([1.0]), 0.05, 0.05) is None
    assert observations_needed(RANKS, np.array([0.01]), 0.0, 0.05) is None
    assert observations_needed(RANKS, np.array([0.01, np.nan]), 0.05, 0.05) is None


def test_what_cannot_be_told_is_named_with_the_runs_it_takes():
    generator = np.random.default_rng(10)
    old, new = (
        side_of(np.zeros((3, 1)), runs=4, noise=0.03, generator=generator, hour=hour)
        for hour in (0, 1)
    )
    found = compared(old, new, 0.05)
    said = not_told(found)
    assert set(found.points["verdict"]) <= {UNTOLD, WITHIN}
    assert all(name in said for name in found.untold["point"])
    assert "(here 4)" in said
    assert "no number of runs" in not_told(compared(old, new, 0.0))


def test_a_measurement_counts_once():
    old = side_of(np.zeros((2, 1)), runs=2, noise=0.01)
    new = side_of(np.zeros((2, 1)), runs=2, noise=0.02, hour=1)
    check_distinct(old, new)
    copied = pd.concat([new, old.head(1).assign(folder="copied")])
    with pytest.raises(ConfigError, match="0-0 and copied"):
        check_distinct(old, copied)


@pytest.mark.parametrize("runs", [6, 33, 34, 37, 60])
def test_an_interval_of_many_runs_holds_the_ratio(runs):
    """34 against 34 is where the number of orders outgrows 64 bits; 60 is beyond the exact test."""
    generator = np.random.default_rng(runs)
    old, new = (0.05 * generator.standard_normal(runs) for _ in range(2))
    low, ratio, high = np.exp(rank_interval(old, np.log(1.2) + new, 0.05))
    assert low < ratio < high
    assert low < 1.2 < high < 1.4


def test_how_many_runs_a_verdict_needs():
    assert fewest_runs(0.05) == 4
    assert fewest_runs(0.05 / 30) == 7


@given(st.integers(1, 12), st.integers(1, 12))
def test_an_interval_inverts_the_exact_rank_test(first, second):
    """It leaves out the ratio one exactly where the two-sided test is significant."""
    generator = np.random.default_rng(first * 100 + second)
    old = generator.standard_normal(first)
    new = generator.standard_normal(second) + np.log(2)
    low, _, high = rank_interval(old, new, 0.05)
    p = stats.mannwhitneyu(new, old, method="exact").pvalue
    assert (not low <= 0 <= high) == (p <= 0.05)


@given(st.integers(2, 9), st.integers(2, 9))
def test_students_intervals_are_scipys(first, second):
    generator = np.random.default_rng(first * 100 + second)
    old, new = generator.standard_normal(first), generator.standard_normal(second)
    theirs = stats.ttest_ind(new, old).confidence_interval(0.99)
    low, _, high = student_interval(old, new, 0.01)
    assert (low, high) == (pytest.approx(theirs.low), pytest.approx(theirs.high))
    fewer = min(first, second)
    theirs = stats.ttest_rel(new[:fewer], old[:fewer]).confidence_interval(0.95)
    low, _, high = paired_interval(old[:fewer], new[:fewer], 0.05)
    assert (low, high) == (pytest.approx(theirs.low), pytest.approx(theirs.high))


def test_the_pseudomedian_of_a_published_table():
    """Depression scale factors, Hollander, Wolfe and Chicken (2014), example 3.1 and 3.3."""
    differences = [-0.952, 0.147, -1.022, -0.430, -0.620, -0.590, -0.490, 0.080, -0.010]
    assert pseudomedian(differences) == pytest.approx(-0.46)


def test_results_of_before_a_column_was_known_are_compared_and_it_is_said():
    old, new = (
        runs_of(rows(1, [100 * f] * 6)).assign(started="", folder=str(f)) for f in (1.0, 1.01)
    )
    blank_old, blank_new, told = across_unknown(old.assign(cpu_math=UNKNOWN), new)
    assert len(compared(blank_old, blank_new, 0.05).points) == 1
    assert told == ["cpu_math is not known of OLD, so points may differ in it"]
    assert across_unknown(old, new)[2] == []
