"""Accuracy beside speed: how long to a target, and whether more devices cost accuracy."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from hpcbench.analysis.estimates import CONFIDENCE, Estimate, Values, middles
from hpcbench.analysis.load import SERIES, facts_of
from hpcbench.analysis.loss import (
    ENOUGH_ALIKE,
    MARGIN,
    holm,
    paired_change,
    verdict_of,
    welch_change,
)
from hpcbench.records.identity import RUN
from hpcbench.records.schema import LOWER_IS_BETTER

# What the epochs of an accuracy curve have in common.
CURVE = [*SERIES, "subject", "line", "training", "devices"]


def accuracy_curves(epochs: pd.DataFrame) -> pd.DataFrame:
    """One row a series, device count and epoch: medians and range of the runs' test metric."""
    return epochs.groupby([*CURVE, "metric", "epoch"], as_index=False).agg(
        test_metric=("test_metric", "median"),
        lowest=("test_metric", "min"),
        highest=("test_metric", "max"),
        elapsed_seconds=("elapsed_seconds", "median"),
        runs=("run_id", "size"),
    )


def _last(epochs: pd.DataFrame) -> pd.DataFrame:
    return epochs.loc[epochs.groupby(RUN)["epoch"].idxmax()]


def _with_evaluations(epochs: pd.DataFrame) -> pd.DataFrame:
    """``epochs`` with the time of all evaluations so far added to that of training."""
    ordered = epochs.sort_values("epoch")
    seconds = ordered["evaluation_seconds"]
    runs = [ordered[name] for name in RUN]
    untimed = seconds.isna().groupby(runs).cummax()
    so_far = seconds.groupby(runs).cumsum().where(~untimed)
    return ordered.assign(seconds_with_evaluation=ordered["elapsed_seconds"] + so_far).sort_index()


def sign_of(metric: str) -> float:
    """-1 for errors, of which less is better."""
    return -1.0 if metric in LOWER_IS_BETTER else 1.0


def targets_of(finals: pd.DataFrame, asked: float | None) -> dict[tuple[str, str], float]:
    """The metric to reach, by model and data: as ``asked``, else what all points reach.

    That is the worst of what more than half of each point's runs reach in the end, rounded to the
    worse thousandth, so that every point has a time to compare.
    """
    targets = {}
    for (model, dataset), rows in finals.groupby(["model", "dataset"]):
        sign = sign_of(rows["metric"].iloc[0])
        points = (sign * rows["test_metric"]).groupby([rows[name] for name in CURVE])
        worst = points.agg(_most_reach).min()
        reached = float(sign * np.floor(worst * 1000) / 1000)
        targets[str(model), str(dataset)] = reached if asked is None else asked
    return targets


