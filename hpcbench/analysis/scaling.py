"""Throughput, speedup, efficiency and where the rest went: pure functions, pandas in and out.

A point is the median over runs (:mod:`hpcbench.analysis.estimates`); speedup and efficiency compare
two points (:mod:`hpcbench.analysis.pairing`).
"""

from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from hpcbench.analysis.estimates import ENOUGH_RUNS, Estimate, Ratio
from hpcbench.analysis.load import MIXED, POINT, SERIES, facts_of, options_of, software, with_names
from hpcbench.analysis.machine import machine_columns
from hpcbench.analysis.pairing import rate_ratio, run_ratios
from hpcbench.records.identity import UNKNOWN
from hpcbench.records.upgrade import identity_of

EFFICIENT = 0.8
_EFFICIENCY = ("efficiency", "efficiency_low", "efficiency_high")
# Communication efficiency above one by more than this is no noise.
PLAUSIBLE = 1.02
SECONDS_AN_HOUR = 3600
# What of a rank's compute was timed apart, on one device too.
WITHIN_COMPUTE = ("input_seconds", "background_seconds")
# A serial part below this is none.
ROUNDED = 1e-12
# Parts of a program's step, by what they take longer than on the base.
OF_PROGRAMS = {
    "extra_data": "data_seconds",
    "extra_forward": "forward_seconds",
    "extra_backward": "backward_seconds",
    "extra_waiting": "waited_seconds",
    "extra_exchange": "exposed_seconds",
}


def serial_fraction(speedup: float, ratio: float, scaling: str) -> float:
    """The part of the work that did not get faster, from one point; missing at the base.

    ``ratio`` is devices over the base's. Strong scaling: Karp and Flatt's experimentally determined
    serial fraction, (1/S - 1/p) / (1 - 1/p) (CACM 33(5), 1990). Weak scaling: Gustafson's, of
    S = s + (1 - s) p (CACM 31(5), 1988). Negative above ideal.
    """
    if ratio <= 1:
        return np.nan
    part = (
        (ratio - speedup) / (ratio - 1)
        if scaling == "weak"
        else (1 / speedup - 1 / ratio) / (1 - 1 / ratio)
    )
    # What rounding leaves of nothing.
    return 0.0 if abs(part) < ROUNDED else part


