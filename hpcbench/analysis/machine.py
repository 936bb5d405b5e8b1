"""How much of the machine training uses: operations a second, as a share of what a device can do,
and memory.

Operations are those of matrix products and convolutions that a framework computes for a sample, a
multiplication and an addition as two: model FLOPs, whose share of the peak is the MFU (Chowdhery et
al., PaLM, 2022, section 4.1). What a device can do is what its vendor says (dense), or what
products of matrices reached here (``hpcbench calibrate``).
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from hpcbench.analysis.estimates import Estimate
from hpcbench.devices.peaks import vendor_teraflops

# Schema 1 counted the gradient of a network's input, which nobody computes.
FIRST_COUNTED_SCHEMA = 2
TERA, GIB = 1e12, 2**30
TOKENS = "tokens_per_second"
# Columns of a point, each with _low and _high.
RATE, OF_CALIBRATED, OF_VENDOR = "teraflops", "share_of_calibrated", "share_of_vendor"
KNOWN = [
    *("flops_per_sample", "tokens_per_sample", "memory_gib"),
    *("calibrated_teraflops", "vendor_teraflops"),
]


def work_of(document: Mapping[str, Any]) -> dict[str, float]:
    """Of a run.json: ``flops_per_sample``, ``tokens_per_sample``, and ``memory_gib``, the most that
    a process had; nan where it does not say."""
    counted = document.get("schema_version", 1) >= FIRST_COUNTED_SCHEMA
    flops = document.get("flops_per_sample") if counted else None
    memory = document.get("peak_memory_bytes")
    return {
        "flops_per_sample": float(flops) if flops else math.nan,
        "tokens_per_sample": float(document.get("tokens_per_sample") or math.nan),
        "memory_gib": memory / GIB if memory else math.nan,
    }


def calibrated_teraflops(
    calibrations: Iterable[Mapping[str, Any]], device_kind: str, precision: str
) -> float:
    """The most that any calibration of such a device reached, in TFLOP/s; nan where none is."""
    found = [
        product["teraflops"]
        for calibration in calibrations
        if calibration["device_kind"] == device_kind
        for product in calibration["products"]
        if product["precision"] == precision
    ]
    return max(found, default=math.nan)


def with_peaks(runs: pd.DataFrame, calibrations: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """``runs`` with the peaks of their devices in TFLOP/s, ``calibrated_teraflops`` and
    ``vendor_teraflops``."""
    calibrations = list(calibrations)
    names = (runs[name].astype(str) for name in ("device_kind", "precision"))
    keys = list(zip(*names, strict=True))
    calibrated = {key: calibrated_teraflops(calibrations, *key) for key in set(keys)}
    vendors = {key: vendor_teraflops(*key) for key in set(keys)}
    return runs.assign(
        calibrated_teraflops=[calibrated[key] for key in keys],
        vendor_teraflops=[vendors[key] for key in keys],
    )


def machine_columns(group: pd.DataFrame, rate: Estimate, devices: int) -> dict[str, float]:
    """Of a point's runs and their rate: ``flops_per_sample``; ``tokens_per_second`` of text;
    ``teraflops`` of a device, its shares of what was calibrated and of what the vendor says, each
    with _low and _high; ``memory_gib``, the most of any run."""
    # Runs of a table without their run.json do not say.
    group = group.reindex(columns=KNOWN)
    flops = _only(group["flops_per_sample"])
    of_device = rate.times(flops / devices / TERA)
    tokens = rate.times(_only(group["tokens_per_sample"]))
    found = {"flops_per_sample": flops, **of_device.columns(RATE), **tokens.columns(TOKENS)}
    for name, column in ((OF_CALIBRATED, "calibrated_teraflops"), (OF_VENDOR, "vendor_teraflops")):
        found |= of_device.times(1 / _only(group[column])).columns(name)
    return found | {"memory_gib": float(group["memory_gib"].max())}


def _only(values: "pd.Series[float]") -> float:
    """The one value of all runs; nan where they differ, or any has none."""
    first = values.iloc[0]
    return float(first) if np.isfinite(first) and (values == first).all() else math.nan
