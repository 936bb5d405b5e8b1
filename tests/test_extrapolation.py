"""How far laws are drawn, whether their bands hold what was not measured, and what is said."""

from dataclasses import replace

import numpy as np
import pytest

from hpcbench.analysis.choice import choose
from hpcbench.analysis.extrapolation import extrapolate, extrapolations, law_table
from hpcbench.analysis.figures.panels import thousands
from hpcbench.analysis.fitting import counts_of
from hpcbench.analysis.laws import candidates
from hpcbench.analysis.report.laws import laws_table, sentences
from support.laws import SEVEN, amdahl, counts, gustafson, usl
from support.runs import law_runs


def _laws(**of):
    return [pytest.param(cost, scaling, id=name) for name, (cost, scaling) in of.items()]


LAWS = _laws(
    linear=(lambda n, _: np.ones_like(n), "weak"),
    gustafson=(lambda n, _: gustafson(n, 0.08), "weak"),
    amdahl=(lambda n, _: amdahl(n, 0.05), "strong"),
    usl_weak=(lambda n, _: usl(n, 0.03, 0.002), "weak"),
    usl_strong=(lambda n, _: usl(n, 0.03, 0.002), "strong"),
    ring_and_log=(lambda n, _: 1 + 0.02 * np.log2(n) + 0.1 * (n - 1) / n, "weak"),
    amdahl_and_log=(lambda n, _: amdahl(n, 0.02) + 0.005 * n * np.log2(n), "strong"),
)
NO_LAWS = _laws(
    superlinear=(lambda n, _: usl(n, -0.01, 0.0002), "weak"),
    superlinear_power=(lambda n, _: n**-0.05, "weak"),
    two_costs_and_contention=(
        lambda n, _: 1 + 0.01 * (n - 1) + 0.02 * np.log2(n) + 0.05 * (n - 1) / n,
        "weak",
    ),
)
NODES = _laws(
    node_step=(lambda n, k: 1 + 0.01 * np.log2(n) + 0.12 * (k > 1), "weak"),
    node_ring=(lambda n, k: 1 + 0.02 * (n - 1) / n + 0.15 * (k - 1) / k, "weak"),
    node_log=(lambda n, k: 1 + 0.01 * np.log2(n) + 0.05 * np.log2(k), "weak"),
    node_strong=(lambda n, k: amdahl(n, 0.01) + 0.01 * n * (k > 1), "strong"),
)


def shares(cost, scaling, devices, noise=0.02, sweeps=80, devices_a_node=1.0):
    """Of so many sweeps, at twice and four times the largest count: how many have a band, and how
    many a band without the true rate."""
    far = devices[-1] * np.array([2.0, 4.0])
    truth = 100 * far / cost(far, np.ceil(far / devices_a_node))
    drawn = missed = np.zeros(2)
    for seed in range(sweeps):
        made = counts(cost, devices, noise, seed, devices_a_node=devices_a_node)
        found = extrapolate(made, scaling)
        _, low, high = found.choice.rates(far)
        reached = far <= found.reach * (1 + 1e-9)
        drawn = drawn + reached
        missed = missed + (reached & ~((low <= truth) & (truth <= high)))
    return drawn / sweeps, missed / sweeps


@pytest.mark.parametrize("devices", [SEVEN[:5], SEVEN], ids=["five", "seven"])
@pytest.mark.parametrize(("cost", "scaling"), LAWS)
def test_the_band_beyond_holds_the_truth_of_a_law_and_there_is_one(cost, scaling, devices):
    drawn, missed = shares(cost, scaling, devices)
    assert (missed <= 0.1 * drawn).all(), (drawn, missed)
    assert drawn[0] >= (0.5 if devices == SEVEN[:5] else 0.85)


@pytest.mark.parametrize(("cost", "scaling"), NO_LAWS)
def test_the_band_beyond_holds_the_truth_of_other_curves_or_there_is_none(cost, scaling):
    drawn, missed = shares(cost, scaling, SEVEN[:6])
    assert (missed <= 0.1 * drawn).all(), (drawn, missed)


def test_counts_on_a_curve_by_luck_are_no_surer_than_their_runs():
    made = counts(lambda n, _: usl(n, 0.03, 0.002), SEVEN, 0.02)
    exact = replace(made, logs=np.log(100 * made.devices / usl(made.devices, 0.03, 0.002)))
    assert choose(exact, "weak").widths(np.array([128.0])) > 1.02


@pytest.mark.parametrize(("cost", "scaling"), NODES)
def test_the_band_beyond_holds_the_truth_across_nodes(cost, scaling):
    drawn, missed = shares(cost, scaling, SEVEN, devices_a_node=4)
    assert (missed <= 0.1 * drawn).all(), (drawn, missed)
    assert drawn[0] >= 0.7


@pytest.mark.parametrize("lost", [0, 3])
def test_five_percent_a_repeat_are_in_the_band_where_repeats_were_blocks(lost):
    """Also where runs of some repeats failed."""
    inside, variances = 0, []
    for seed in range(60):
        runs = law_runs(lambda n: 100 * n / usl(n, 0.03, 0.002), SEVEN, 0.01, seed)
        slow = np.random.default_rng(1000 + seed).normal(0, 0.05, 6)[runs["repeat"]]
        started = runs["repeat"].map("2026-01-0{}".format) + runs["devices"].map("T{:02}".format)
        rates = runs["samples_per_second"] * np.exp(slow)
        measured = runs.assign(samples_per_second=rates, started=started)
        made = counts_of(measured.drop(index=measured.sample(lost, random_state=seed).index))
        variances.append(made.variance)
        one = extrapolate(made, "weak")
        _, low, high = one.choice.rates(np.array([128.0]))
        inside += not one.reach >= 128 or low[0] <= 12800 / usl(128, 0.03, 0.002) <= high[0]
    assert np.mean(variances) == pytest.approx(0.01**2, rel=0.1), "without the repeats'"
    assert inside >= 54