def scaling_table(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a point: a series and a device count, from the rows of ``run_table``.

    ``samples_per_second``, ``step_seconds``, ``speedup`` and ``efficiency`` with ``_low`` and
    ``_high``. The base is the series' smallest device count, named in ``base_devices`` with its
    absolute rate; ``serial_efficiency`` is relative to the strategy ``single`` on one device with
    the same settings, where there is one.

    Where the time went, in POP's terms (POP Standard Metrics, EU centre of excellence), from steps
    timed without the exchange: ``load_balance``, mean over slowest rank's compute, missing where
    one process timed all devices together;
    ``communication_efficiency``, slowest rank's compute over the step, the product of
    ``serialization_efficiency`` (the same over a step in which ranks wait for each other and
    exchange nothing) and ``transfer_efficiency`` (such a step over the step);
    ``computation_efficiency``, the base's step over the mean compute for the same work. Their
    product over the product at the base, which is one for a base of one device, is the efficiency,
    but for medians being taken of each. In seconds of a step:
    ``base_compute_seconds``, the same work on the base; ``loss_seconds``, the step beyond that, and
    ``loss_share`` of the step; ``extra_input_seconds``, what a typical rank's samples take longer
    to come than on the base; ``extra_background_seconds``, what its own threads that work unasked
    took more of its cores; ``contention_seconds``, what compute takes
    longer when all devices of a host compute than when one does; ``extra_compute_seconds``, what
    else the compute of a typical rank takes, the median one or the faster of two;
    ``waiting_seconds``, a step in which ranks wait for each other beyond that rank's and its
    background threads;
    ``exchange_seconds``, the step beyond that, and ``hidden_exchange_seconds``, what more the
    exchange takes by itself. Medians of these but the last add up nearly to the step.
    Of programs nothing of this is known but what of :data:`OF_PROGRAMS` was seen, each beyond the
    base's, as ``extra_data_seconds``, and ``rest_seconds``, what else the step takes longer. Runs
    before schema 4 were timed less closely: the typical rank is the mean of all, contention is
    missing and part of extra compute, and waiting within a step part of the exchange; before
    schema 5 input and background are missing, and part of extra compute and of contention.

    ``device_hours_per_million_samples`` is the devices' time. ``samples_per_joule`` is missing
    where no energy was counted. All of these have ``_low`` and ``_high`` too.

    What a device computes and has of memory is as :func:`hpcbench.analysis.machine.machine_columns`
    tells.

    ``enough_runs`` is false for fewer than six runs; ``base_runs`` are those of the base.
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
        within_base = {name: _estimate(by_devices[base], name, base) for name in WITHIN_COMPUTE}
        best_serial = serial.get(_serial_key(facts))
        for devices, group in sorted(by_devices.items()):
            ratio = devices / base
            rate = base_rate if devices == base else _estimate(group, "samples_per_second", devices)
            # A point over itself is one, without spread.
            speedup = (
                Ratio.of(rate.over(rate))
                if devices == base
                else rate_ratio(group, by_devices[base], (devices, base))
            )
            work = 1.0 if facts["scaling"] == "weak" else 1 / ratio
            # Less speedup is more of a serial part.
            least, serial_part, most = (
                serial_fraction(value, ratio, facts["scaling"])
                for value in (speedup.high, speedup.value, speedup.low)
            )
            hours = Ratio.of(rate).inverse(devices * 1e6 / SECONDS_AN_HOUR)
            points.append(
                facts
                | {
                    "devices": devices,
                    "nodes": int(group["nodes"].min()),
                    "runs": len(group),
                    "enough_runs": len(group) >= ENOUGH_RUNS,
                    "base_runs": len(by_devices[base]),
                }
                | rate.columns("samples_per_second")
                | _estimate(group, "step_seconds", devices).columns("step_seconds")
                | speedup.columns("speedup")
                | speedup.times(1 / ratio).columns("efficiency")
                | {"base_devices": base, "base_samples_per_second": base_rate.median}
                | _against_serial(group, best_serial, devices)
                | Ratio(serial_part, least, most).columns("serial_fraction")
                | _parts(
                    group,
                    base_compute.times(work),
                    {name: value.times(work) for name, value in within_base.items()},
                    devices,
                )
                | _of_program(group, by_devices[base], work, (devices, base))
                | _rest(group, by_devices[base], work, (devices, base)).columns("rest_seconds")
                | machine_columns(group, rate, devices)
                | hours.columns("device_hours_per_million_samples")
                | _estimate(group, "samples_per_joule", devices).columns("samples_per_joule")
            )
    return pd.DataFrame(points)


def with_speedups(runs: pd.DataFrame) -> pd.DataFrame:
    """``runs`` with ``speedup`` and ``efficiency`` of each, as its point's are estimated from them
    (:func:`hpcbench.analysis.pairing.run_ratios`); at the base both are one."""
    speedup, base = pd.Series(1.0, runs.index), pd.Series(1, runs.index)
    for _, series in runs.groupby(SERIES, sort=False):
        by_devices = {int(str(n)): group for n, group in series.groupby("devices")}
        base[series.index] = min(by_devices)
        alone = by_devices.pop(min(by_devices))
        for group in by_devices.values():
            speedup[group.index] = run_ratios(group, alone)
    return runs.assign(speedup=speedup, efficiency=speedup * base / runs["devices"])


def _parts(
    group: pd.DataFrame, base_compute: Estimate, within_base: dict[str, Estimate], devices: int
) -> dict[str, float]:
    """Where the time of one point's steps went, as factors and in seconds."""
    step, slowest, mean, contention = (
        group[f"{name}_seconds"] for name in ("step", "compute", "mean_compute", "contention")
    )
    of_ranks, bare = group["rank_compute_seconds"], group["bare_exchange_seconds"]
    typical = group["typical_compute_seconds"].fillna(mean)
    # As steps would be if the exchange cost nothing: those in which ranks only meet, less what
    # meeting costs by itself. Within a step it can cost less (Horovod's cycle passes while ranks
    # compute), but no step in which ranks meet ends before the slowest. Asked of the medians: run
    # by run, noise would count as waiting. Runs before schema 4 have none such steps: their waiting
    # within steps is exchange.
    background = group["background_seconds"].fillna(0)
    met = group["met_seconds"] - group["latency_seconds"]
    if (met - slowest).median() < 0:
        met = slowest
    # Background threads take as much of it as of training.
    ideal = met + background
    ideal_or_free = ideal.fillna(slowest + background)
    exchange = step - ideal_or_free
    compute = Estimate.of(mean.to_numpy(float), devices)
    undisturbed, base_undisturbed = typical - contention.fillna(0), base_compute
    extra = {}
    for name, of_base in within_base.items():
        extra[name] = _estimate(group, name, devices).less(of_base)
        # What only one of both knows of stays within the compute of either.
        if np.isfinite(extra[name].median):
            base_undisturbed = base_undisturbed.less(of_base)
    if np.isfinite(extra["input_seconds"].median):
        undisturbed = undisturbed - group["input_seconds"]
    of_runs = {
        "load_balance": of_ranks / slowest,
        "communication_efficiency": slowest / step,
        "serialization_efficiency": slowest / ideal,
        "transfer_efficiency": ideal / step,
        "contention_seconds": contention,
        "waiting_seconds": ideal_or_free - typical - background,
        "exchange_seconds": exchange,
        "hidden_exchange_seconds": (bare - exchange).clip(lower=0),
    }
    of_points = {
        "computation_efficiency": base_compute.over(compute),
        "base_compute_seconds": base_compute,
        "extra_compute_seconds": Estimate.of(undisturbed.to_numpy(float), devices).less(
            base_undisturbed
        ),
    }
    of_points |= {f"extra_{name}": value for name, value in extra.items()}
    whole = Estimate.of(step.to_numpy(float), devices)
    of_points |= {
        "loss_seconds": whole.less(base_compute),
        "loss_share": base_compute.over(whole).others(),
    }
    estimates = {
        name: Estimate.of(values.to_numpy(float), devices) for name, values in of_runs.items()
    } | of_points
    return {
        column: value
        for name, estimate in estimates.items()
        for column, value in estimate.columns(name).items()
    }


def _estimate(group: pd.DataFrame, column: str, seed: int) -> Estimate:
    return Estimate.of(group[column].to_numpy(float), seed)


def _of_program(
    group: pd.DataFrame, base: pd.DataFrame, work: float, seeds: tuple[int, int]
) -> dict[str, float]:
    """What each part of a program's step takes longer than the base's."""
    found = dict[str, float]()
    for name, column in OF_PROGRAMS.items():
        of_base = _estimate(base, column, seeds[1]).times(work)
        found |= _estimate(group, column, seeds[0]).less(of_base).columns(f"{name}_seconds")
    return found


def _rest(group: pd.DataFrame, base: pd.DataFrame, work: float, seeds: tuple[int, int]) -> Estimate:
    """What a program's step takes longer than the base's beside what both know the parts of."""
    known = [
        name
        for name in OF_PROGRAMS.values()
        if group[name].notna().any() and base[name].notna().any()
    ]
    if not known:
        return Estimate.of(np.array([]), 0)
    of_group, of_base = (
        Estimate.of(
            (runs["step_seconds"] - runs[known].sum(axis=1, skipna=False)).to_numpy(float), seed
        )
        for runs, seed in zip((group, base), seeds, strict=True)
    )
    return of_group.less(of_base.times(work))


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
    """Per series the largest device count up to which efficiency stays at 80 % or more.

    ``devices`` by the medians, with the ``efficiency`` there and its interval; ``surely`` by the
    intervals: the largest count up to which each lies wholly above 80 %, missing where no count
    beyond the base has an interval. Looking at one count after the other, up to the first that is
    not told, needs no correction for their number (a fixed sequence: Maurer, Hothorn and Lehmacher,
    in Biometrie in der chemisch-pharmazeutischen Industrie 6, 1995).
    """
    rows = []
    for key, series in table.groupby(SERIES, sort=True):
        ordered = series.sort_values("devices")
        is_base = ordered["devices"] == ordered["base_devices"]
        largest = ordered[(ordered["efficiency"] >= EFFICIENT).cummin()].iloc[-1]
        sure = ordered[(is_base | (ordered["efficiency_low"] > EFFICIENT)).cummin()].iloc[-1]
        told = ordered["efficiency_low"][~is_base].notna().any()
        rows.append(
            facts_of(key, series)
            | {
                "devices": int(largest["devices"]),
                "surely": int(sure["devices"]) if told else np.nan,
                **{name: largest[name] for name in _EFFICIENCY},
                "largest_measured": int(ordered["devices"].max()),
                "runs": int(largest["runs"]),
            }
        )
    return pd.DataFrame(rows)


def with_failures(table: pd.DataFrame, failed: list[dict[str, Any]]) -> pd.DataFrame:
    """``table`` with a column ``failed``, the runs of each point that did not end well.

    A point none of whose runs did has a row all the same, without numbers. So have runs that failed
    before they could say on which machine, where points of several would fit.
    """
    table = table.assign(failed=0)
    # Those that know their machine first: the others may find their point then.
    counts = sorted(
        Counter(filter(None, map(_point_of, failed))).items(), key=lambda item: item[0].count("")
    )
    for key, count in counts:
        facts = dict(zip(POINT, key, strict=True))
        fitting = table.index[_fits(table, facts)]
        if len(fitting) == 1:
            table.loc[fitting[0], "failed"] += count
            continue
        blank = {"runs": 0, "enough_runs": False, "failed": count}
        table = pd.concat([table, pd.DataFrame([facts | blank])], ignore_index=True)
    return with_names(table)


# What a run that failed before it started does not know of itself; its placement depends on what
# other runs there are.
_MACHINE = ("device_kind", "cpu_math", "placement", "software")


def _fits(table: pd.DataFrame, facts: dict[str, Any]) -> "pd.Series[bool]":
    """Which points a run may be of. What it does not know of its machine fits anything; values that
    were put together fit each of theirs."""
    fits = pd.Series(True, table.index)
    for name, value in facts.items():
        if name not in _MACHINE or value:
            fits &= table[name].map(lambda of, v=value: of == v or str(v) in str(of).split(MIXED))
    return fits


def _point_of(document: dict[str, Any]) -> tuple[Any, ...] | None:
    """The point of a run that failed, "" being what is not known; None where its run.json does not
    say enough."""
    identity = identity_of(document)
    if identity is None:
        return None
    weak = identity.scaling == "weak"
    known = {
        name: "" if value == UNKNOWN and name in _MACHINE else value
        for name, value in asdict(identity).items()
    }
    facts = known | {
        "batch": identity.batch_per_device if weak else identity.global_batch,
        "options": options_of(document),
        "sweeps": identity.sweep,
        "placement": "",
        "software": software(document),
    }
    return tuple(facts[name] for name in POINT)
