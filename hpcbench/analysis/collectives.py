"""Collective operations as points: time and bandwidth by size, and the line through the times."""

import math
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize

from hpcbench.analysis.estimates import ENOUGH_RUNS, Estimate, Values, quantile
from hpcbench.collective import OPERATIONS
from hpcbench.collective.rows import POINT_COLUMNS, SINGLE, read_collectives

# What a line in a figure is of.
LINE = [name for name in POINT_COLUMNS if name not in ("operation", "bytes", "model")]
# Half the width, in logarithms, of an interval that still tells something: up and down by ten.
WIDEST = math.log(10)
# Sizes through which a line is drawn at least.
FEWEST_SIZES = 5


@dataclass(frozen=True)
class Collectives:
    """What :func:`collective_points` and :func:`linear_fits` make of measured operations, both may
    be empty; what is known of each launch, by its name, and a sentence for each file left out."""

    points: pd.DataFrame = field(default_factory=pd.DataFrame)
    fits: pd.DataFrame = field(default_factory=pd.DataFrame)
    launches: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    @classmethod
    def below(cls, folder: Path) -> "Collectives":
        """All that was measured below ``folder``."""
        measured = read_collectives(folder)
        if measured.rows.empty:
            return cls(skipped=measured.skipped)
        points = collective_points(measured.rows)
        return cls(points, linear_fits(points), measured.launches, measured.skipped)


def collective_points(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a point (``POINT_COLUMNS`` of the rows' file) with ``seconds`` of an operation, the
    median, and its interval (``_low``, ``_high``): over ``launches`` where there are several, else
    over the ``rounds`` of the only one; missing where these are fewer than ENOUGH_RUNS.
    ``algorithm_bandwidth`` and ``bus_bandwidth`` in bytes a second, the latter with its interval.
    """
    found = []
    for seed, (key, timings) in enumerate(rows.groupby(POINT_COLUMNS, sort=True)):
        point: dict[str, Any] = dict(zip(POINT_COLUMNS, key, strict=True))
        launches = timings.groupby("launch")["seconds"].median()
        of_one = timings["seconds"] if len(launches) == 1 else launches
        estimate = Estimate.of(of_one.to_numpy(np.float64), seed)
        factor = OPERATIONS[point["operation"]].bus_factor(point["ranks"])
        low, high = estimate.interval() if len(of_one) >= ENOUGH_RUNS else (np.nan, np.nan)
        found.append(
            point
            | {
                "seconds": estimate.median,
                "seconds_low": low,
                "seconds_high": high,
                "algorithm_bandwidth": point["bytes"] / estimate.median,
                "bus_bandwidth": factor * point["bytes"] / estimate.median,
                "bus_bandwidth_low": factor * point["bytes"] / high,
                "bus_bandwidth_high": factor * point["bytes"] / low,
                "tensors": int(timings["tensors"].iloc[0]),
                "rounds": len(timings),
                "launches": len(launches),
            }
        )
    return pd.DataFrame(found)


def linear_fits(points: pd.DataFrame) -> pd.DataFrame:
    """Hockney's line, seconds = latency + bytes / bandwidth, through the points of single buffers:
    a row for each operation of a library, a rank count and a kind of device that has FEWEST_SIZES.

    ``latency`` (seconds) and ``bandwidth`` (bytes a second) with 95 % intervals (Student's t on
    their logarithms) by least squares on relative errors, each size as one observation, so that
    intervals hold how badly a line fits; ``misfit`` is that error's root mean square. Of all_reduce
    also what a message costs and a link carries if it goes around a ring, 2(p-1) messages of a pth
    part, or up and down a binomial tree, 2 ceil(log2 p) messages of all bytes (Thakur, Rabenseifner
    and Gropp, 2005, sections 3 and 4.5): ``ring_latency``, ``ring_bandwidth``, ``tree_latency``,
    ``tree_bandwidth``. One rank count cannot tell which of both it is.
    """
    single = points[points["form"] == SINGLE]
    found = []
    for key, sizes in single.groupby([*LINE, "operation"], sort=True):
        line = dict(zip([*LINE, "operation"], key, strict=True))
        fit = _fit(sizes) if len(sizes) >= FEWEST_SIZES else None
        if fit:
            found.append(line | fit | {"sizes": len(sizes)})
    fits = pd.DataFrame(found)
    return fits.apply(_with_models, axis=1) if len(fits) else fits


def _fit(sizes: pd.DataFrame) -> dict[str, float] | None:
    """None where the times do not tell latency from bandwidth."""
    size = sizes["bytes"].to_numpy(np.float64)
    logs = np.log(sizes["seconds"].to_numpy(np.float64))

    def line(x: Values, latency: float, per_byte: float) -> Values:
        return np.asarray(np.logaddexp(latency, per_byte + np.log(x)))

    start = logs.min(), float(logs[np.argmax(size)] - np.log(size.max()))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", optimize.OptimizeWarning)
            fitted, covariance = optimize.curve_fit(line, size, logs, p0=start)
    except (RuntimeError, optimize.OptimizeWarning):
        return None
    free = len(size) - 2
    wide = quantile(free) * np.sqrt(np.diag(covariance))
    if not (wide < WIDEST).all():
        return None
    latency, per_byte = fitted
    residuals = logs - line(size, latency, per_byte)
    return {
        "latency": math.exp(latency),
        "latency_low": math.exp(latency - wide[0]),
        "latency_high": math.exp(latency + wide[0]),
        "bandwidth": math.exp(-per_byte),
        "bandwidth_low": math.exp(-per_byte - wide[1]),
        "bandwidth_high": math.exp(-per_byte + wide[1]),
        "misfit": float(np.sqrt((residuals**2).sum() / free)),
    }


def _with_models(fit: pd.Series) -> pd.Series:
    ranks = int(fit["ranks"])
    if fit["operation"] != "all_reduce":
        return fit
    ring, tree = 2 * (ranks - 1), 2 * math.ceil(math.log2(ranks))
    models = {
        "ring_latency": fit["latency"] / ring,
        "ring_bandwidth": fit["bandwidth"] * ring / ranks,
        "tree_latency": fit["latency"] / tree,
        "tree_bandwidth": fit["bandwidth"] * tree,
    }
    return pd.concat([fit, pd.Series(models)])
