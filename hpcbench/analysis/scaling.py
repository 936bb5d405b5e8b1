"""Throughput, speedup, efficiency and where the rest went: pure functions, pandas in and out.

A run is one observation. A point is the median over the runs with the same settings, with a 95 %
percentile bootstrap interval that resamples runs (Efron and Tibshirani, 1993, section 13.3).

Speedup and efficiency compare two points. Where repeats were blocks (all counts of a repeat ran
before the next repeat began, or in one allocation) they come from the ratios within each repeat, in
which whatever slowed the whole repeat cancels: their geometric mean (Fleming and Wallace, CACM
29(3), 1986) with Student's interval on the logarithms. Where they were not, they are ratios of
medians, resampled on both sides.
"""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from hpcbench.analysis.load import SERIES, facts_of, options_of, with_names
from hpcbench.records.identity import OF_CONFIGURATION
from hpcbench.records.upgrade import identity_of

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


@dataclass(frozen=True)
class Ratio:
    """A ratio of two points, with its interval; missing ends where there was one run."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Ratio":
        return Ratio(self.value * factor, self.low * factor, self.high * factor)

    def columns(self, name: str) -> dict[str, float]:
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


def in_blocks(runs: pd.DataFrame) -> bool:
    """Whether the runs of a repeat had something in common: no run of another repeat began between
    them, or a scheduler's allocation was theirs alone.

    Columns ``sweep``, ``repeat``, ``started`` and ``allocation``; what is not known is no reason.
    """
    return _one_after_another(runs) or _each_in_one_allocation(runs)


def _one_after_another(runs: pd.DataFrame) -> bool:
    if not known(runs, "started"):
        return False
    ordered = runs.sort_values("started")
    block = ordered["sweep"] + " " + ordered["repeat"].astype(str)
    return int((block != block.shift()).sum()) == block.nunique()


def _each_in_one_allocation(runs: pd.DataFrame) -> bool:
    if not known(runs, "allocation"):
        return False
    repeats = runs[["sweep", "repeat", "allocation"]].drop_duplicates()
    return not repeats.duplicated(["sweep", "repeat"]).any()


def known(runs: pd.DataFrame, column: str) -> bool:
    """Whether all of ``runs`` say when they started, or in which allocation they ran."""
    return column in runs and not (runs[column].fillna("") == "").any()


def rate_ratio(at: pd.DataFrame, base: pd.DataFrame, seeds: tuple[int, int]) -> Ratio:
    """How much faster the runs ``at`` are than those of ``base``, a row a run.

    Paired within repeats where both have the same ones and these were blocks. ``seeds`` are of the
    resampling where they were not.
    """
    keys = ["sweep", "repeat"]
    pairs = at.merge(base, on=keys, suffixes=("", "_base"))
    whole = len(pairs) == len(at) == len(base) == len(at[keys].drop_duplicates())
    if not whole or len(pairs) < 2 or not in_blocks(pd.concat([at, base])):
        first, second = (
            _estimate(group, "samples_per_second", seed)
            for group, seed in zip((at, base), seeds, strict=True)
        )
        ratio = first.over(second)
        return Ratio(ratio.median, *ratio.interval())
    rates, bases = (
        pairs[name].to_numpy(float) for name in ("samples_per_second", "samples_per_second_base")
    )
    logs = np.log(rates / bases)
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(logs) - 1) * stats.sem(logs)
    low, value, high = np.exp(logs.mean() + np.array([-half, 0, half]))
    return Ratio(float(value), float(low), float(high))


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
    product is the efficiency, but for medians being taken of each. All have ``_low`` and ``_high``.

    ``samples_per_joule`` is missing where no energy was counted.

    ``enough_runs`` is false for fewer than six runs.
    """
    serial = _serial_runs(runs)
    points = []
    for key, series in runs.groupby(SERIES, sort=True):
        facts = facts_of(key, series)
        by_devices = {int(str(n)): group for n, group in series.groupby("devices")}
        base = min(by_devices)
        base_rate = _estimate(by_devices[base], "samples_per_second", base)
        base_step = _estimate(by_devices[base], "step_seconds", base)
        alone = _estimate(by_devices[base], "mean_compute_seconds", base)
        # A base of several devices exchanges too; its compute is what the others' is held against.
        base_compute = alone if base > 1 and np.isfinite(alone.median) else base_step
        best_serial = serial.get(_serial_key(facts))
        for devices, group in sorted(by_devices.items()):
            ratio = devices / base
            rate = base_rate if devices == base else _estimate(group, "samples_per_second", devices)
            if devices == base:
                own = rate.over(rate)
                speedup = Ratio(own.median, *own.interval())
            else:
                speedup = rate_ratio(group, by_devices[base], (devices, base))
            mean_compute = _estimate(group, "mean_compute_seconds", devices)
            work = 1.0 if facts["scaling"] == "weak" else 1 / ratio
            balance = group["mean_compute_seconds"] / group["compute_seconds"]
            communication = group["compute_seconds"] / group["step_seconds"]
            # Less speedup is more of a serial part.
            least, serial_part, most = (
                serial_fraction(value, ratio, facts["scaling"])
                for value in (speedup.high, speedup.value, speedup.low)
            )
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
                | _against_serial(group, best_serial, devices)
                | Ratio(serial_part, least, most).columns("serial_fraction")
                | Estimate.of(balance.to_numpy(float), devices).columns("load_balance")
                | Estimate.of(communication.to_numpy(float), devices).columns(
                    "communication_efficiency"
                )
                | base_compute.times(work).over(mean_compute).columns("computation_efficiency")
                | {
                    "device_hours_per_million_samples": devices
                    * 1e6
                    / (rate.median * SECONDS_AN_HOUR),
                }
                | _estimate(group, "samples_per_joule", devices).columns("samples_per_joule")
            )
    return pd.DataFrame(points)