def sentence(runs):
    """All that is said of one series, and its table of laws."""
    table = law_table(runs, extrapolations(runs))
    (said,) = sentences(table)
    laws_table(table)
    return said


@pytest.mark.parametrize(
    ("devices", "a_node", "says"),
    [
        ((1, 2), 1, "2 device counts are too few"),
        ((1, 2, 4, 8), 1, "drawn to 8 devices, since 4 device counts describe"),
        ((1, 2, 4, 8, 16), 16, "drawn to 16 devices, since all counts are within one node"),
        ((1, 2, 4, 8, 16), 4, "3 are within one node and 2 over several"),
        ((1, 4, 8, 16, 32), 2, "1 are within one node and 4 over several"),
        ((1, 2, 4, 8, 16, 32), 1, "drawn to 128 devices."),
    ],
)
def test_where_a_law_ends_and_why_is_said(devices, a_node, says):
    runs = law_runs(
        lambda n: 90 * n / amdahl(n, 0.1), devices, 0.005, seed=1, devices_a_node=a_node
    )
    assert says in sentence(runs)


def test_one_run_a_count_has_no_law():
    assert "No law for horovod fc-64: without repeats" in sentence(
        law_runs(lambda n: 90.0 * n, SEVEN, 0.01, repeats=1)
    )


def test_every_law_across_nodes_has_a_term_for_it():
    runs = law_runs(lambda n: 90.0 * n / (1.12 if n > 4 else 1), SEVEN, 0.01, devices_a_node=4)
    said = sentence(runs)
    assert "step between nodes for horovod fc-64" in said
    assert all("between nodes" in one.name for one in candidates("weak", across_nodes=True))


def test_a_law_that_misses_the_counts_is_not_drawn_but_said():
    said = sentence(law_runs(lambda n: 90.0 * n ** (0.5 + n % 3 / 9), SEVEN, 0.01))
    assert "No law for horovod fc-64: each of 12 laws misses the counts" in said
    assert "p = " in said


def test_a_crowded_cluster_has_no_law():
    """Rates that fall and scatter: no line, no band of many powers of ten, and no figure."""
    runs = law_runs(lambda n: 9000 * n**-0.5, (1, 2, 4, 8, 16, 32), 0.35, seed=3, repeats=5)
    assert "runs differ so much that the band spans more than a factor of two" in sentence(runs)
    (one,) = extrapolations(runs).values()
    assert one.choice.best is None
    assert np.isnan(one.choice.rates(np.array([2.0]))).all()


def test_a_cost_below_zero_is_no_law():
    """Each device costs more, but less and less: a negative coherency alone would fit."""
    made = counts(lambda n, _: usl(n, 0.06, -0.0008), SEVEN[:6], 0.002, seed=1)
    choice = choose(made, "strong")
    (found,) = (one for one in choice.tried if one.law.name == "USL")
    assert found.below_zero == ["coherency"]
    assert choice.best is None
    assert "a cost is below zero (in USL: coherency)" in choice.reason


def test_a_law_with_a_cost_below_zero_says_how_slow_it_may_become():
    made = counts(lambda n, _: usl(n, 0.05, 0.0), SEVEN, 0.02)
    choice, far = choose(made, "strong"), np.array([256.0])
    (negative,) = (one for one in choice.tried if one.law.name == "USL")
    assert negative.below_zero == ["coherency"]
    _, low, high = choice.rates(far)
    _, own_low, own_high = negative.rates(far)
    assert low == own_low < choice.best.rates(far)[1]
    assert high < own_high


def test_nothing_is_foretold_beyond_a_count_that_was_missed():
    made = counts(lambda n, _: usl(n, 0.03, 0.002), SEVEN, 0.005)
    medians = made.medians * np.array([1, 1, 1, 1, 1, 1, 0.7])
    one = extrapolate(replace(made, medians=medians), "weak")
    _, low, high = choose(made.without_largest(), "weak").rates(np.array([64.0]))
    assert one.prediction.low < low < high < one.prediction.high, "of a median, not of the curve"
    assert one.prediction.missed
    assert one.reach == 64
    assert "would have missed the largest" in one.reason
    assert extrapolate(made, "weak").reach == 256


def test_no_band_is_drawn_where_it_is_wider_than_a_factor_of_two():
    made = counts(lambda n, _: gustafson(n, 0.08), SEVEN[:5], 0.02, seed=1)
    one = extrapolate(made, "weak")
    assert 16 < one.reach < 64
    assert one.choice.widths(np.linspace(1, one.reach, 50)).max() <= 2
    assert one.choice.widths(np.array([one.reach * 1.1])) > 2


@pytest.mark.parametrize("power", range(-4, 22))
def test_a_tick_label_is_no_puzzle(power):
    assert "+" not in thousands(10.0**power)
    assert len(thousands(10.0**power)) <= 6