def _most_reach(values: "pd.Series[float]") -> float:
    """The best that more than half of ``values`` reach."""
    return float(values.sort_values(ascending=False).iloc[len(values) // 2])


def accuracy_table(
    epochs: pd.DataFrame, asked: float | None = None, margin: float = MARGIN
) -> pd.DataFrame:
    """One row a point: final accuracy, time and epochs to the target, and what devices cost.

    ``seconds_to_target`` is training time, without evaluations, from the first measured step to the
    end of the first epoch that reached it, the median over runs with its interval; infinite where
    half of the runs did not. ``seconds_with_evaluation`` has the evaluations until then in it too,
    missing where they were not timed. ``epochs_to_target`` likewise. ``reached`` counts the runs
    that did.

    ``mean_accuracy`` is the mean final metric over seeds, and ``change`` that of it from the
    series' smallest device count, in the metric's units, with its 95 % interval over seeds.
    ``margin`` (a share of the smallest count's
    mean) comes back in these units too: the loss that would not matter. ``p_margin`` and ``p_loss``
    are one-sided, of a loss as large as the margin and of none, after Holm's correction for the
    counts of a series; ``verdict`` is one of :mod:`hpcbench.analysis.loss`, or "base", and
    ``reason`` says why nothing can be known, where nothing can.
    """
    if epochs.empty:
        return pd.DataFrame()
    epochs = _with_evaluations(epochs)
    finals = _last(epochs)
    targets = targets_of(finals, asked)
    points = []
    for key, series in epochs.groupby([*SERIES, "training"], sort=True):
        *of_series, training = key
        facts = facts_of(of_series, series) | {"training": training}
        facts["metric"] = str(series["metric"].iloc[0])
        target, sign = targets[facts["model"], facts["dataset"]], sign_of(facts["metric"])
        # A run id is the hash of a configuration, so two sweeps can have it.
        ends = finals.merge(series[RUN].drop_duplicates(), on=RUN)
        by_devices = {int(str(n)): runs for n, runs in ends.groupby("devices")}
        changes = _changes(by_devices, sign, margin)
        for devices, runs in series.groupby("devices"):
            at = by_devices[int(str(devices))]["test_metric"].to_numpy(float)
            points.append(
                facts
                | {"devices": devices, "runs": len(at), "target": target}
                | Estimate.of(at, int(str(devices))).columns("final_accuracy")
                | _to_target(runs, target, sign, len(at))
                | {"base_devices": min(by_devices)}
                | changes[int(str(devices))]
            )
    return pd.DataFrame(points)


def _changes(
    by_devices: Mapping[int, pd.DataFrame], sign: float, margin: float
) -> dict[int, dict[str, Any]]:
    """What became of the metric at each device count, from a row a run."""
    base = min(by_devices)
    seeds = {devices: by_seed(runs) for devices, runs in by_devices.items()}
    allowed = margin * abs(float(seeds[base].mean()))
    found: dict[int, dict[str, Any]] = {
        base: dict.fromkeys(("change", "change_low", "change_high"), 0.0)
        | {"margin": allowed, "p_margin": np.nan, "p_loss": np.nan, "verdict": "base", "reason": ""}
    }
    others = [devices for devices in sorted(by_devices) if devices > base]
    for devices in others:
        at, alone = seeds[devices], seeds[base]
        paired = at.index.equals(alone.index)
        change = (paired_change if paired else welch_change)(
            sign * at.to_numpy(float), sign * alone.to_numpy(float)
        )
        ends = sorted(sign * float(end) for end in change.interval())
        found[devices] = {
            "change": sign * float(change.gain),
            "change_low": ends[0],
            "change_high": ends[1],
            "margin": allowed,
            "p_margin": float(change.p_above(-allowed)),
            "p_loss": float(change.p_below(0.0)),
            "reason": _unknowable(by_devices[devices], by_devices[base], bool(change.error >= 0)),
        }
    for name in ("p_margin", "p_loss"):
        adjusted = holm(np.array([found[devices][name] for devices in others]))
        for devices, value in zip(others, adjusted, strict=True):
            found[devices][name] = float(value)
    for devices, row in found.items():
        row["mean_accuracy"] = float(seeds[devices].mean())
    for devices in others:
        row = found[devices]
        row["verdict"] = verdict_of(row["p_margin"], row["p_loss"])
    return found


def by_seed(runs: pd.DataFrame) -> "pd.Series[float]":
    """The mean final metric by seed: runs with the same first weights and order of samples are one
    observation, however often they were repeated."""
    return runs.groupby("seed")["test_metric"].mean()


def _unknowable(at: pd.DataFrame, base: pd.DataFrame, known: bool) -> str:
    """Why no interval can be given; empty where one is ``known``."""
    if known:
        return ""
    for runs in (at, base):
        if len(runs) == 1:
            return "a single run does not tell how far runs differ"
        if runs["seed"].nunique() == 1:
            return "all runs have the same seed, so how far seeds differ is not known"
    return (
        f"fewer than {ENOUGH_ALIKE} runs, all of which agree exactly, do not tell how far runs "
        f"differ"
    )


def _to_target(runs: pd.DataFrame, target: float, sign: float, count: int) -> dict[str, float]:
    reached = runs[sign * runs["test_metric"] >= sign * target]
    first = reached.loc[reached.groupby(RUN)["epoch"].idxmin()]
    never = np.full(count - len(first), np.inf)
    # Of no use beside evaluations that were not timed.
    untimed = runs["evaluation_seconds"].isna().any()
    columns: dict[str, float] = {"reached": len(first)}
    for name, column in (
        ("seconds_to_target", "elapsed_seconds"),
        ("seconds_with_evaluation", "seconds_with_evaluation"),
        ("epochs_to_target", "epoch"),
    ):
        values = np.concatenate([first[column].to_numpy(float), never])
        if untimed and name == "seconds_with_evaluation":
            values = np.full(count, np.nan)
        low, high = _ends(values)
        columns |= {name: _median(values), f"{name}_low": low, f"{name}_high": high}
    return columns


def _median(values: Values) -> float:
    """The median, infinite where half of the values are; missing where one is."""
    if np.isnan(values).any():
        return np.nan
    middle = np.sort(values)[[(len(values) - 1) // 2, len(values) // 2]]
    return float(middle[1]) if np.isinf(middle[1]) else float(middle.mean())


def _ends(values: Values) -> tuple[float, float]:
    """The bootstrap interval of a median of values some of which may be infinite; missing of one
    value alone, and where no run reached the target."""
    if len(values) < 2 or np.isinf(values).all() or np.isnan(values).any():
        return np.nan, np.nan
    # Finite and infinite values have no mean, so the upper of the two in the middle stands for it.
    medians = np.sort(values)[middles(0, len(values))[1]]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(medians, [tail, 1 - tail], method="inverted_cdf")
    return float(low), float(high)
