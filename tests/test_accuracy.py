"""Accuracy, time to a target, and what devices cost of both."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hpcbench.analysis.accuracy import accuracy_table
from hpcbench.analysis.loss import (
    ERROR,
    LOSS,
    NO_LOSS,
    UNKNOWN,
    holm,
    paired_change,
    welch_change,
)
from support import IDENTITY


def epochs_of(devices, finals, seconds=10.0, metric="accuracy", seed=None):
    """Runs of two epochs: half the final metric, then all of it."""
    base = asdict(IDENTITY) | {
        "devices": devices,
        "batch": 128,
        "subject": "horovod fc-64",
        "line": "horovod fc-64",
        "placement": "packed",
        "software": "",
        "sweeps": "s",
        "options": "",
        "training": "",
        "metric": metric,
    }
    return [
        base
        | {
            "run_id": f"{devices}-{repeat}",
            "seed": repeat if seed is None else seed,
            "epoch": epoch,
            "test_metric": final * epoch / 2,
            "elapsed_seconds": seconds * epoch,
            "evaluation_seconds": 0.5,
        }
        for repeat, final in enumerate(finals)
        for epoch in (1, 2)
    ]


def test_devices_that_cost_accuracy_are_told():
    good = [0.97, 0.971, 0.972, 0.969, 0.97, 0.968]
    worse = [value - loss for value, loss in zip(good, (0.02, 0.021, 0.019) * 2, strict=True)]
    rows_of = [*epochs_of(1, good), *epochs_of(2, good, 6.0), *epochs_of(4, worse, 3.0)]
    table = accuracy_table(pd.DataFrame(rows_of), asked=0.965).set_index("devices")
    assert table["verdict"].to_dict() == {1: "base", 2: NO_LOSS, 4: LOSS}
    assert table["seconds_to_target"].to_dict() == {1: 20.0, 2: 12.0, 4: np.inf}
    assert table["seconds_with_evaluation"].to_dict() == {1: 21.0, 2: 13.0, 4: np.inf}
    assert table["reached"].to_dict() == {1: 6, 2: 6, 4: 0}
    assert table.loc[4, "change"] == pytest.approx(-0.02)
    means = table["mean_accuracy"]
    assert means[4] - means[1] == pytest.approx(table.loc[4, "change"])
    # Student's 97.5 % quantile of five degrees of freedom, over the spread of the differences.
    reach = 2.570582 * np.std([0.02, 0.021, 0.019] * 2, ddof=1) / 6**0.5
    assert table.loc[4, "change_high"] == pytest.approx(-0.02 + reach)
    assert table.loc[4, "margin"] == pytest.approx(0.0097)
    wide = accuracy_table(pd.DataFrame(rows_of), margin=0.03).set_index("devices")
    assert wide.loc[4, "verdict"] == NO_LOSS, "it is surely smaller than a margin of 3 %"
    untimed = pd.DataFrame(rows_of).assign(evaluation_seconds=np.nan)
    assert accuracy_table(untimed)["seconds_with_evaluation"].isna().all()
    few = accuracy_table(pd.DataFrame([*epochs_of(1, good[:2]), *epochs_of(2, worse[:2])]))
    assert (few["target"] <= 0.95).all(), "all points reach the target that was not asked for"


@pytest.mark.parametrize(
    ("finals", "seed", "says"),
    [
        ([0.97, 0.971, 0.969, 0.97, 0.97, 0.972], 7, "the same seed"),
        ([0.97] * 5, None, "fewer than 6 runs, all of which agree"),
        ([0.97], None, "a single run"),
    ],
)
def test_what_tells_nothing_of_runs_to_come_is_refused_in_a_sentence(finals, seed, says):
    parts = [*epochs_of(1, finals, seed=seed), *epochs_of(2, finals, seed=seed)]
    (two,) = accuracy_table(pd.DataFrame(parts)).query("devices == 2").to_dict("records")
    assert two["verdict"] == UNKNOWN
    assert says in two["reason"]
    assert np.isnan(two["change_low"])


NOISES = {
    "normal": lambda generator, shape: generator.standard_normal(shape),
    "skewed": lambda generator, shape: 1 - generator.exponential(1, shape),
}


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("method", [paired_change, welch_change])
def test_a_loss_as_large_as_the_margin_is_hardly_ever_called_smaller(method, noise):
    """20,000 sweeps of six runs that lose exactly the margin: at most 5 % are told none too large,
    and of as many that lose nothing at most 5 % a loss; four standard errors are allowed."""
    generator, sweeps = np.random.default_rng(5), 20_000
    at, base = (NOISES[noise](generator, (sweeps, 6)) for _ in range(2))
    most = 0.05 + 4 * (0.05 * 0.95 / sweeps) ** 0.5
    assert (method(at - 0.7, base).p_above(-0.7) < ERROR).mean() <= most
    assert (method(at, base).p_below(0.0) < ERROR).mean() <= most


def test_holm_is_that_of_his_paper_and_welch_that_of_scipy():
    # The step-down of 0.01, 0.02, 0.03 by 3, 2, 1; what was not tested does not count.
    assert holm(np.array([0.03, 0.01, np.nan, 0.02])) == pytest.approx(
        [0.04, 0.03, np.nan, 0.04], nan_ok=True
    )
    at, base = np.array([1.0, 2.0, 4.0]), np.array([0.5, 3.0, 3.5, 9.0])
    expected = stats.ttest_ind(at, base, equal_var=False, alternative="less").pvalue
    assert welch_change(at, base).p_below(0.0) == pytest.approx(expected)


def test_of_errors_less_is_better():
    low = [2.0, 2.1, 1.9, 2.05, 1.95, 2.0]
    high = [value + 1 for value in low]
    rows_of = [
        *epochs_of(1, low, metric="mean_absolute_error"),
        *epochs_of(2, high, metric="mean_absolute_error"),
    ]
    table = accuracy_table(pd.DataFrame(rows_of)).set_index("devices")
    assert table["verdict"].to_dict() == {1: "base", 2: LOSS}
    assert table["target"].tolist() == [3.0, 3.0]
    assert table["epochs_to_target"].to_dict() == {1: 1.0, 2: 1.0}
    assert accuracy_table(pd.DataFrame(rows_of), asked=0.9)["reached"].tolist() == [0, 0]


def test_two_sweeps_with_the_same_configurations_keep_their_own_accuracies():
    """A run id is the hash of a configuration, and does not tell machines apart."""
    one = [row | {"sweep": "a", "device_kind": "a"} for row in epochs_of(1, [0.9] * 6)]
    two = [row | {"sweep": "b", "device_kind": "b"} for row in epochs_of(1, [0.8] * 6)]
    table = accuracy_table(pd.DataFrame(one + two)).set_index("device_kind")
    assert table["runs"].to_dict() == {"a": 6, "b": 6}
    assert table["final_accuracy"].to_dict() == {"a": 0.9, "b": 0.8}


def test_verdicts_hold_for_all_counts_together():
    """A loss that one count alone would show at 2 % is none of twenty that were looked at."""
    base = [0.97, 0.971, 0.972, 0.969]
    off = [value - loss for value, loss in zip(base, (0.016, 0.004, 0.011, 0.009), strict=True)]
    alone = accuracy_table(pd.DataFrame([*epochs_of(1, base), *epochs_of(2, off)]))
    assert alone["verdict"].tolist() == ["base", LOSS]
    rows_of = [row for n in range(1, 21) for row in epochs_of(n, base if n == 1 else off)]
    assert set(accuracy_table(pd.DataFrame(rows_of))["verdict"]) == {"base", UNKNOWN}
