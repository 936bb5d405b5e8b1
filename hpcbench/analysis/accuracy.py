"""Accuracy beside speed: how long to a target, and whether more devices cost accuracy."""

from math import comb

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from hpcbench.analysis.load import RUN, SERIES, Row, facts_of
from hpcbench.analysis.scaling import Estimate
from hpcbench.records.schema import LOWER_IS_BETTER

# What the epochs of an accuracy curve have in common.
CURVE = [*SERIES, "subject", "line", "training", "devices"]
SIGNIFICANT = 0.05


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


def accuracy_table(epochs: pd.DataFrame, asked: float | None = None) -> pd.DataFrame:
    """One row a point: final accuracy, time and epochs to the target, and what devices cost.

    ``seconds_to_target`` is training time from the first measured step to the end of the first
    epoch that reached it, the median over runs with its interval; infinite where half of the runs
    did not. ``reached`` counts those that did. ``change`` is the median final accuracy against that
    of the series' smallest device count, ``p`` the one-sided Mann-Whitney test that it is worse,
    after Holm's correction for the number of points compared; ``verdict`` says it in words.
    """
    if epochs.empty:
        return pd.DataFrame()
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
        smallest = ends["devices"].min()
        base = ends[ends["devices"] == smallest]["test_metric"].to_numpy(float)
        for devices, runs in series.groupby("devices"):
            at = ends[ends["devices"] == devices]["test_metric"].to_numpy(float)
            final = Estimate.of(at, int(str(devices)))
            points.append(
                facts
                | {"devices": devices, "runs": len(at), "target": target}
                | final.columns("final_accuracy")
                | _to_target(runs, target, sign, len(at))
                | {
                    "base_devices": smallest,
                    "change": final.median - float(np.median(base)),
                    "p": np.nan if devices == smallest else _lower(sign * at, sign * base),
                    "least_p": 1 / comb(len(at) + len(base), len(at)),
                }
            )
    table = pd.DataFrame(points)
    tested = table["p"].notna()
    if tested.any():
        table.loc[tested, "p"] = _holm(table.loc[tested, "p"].to_numpy(float))
        # Where not even the clearest order would have been significant, nothing was tested.
        table.loc[tested & (table["least_p"] * tested.sum() >= SIGNIFICANT), "p"] = np.nan
    table = table.drop(columns="least_p")
    return table.assign(verdict=[_verdict(row) for row in table.to_dict("records")])


def _to_target(runs: pd.DataFrame, target: float, sign: float, count: int) -> dict[str, float]:
    reached = runs[sign * runs["test_metric"] >= sign * target]
    first = reached.loc[reached.groupby(RUN)["epoch"].idxmin()]
    missing = np.full(count - len(first), np.inf)
    seconds = np.concatenate([first["elapsed_seconds"].to_numpy(float), missing])
    epochs = np.concatenate([first["epoch"].to_numpy(float), missing])
    columns = (
        Estimate.of(seconds, 0).columns("seconds_to_target")
        if not len(missing)
        else {
            "seconds_to_target": _median(seconds),
            "seconds_to_target_low": np.nan,
            "seconds_to_target_high": np.nan,
        }
    )
    return {"reached": len(first)} | columns | {"epochs_to_target": _median(epochs)}


def _median(values: NDArray[np.float64]) -> float:
    """The median, infinite where half of the values are."""
    middle = np.sort(values)[[(len(values) - 1) // 2, len(values) // 2]]
    return float(middle[1]) if np.isinf(middle[1]) else float(middle.mean())


def _lower(at: NDArray[np.float64], base: NDArray[np.float64]) -> float:
    """The chance of seeing metrics this much worse if devices cost nothing."""
    return float(stats.mannwhitneyu(at, base, alternative="less").pvalue)


def _holm(values: NDArray[np.float64]) -> list[float]:
    """Holm's step-down correction (Scandinavian Journal of Statistics 6, 1979)."""
    order = np.argsort(values)
    stepped = np.maximum.accumulate(values[order] * (len(values) - np.arange(len(values))))
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(stepped, 1)
    return list(adjusted)


def _verdict(row: Row) -> str:
    if row["devices"] == row["base_devices"]:
        return "base"
    p = float(row["p"])
    if np.isnan(p):
        return "too few runs to tell"
    return "worse" if p < SIGNIFICANT else "no loss seen"
