"""Scaling laws, fitted to rates that were made with them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hpcbench.analysis.choice import choose
from hpcbench.analysis.extrapolation import extrapolations, law_table
from hpcbench.analysis.fitting import counts_of, fit
from hpcbench.analysis.laws import candidates
from hpcbench.analysis.report.laws import sentences
from support.laws import SEVEN, amdahl, counts, gustafson, usl
from support.runs import law_runs


def law(name, scaling="weak", across_nodes=False):
    return {law.name: law for law in candidates(scaling, across_nodes)}[name]


@pytest.mark.parametrize(
    ("name", "cost", "scaling", "values"),
    [
        ("Amdahl", amdahl, "strong", (0.08,)),
        ("Gustafson", gustafson, "weak", (0.3,)),
        ("USL", usl, "weak", (0.03, 0.002)),
        ("USL", usl, "strong", (0.03, 0.002)),
        ("USL", usl, "weak", (-0.01, 0.0002)),
    ],
)
def test_laws_come_back_from_data_made_with_them(name, cost, scaling, values):
    changes = {"global_batch": 128, "scaling": scaling} if scaling == "strong" else {}
    runs = law_runs(lambda n: 100 * n / cost(float(n), *values), SEVEN, 0.005, **changes)
    found = extrapolations(runs)
    (one,) = found.values()
    best = one.choice.best
    assert best.law.name == name
    np.testing.assert_allclose(best.values, (100.0, *values), rtol=0.15)
    lows, highs = best.intervals()
    assert (lows <= (100.0, *values)).all()
    assert ((100.0, *values) <= highs).all()
    table = law_table(runs, found)
    (sentence,) = sentences(table)
    assert f"{name} for horovod fc-64: without the runs at 64 it predicts" in sentence
    row = table.iloc[0]
    assert row["predicted"] == pytest.approx(6400 / cost(64.0, *values), rel=0.05)
    assert row["predicted_low"] < row["predicted"] < row["predicted_high"]
    assert row["measured"] == pytest.approx(6400 / cost(64.0, *values), rel=0.02)


@pytest.mark.parametrize(
    ("name", "cost", "devices", "values"),
    [
        ("Gustafson", gustafson, (1, 2, 4, 8), (0.05,)),
        ("USL", usl, (1, 2, 3, 4, 6, 8), (0.5, 0.02)),
        ("contention", amdahl, (4, 8, 16, 32), (0.5,)),
    ],
)
def test_parameter_intervals_cover_what_they_promise(name, cost, devices, values):
    inside, peaks = 0, []
    for seed in range(400):
        made = counts(lambda n, _: cost(n, *values), devices, 0.02, seed)
        found = fit(law(name), made)
        lows, highs = found.intervals()
        inside = inside + ((lows[1:] <= values) & (values <= highs[1:]))
        if name == "USL":
            _, low, high = found.peak()
            peaks.append(low <= ((1 - values[0]) / values[1]) ** 0.5 <= high)
    assert not peaks or 0.92 <= np.mean(peaks) <= 0.98
    assert (inside >= 0.92 * 400).all()
    assert (inside <= 0.98 * 400).all()


def test_series_with_a_law_and_without_stand_in_one_report():
    few = law_runs(lambda n: 100.0 * n, (1, 2), 0.005, strategy="mpi")
    runs = pd.concat([law_runs(lambda n: 100.0 * n, SEVEN, 0.005), few], ignore_index=True)
    said = sentences(law_table(runs, extrapolations(runs)))
    assert len(said) == 2
    assert said[1].startswith("No law for mpi fc-64: 2 device counts are too few")


def test_lack_of_fit_is_analysis_of_variance_where_nothing_scales_worse():
    """Of the law without a term the F test is that of SciPy between the counts."""
    runs = law_runs(lambda n: 100.0 * n, SEVEN, 0.01, seed=2)
    share = np.log(runs["samples_per_second"] / runs["devices"])
    expected = stats.f_oneway(*(part for _, part in share.groupby(runs["devices"])))
    assert fit(law("linear"), counts_of(runs)).p == pytest.approx(expected.pvalue, rel=0.05)


def test_lack_of_fit_has_its_size_and_sees_a_node_boundary():
    true, blind = law("latency + step between nodes", across_nodes=True), law("latency")
    made = [
        counts(lambda n, k: 1 + 0.02 * np.log2(n) + 0.12 * (k > 1), SEVEN, 0.01, seed, 6, 4)
        for seed in range(400)
    ]
    assert 0.02 <= np.mean([fit(true, one).p < 0.05 for one in made]) <= 0.08
    assert np.mean([fit(blind, one).p < 0.05 for one in made]) > 0.99


# What Extra-P 4.2.5 makes of seconds at p = 1 ... 64 devices that are a function of p, times 1.004
# and 0.996 in turn: the law of ours, its model's coefficients, and what it expects at 256.
EXTRA_P = {
    "0.2 + 0.03 log2(p)": (
        "latency",
        lambda p: 0.2 + 0.03 * np.log2(p),
        (0.20001, 0.030051),
        0.44042,
    ),
    # Extra-P's is 0.199672 + 0.0100379 p: ours begins with one device.
    "0.2 + 0.01 p": ("contention", lambda p: 0.2 + 0.01 * p, (0.209710, 0.0100379), 2.76938),
    "0.2": ("linear", lambda p: 0.2 + 0 * p, (0.200114,), 0.200114),
}


@pytest.mark.parametrize("truth", EXTRA_P)
def test_the_same_coefficients_as_extra_p(truth):
    name, of, coefficients, expected = EXTRA_P[truth]
    n = np.array(SEVEN, float)
    seconds = of(n) * (1 + 0.004 * np.array([1, -1] * 3 + [1]))
    noisy = counts(lambda n, _: seconds * 100, SEVEN, 0.01)
    best = choose(replace(noisy, logs=np.log(n / seconds)), "weak").best
    assert best.law.name == name
    np.testing.assert_allclose(best.coefficients, coefficients, rtol=0.01)
    assert 256 / best.rates(np.array([256.0]))[0][0] == pytest.approx(expected, rel=0.005)