def _estimate(group: pd.DataFrame, column: str, seed: int) -> Estimate:
    return Estimate.of(group[column].to_numpy(float), seed)


# A single device exchanges nothing, so its runs are the base of every way to exchange, and its
# software may lack the packages that only exchange.
_SERIAL_FREE = ("strategy", "exchange", "placement", "software")
_SERIAL = [name for name in SERIES if name not in _SERIAL_FREE]


def _serial_key(facts: dict[str, object]) -> tuple[object, ...]:
    return tuple(facts[name] for name in _SERIAL)


def _serial_runs(runs: pd.DataFrame) -> dict[tuple[object, ...], pd.DataFrame]:
    """The runs of ``single`` on one device, by the settings it shares with the others."""
    alone = runs[(runs["strategy"] == "single") & (runs["devices"] == 1)]
    return {tuple(key): group for key, group in alone.groupby(_SERIAL, sort=False)}


def _against_serial(
    group: pd.DataFrame, serial: pd.DataFrame | None, devices: int
) -> dict[str, float]:
    if serial is None:
        missing = Ratio(np.nan, np.nan, np.nan)
        return {"serial_samples_per_second": np.nan} | missing.columns("serial_efficiency")
    median = float(serial["samples_per_second"].median())
    # Of single itself: a point over itself is one, without spread. Another point on one device is
    # resampled from another seed, or its runs would be paired by their place in the table.
    same = set(serial["run_id"]) == set(group["run_id"])
    ratio = Ratio(1.0, 1.0, 1.0) if same else rate_ratio(group, serial, (devices, 0))
    efficiency = ratio.times(1 / devices)
    return {"serial_samples_per_second": median} | efficiency.columns("serial_efficiency")


def largest_efficient(table: pd.DataFrame) -> pd.DataFrame:
    """Per series the largest device count up to which efficiency stays at 80 % or more."""
    rows = []
    for key, series in table.groupby(SERIES, sort=True):
        ordered = series.sort_values("devices")
        good = ordered[(ordered["efficiency"] >= EFFICIENT).cummin()]
        largest = good.iloc[-1]
        rows.append(
            facts_of(key, series)
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
    counts = Counter(filter(None, map(_point_of, failed)))
    table = table.assign(failed=0)
    for key, count in counts.items():
        of_point = (table[_POINT] == list(key)).all(axis=1)
        if of_point.any():
            table.loc[of_point.idxmax(), "failed"] = count
            continue
        facts = dict(zip(_POINT, key, strict=True))
        blank = {"runs": 0, "enough_runs": False, "failed": count}
        row = pd.DataFrame([dict.fromkeys(SERIES, "") | facts | blank])
        table = pd.concat([table, row], ignore_index=True)
    return with_names(table)


# What a run that failed before it started is known by too: all but the machine and its software.
_KNOWN = (*OF_CONFIGURATION, "dataset", "batch", "options", "sweeps")
_POINT = [*(name for name in SERIES if name in _KNOWN), "devices"]


def _point_of(document: dict[str, Any]) -> tuple[Any, ...] | None:
    """The point of a run that failed; None where its run.json does not say enough."""
    identity = identity_of(document)
    if identity is None:
        return None
    weak = identity.scaling == "weak"
    batch = identity.batch_per_device if weak else identity.global_batch
    facts = asdict(identity) | {
        "batch": batch,
        "options": options_of(document),
        "sweeps": identity.sweep,
    }
    return tuple(facts[name] for name in _POINT)
