"""Throughput, speedup, efficiency and where the rest went: pure functions, pandas in and out.

A run is one observation. A point is the median over the runs with the same settings, with a 95 %
percentile bootstrap interval that resamples runs (Efron and Tibshirani, 1993, section 13.3).
Speedup and efficiency are ratios of medians, resampled on both sides.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from observations import SERIES, Row

CONFIDENCE = 0.95
RESAMPLES = 2000
# The range of five runs covers the median with 93.75 %, that of six with 96.9 % (Hoefler and
# Belli, SC'15, rule 8), so no 95 % interval without a distribution's shape comes from fewer.
ENOUGH_RUNS = 6
EFFICIENT = 0.8
# Communication efficiency above one by more than this is no noise.
PLAUSIBLE = 1.02
SECONDS_AN_HOUR = 3600

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A median and the bootstrap distribution of medians around it."""

    median: float
    resampled: Values

    @classmethod
    def of(cls, values: Values, seed: int) -> "Estimate":
        """The median of ``values``; one value alone has a distribution of nothing."""
        values = values[np.isfinite(values)]
        if len(values) == 0:
            return cls(np.nan, np.full(RESAMPLES, np.nan))
        if len(values) == 1:
            return cls(float(values[0]), np.full(RESAMPLES, np.nan))
        chosen = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
        return cls(float(np.median(values)), np.median(values[chosen], axis=1))

    def over(self, base: "Estimate") -> "Estimate":
        """The ratio to ``base``; a point over itself is one, without spread."""
        return Estimate(self.median / base.median, self.resampled / base.resampled)

    def times(self, factor: float) -> "Estimate":
        return Estimate(self.median * factor, self.resampled * factor)

    def interval(self) -> tuple[float, float]:
        """The central 95 % of the distribution; missing where there was one run."""
        if not np.isfinite(self.resampled).all():
            return np.nan, np.nan
        tail = (1 - CONFIDENCE) / 2
        low, high = np.quantile(self.resampled, [tail, 1 - tail])
        return float(low), float(high)

    def columns(self, name: str) -> dict[str, float]:
        low, high = self.interval()
        return {name: self.median, f"{name}_low": low, f"{name}_high": high}


def serial_fraction(speedup: float, ratio: float, scaling: str) -> float:
    """The part of the work that did not get faster, from one point; missing at the base.

    ``ratio`` is devices over the base's. Strong scaling: Karp and Flatt's experimentally determined
    serial fraction, (1/S - 1/p) / (1 - 1/p) (CACM 33(5), 1990). Weak scaling: Gustafson's, of
    S = s + (1 - s) p (CACM 31(5), 1988). Negative above ideal.
    """
    if ratio <= 1:
        return np.nan
    if scaling == "weak":
        return (ratio - speedup) / (ratio - 1)
    return (1 / speedup - 1 / ratio) / (1 - 1 / ratio)


