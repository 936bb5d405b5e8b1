"""At what bandwidth gradients travelled, beside what an all-reduce of that size got by itself."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from hpcbench.analysis.collectives import Collectives
from hpcbench.analysis.estimates import Estimate
from hpcbench.analysis.load import POINT
from hpcbench.analysis.machine import weight_bytes
from hpcbench.collective import OPERATIONS
from hpcbench.collective.libraries import LIBRARIES
from hpcbench.collective.rows import SINGLE
from hpcbench.records.identity import RUN


def exchange_table(
    runs: pd.DataFrame, documents: Iterable[dict[str, Any]], measured: Collectives
) -> pd.DataFrame:
    """A row a point whose bare exchange was timed and whose size lies among those that were
    ``measured`` through its library, on as many ranks and nodes of the same kind of device.

    SERIES, ``line``, ``devices``; ``gradient_bytes``; ``exchange_bandwidth``, the bus bandwidth of
    the exchange of a step without its computation, over runs; ``own_bandwidth``, that of an
    all-reduce of that size, between measured sizes on a line in logarithms; in bytes a second; and
    the ``share`` that the first is of the second. Each with ``_low`` and ``_high``; of the share
    these are the quotients of opposite ends, so wider than 95 %.
    """
    parameters = {
        tuple(str(document[name]) for name in RUN): document.get("trainable_parameters")
        for document in documents
        # No all-reduce of 16 bits was measured by itself.
        if document.get("config", {}).get("compression", "none") == "none"
    }
    # By strategy, the library that its gradients travel through.
    libraries = {library.strategy: library.name for library in LIBRARIES}
    rows = []
    timed = runs[runs["bare_exchange_seconds"].notna() & (runs["devices"] > 1)]
    for seed, (key, of_point) in enumerate(timed.groupby(POINT, sort=True)):
        point = dict(zip(POINT, key, strict=True))
        first = of_point.iloc[0]
        weights = parameters.get(tuple(str(first[name]) for name in RUN))
        own = _of_library(measured.points, libraries.get(str(first["strategy"]), ""), first)
        if not weights or own.empty:
            continue
        size = weights * weight_bytes(first["precision"])
        if not own["bytes"].min() <= size <= own["bytes"].max():
            continue
        factor = OPERATIONS["all_reduce"].bus_factor(int(first["devices"]))
        seconds = of_point["bare_exchange_seconds"].to_numpy(np.float64)
        travelled = Estimate.of(factor * size / seconds, seed).columns("exchange_bandwidth")
        reached = {
            f"own_bandwidth{end}": _between(own, f"bus_bandwidth{end}", size)
            for end in ("", "_low", "_high")
        }
        share = {
            f"share{end}": travelled[f"exchange_bandwidth{end}"] / reached[f"own_bandwidth{other}"]
            for end, other in (("", ""), ("_low", "_high"), ("_high", "_low"))
        }
        about = {"line": first["line"], "runs": len(of_point), "gradient_bytes": size}
        rows.append(point | about | travelled | reached | share)
    return pd.DataFrame(rows)


def _of_library(points: pd.DataFrame, library: str, run: pd.Series) -> pd.DataFrame:
    """What all-reduces of a ``run``'s library took on ranks like its own, by growing size."""
    if points.empty:
        return points
    same = (
        (points["library"] == library)
        & (points["operation"] == "all_reduce")
        & (points["form"] == SINGLE)
        & (points["ranks"] == run["devices"])
        & (points["nodes"] == run["nodes"])
        & (points["device_kind"] == run["device_kind"])
    )
    return points[same].sort_values("bytes")


def _between(own: pd.DataFrame, column: str, size: float) -> float:
    sizes, rates = (np.log(own[name].to_numpy(np.float64)) for name in ("bytes", column))
    return float(np.exp(np.interp(np.log(size), sizes, rates)))
