"""The numbers behind the scaling plots: pure functions, pandas in and pandas out.

A run is one observation: its rate is all its samples over all its seconds (a mean of the
intervals' rates would overweight the fast ones; Hoefler and Belli, SC'15, rule 3). A point is
the median over the runs with the same settings, with a 95 % percentile bootstrap interval that
resamples runs. Speedup and efficiency are ratios of medians, resampled on both sides.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

# What has to agree for points to be comparable; the batch is compared by the scaling rule.
SERIES = [
    "model", "dataset", "framework", "strategy", "device_kind", "scaling", "batch",
    "precision", "xla", "input", "exchange",
]  # fmt: skip
CONFIDENCE = 0.95
RESAMPLES = 2000
ENOUGH_RUNS = 6


def with_batch(rows: pd.DataFrame) -> pd.DataFrame:
    """``rows`` with the batch that scaling keeps: per device if weak, over all if strong."""
    kept = rows["batch_per_device"].where(rows["scaling"] == "weak", rows["global_batch"])
    return rows.assign(batch=kept)


def run_rates(throughput: pd.DataFrame) -> pd.DataFrame:
    """One row a run: its series, devices, and ``samples_per_second`` over all its intervals."""
    rows = with_batch(throughput[throughput["phase"] == "train"])
    totals = rows.groupby([*SERIES, "devices", "repeat", "run_id"], as_index=False, observed=True)[
        ["samples", "seconds", "steps"]
    ].sum()
    return totals.assign(
        samples_per_second=totals["samples"] / totals["seconds"],
        step_seconds=totals["seconds"] / totals["steps"],
    )


def resampled_medians(values: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Medians of ``RESAMPLES`` bootstrap samples of ``values``, each as large as ``values``."""
    generator = np.random.default_rng(seed)
    chosen = generator.integers(0, len(values), (RESAMPLES, len(values)))
    return np.asarray(np.median(values[chosen], axis=1))


def interval(resampled: NDArray[np.float64]) -> tuple[float, float]:
    """The central 95 % of a bootstrap distribution (Efron's percentile interval)."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)


def scaling_table(throughput: pd.DataFrame) -> pd.DataFrame:
    """One row a point: rate, step time, speedup and parallel efficiency, with intervals.

    Rates in samples a second, step time in seconds. The base is the series' smallest device
    count, named in ``base_devices`` with its absolute rate; ``enough_runs`` is false for fewer
    than six runs, of which no nonparametric 95 % interval can be had.
    """
    points = []
    for key, series in run_rates(throughput).groupby(SERIES, observed=True, sort=True):
        by_devices = {
            int(str(devices)): runs["samples_per_second"].to_numpy(float)
            for devices, runs in series.groupby("devices")
        }
        base = min(by_devices)
        base_median = float(np.median(by_devices[base]))
        base_medians = resampled_medians(by_devices[base], seed=0)
        for devices, rates in sorted(by_devices.items()):
            medians = base_medians if devices == base else resampled_medians(rates, seed=devices)
            speedups = medians / base_medians
            speedup = float(np.median(rates)) / base_median
            ideal = devices / base
            low, high = interval(medians)
            speedup_low, speedup_high = interval(speedups)
            points.append(
                dict(zip(SERIES, key, strict=True))
                | {
                    "devices": devices,
                    "runs": len(rates),
                    "enough_runs": len(rates) >= ENOUGH_RUNS,
                    "samples_per_second": float(np.median(rates)),
                    "samples_per_second_low": low,
                    "samples_per_second_high": high,
                    "step_seconds": float(
                        series.loc[series["devices"] == devices, "step_seconds"].median()
                    ),
                    "speedup": speedup,
                    "speedup_low": speedup_low,
                    "speedup_high": speedup_high,
                    "efficiency": speedup / ideal,
                    "efficiency_low": speedup_low / ideal,
                    "efficiency_high": speedup_high / ideal,
                    "base_devices": base,
                    "base_samples_per_second": base_median,
                }
            )
    return pd.DataFrame(points)


def accuracy_curves(accuracy: pd.DataFrame) -> pd.DataFrame:
    """One row a series, device count and epoch: medians and range of the runs' test metric."""
    rows = with_batch(accuracy)
    return rows.groupby([*SERIES, "devices", "epoch"], as_index=False, observed=True).agg(
        test_metric=("test_metric", "median"),
        lowest=("test_metric", "min"),
        highest=("test_metric", "max"),
        elapsed_seconds=("elapsed_seconds", "median"),
        runs=("run_id", "nunique"),
    )