def scaling_table(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a point: a series and a device count, from the rows of ``run_table``.

    ``samples_per_second``, ``step_seconds``, ``speedup`` and ``efficiency`` with ``_low`` and
    ``_high``. The base is the series' smallest device count, named in ``base_devices`` with its
    absolute rate; ``serial_efficiency`` is relative to the strategy ``single`` on one device with
    the same settings, where there is one.

    Where the time went, in POP's terms (POP Standard Metrics, EU centre of excellence), from steps
    timed without the exchange: ``load_balance``, mean over slowest rank's compute;
    ``communication_efficiency``, slowest rank's compute over the step;
    ``computation_efficiency``, the base's step over the mean compute for the same work. Their
    product is the efficiency, but for medians being taken of each.

    ``samples_per_joule`` is missing where no energy was counted.

    ``enough_runs`` is false for fewer than six runs.
    """
    serial = _serial_rates(runs)
    points = []
    for key, series in runs.groupby(SERIES, sort=True):
        facts: dict[str, Any] = dict(zip(SERIES, key, strict=True))
        by_devices = {int(str(n)): group for n, group in series.groupby("devices")}
        base = min(by_devices)
        base_rate = _estimate(by_devices[base], "samples_per_second", base)
        base_step = _estimate(by_devices[base], "step_seconds", base).median
        alone = float(by_devices[base]["mean_compute_seconds"].median())
        # A base of several devices exchanges too; its compute is what the others' is held against.
        base_compute = alone if base > 1 and np.isfinite(alone) else base_step
        best_serial = serial.get(_serial_key(facts))
        for devices, group in sorted(by_devices.items()):
            ratio = devices / base
            rate = base_rate if devices == base else _estimate(group, "samples_per_second", devices)
            speedup = rate.over(base_rate)
            mean_compute = float(group["mean_compute_seconds"].median())
            work = 1.0 if facts["scaling"] == "weak" else 1 / ratio
            balance = group["mean_compute_seconds"] / group["compute_seconds"]
            communication = group["compute_seconds"] / group["step_seconds"]
            points.append(
                facts
                | {
                    "devices": devices,
                    "nodes": int(group["nodes"].min()),
                    "runs": len(group),
                    "enough_runs": len(group) >= ENOUGH_RUNS,
                }
                | rate.columns("samples_per_second")
                | _estimate(group, "step_seconds", devices).columns("step_seconds")
                | speedup.columns("speedup")
                | speedup.times(1 / ratio).columns("efficiency")
                | {"base_devices": base, "base_samples_per_second": base_rate.median}
                | _against_serial(rate, best_serial, devices)
                | {
                    "serial_fraction": serial_fraction(speedup.median, ratio, facts["scaling"]),
                    "load_balance": float(balance.median()),
                    "communication_efficiency": float(communication.median()),
                    "computation_efficiency": base_compute * work / mean_compute,
                    "device_hours_per_million_samples": devices * 1e6
                    / (rate.median * SECONDS_AN_HOUR),
                }
                | _estimate(group, "samples_per_joule", devices).columns("samples_per_joule")
            )  # fmt: skip
    return pd.DataFrame(points)


def _estimate(group: pd.DataFrame, column: str, seed: int) -> Estimate:
    return Estimate.of(group[column].to_numpy(float), seed)


# A single device exchanges nothing, so its runs are the base of every way to exchange, and its
# software may lack the packages that only exchange.
_SERIAL_FREE = ("strategy", "exchange", "placement", "software")
_SERIAL = [name for name in SERIES if name not in _SERIAL_FREE]


def _serial_key(facts: dict[str, object]) -> tuple[object, ...]:
    return tuple(facts[name] for name in _SERIAL)


def _serial_rates(runs: pd.DataFrame) -> dict[tuple[object, ...], Estimate]:
    """The rate of ``single`` on one device, by the settings it shares with the others."""
    alone = runs[(runs["strategy"] == "single") & (runs["devices"] == 1)]
    return {
        tuple(key): _estimate(group, "samples_per_second", 1)
        for key, group in alone.groupby(_SERIAL, sort=False)
    }


def _against_serial(rate: Estimate, serial: Estimate | None, devices: int) -> dict[str, float]:
    if serial is None:
        missing = Estimate(np.nan, np.array([np.nan]))
        return {"serial_samples_per_second": np.nan} | missing.columns("serial_efficiency")
    efficiency = rate.over(serial).times(1 / devices)
    return {"serial_samples_per_second": serial.median} | efficiency.columns("serial_efficiency")


def largest_efficient(table: pd.DataFrame) -> pd.DataFrame:
    """Per series the largest device count up to which efficiency stays at 80 % or more."""
    rows = []
    for key, series in table.groupby(SERIES, sort=True):
        ordered = series.sort_values("devices")
        good = ordered[(ordered["efficiency"] >= EFFICIENT).cummin()]
        largest = good.iloc[-1]
        rows.append(
            dict(zip(SERIES, key, strict=True))
            | {
                "devices": int(largest["devices"]),
                "efficiency": largest["efficiency"],
                "largest_measured": int(ordered["devices"].max()),
                "runs": int(largest["runs"]),
            }
        )
    return pd.DataFrame(rows)


def with_failures(table: pd.DataFrame, failed: list[dict[str, Any]]) -> pd.DataFrame:
    """``table`` with a column ``failed``, the runs of each point that did not end well.

    A point none of whose runs did has a row all the same, without numbers.
    """
    counts: dict[tuple[object, ...], int] = {}
    for document in failed:
        config = document.get("config") or {}
        config = config | {"exchange": config.get("exchange") or "none"}
        if config.get("augment", "none") != "none":
            config["input"] = f"{config['input']}, {config['augment']}"
        key = tuple(config.get(name) for name in _POINT_OF_CONFIG)
        if None not in key:
            counts[key] = counts.get(key, 0) + 1
    table = table.assign(failed=0)
    for key, count in counts.items():
        of_point = (table[_POINT_OF_CONFIG] == list(key)).all(axis=1)
        if of_point.any():
            table.loc[of_point.idxmax(), "failed"] = count
            continue
        facts = dict(zip(_POINT_OF_CONFIG, key, strict=True))
        blank = {"runs": 0, "enough_runs": False, "failed": count}
        row = pd.DataFrame([dict.fromkeys(SERIES, "") | facts | blank])
        table = pd.concat([table, row], ignore_index=True)
    return table


# What a run that failed is known by, from its configuration.
_POINT_OF_CONFIG = [
    "model", "dataset", "strategy", "scaling", "devices", "precision", "xla", "input", "exchange",
]  # fmt: skip


def subject(row: Row) -> str:
    """How a sentence names a series: "horovod fc-64"."""
    return f"{row['strategy']} {row['model']}"
