"""How much of the machine training uses: operations a second, as a share of what a device can do,
and memory.

Operations are those of matrix products and convolutions that a framework computes for a sample, a
multiplication and an addition as two: model FLOPs, whose share of the peak is the MFU (Chowdhery et
al., PaLM, 2022, section 4.1). What a device can do is what its vendor says (dense), or what
products of matrices reached here (``hpcbench calibrate``).

How many operations a byte from memory is for cannot be counted here, but has an upper bound: what a
step moves at least is what it begins with, read once, and what it leaves, written once (compulsory
traffic, as Williams, Waterman and Patterson have it: Roofline, CACM 52(4), 2009).
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
# And without: operations a byte at most, the peaks of products and of memory.
INTENSITY = "flops_per_byte"
ROOFS = ("calibrated_teraflops", "calibrated_gigabytes_per_second")
KNOWN = [
    *("flops_per_sample", "tokens_per_sample", INTENSITY, "memory_gib"),
    *(*ROOFS, "vendor_teraflops"),
]
# Strategies of which each device updates a part of the weights.
SHARDING = ("fsdp", "zero-1")
# Numbers that an optimizer keeps beside each weight; those of MOMENTUM none without it.
SLOTS, MOMENTUM = {"adam": 2, "adadelta": 2, "sgd": 1, "larc": 1}, ("sgd", "larc")


def work_of(document: Mapping[str, Any]) -> dict[str, float]:
    """Of a run.json: ``flops_per_sample``, ``tokens_per_sample``, ``flops_per_byte`` that a step
    moves at least, and ``memory_gib``, the most that a process had; nan where it does not say."""
    counted = document.get("schema_version", 1) >= FIRST_COUNTED_SCHEMA
    flops = float((document.get("flops_per_sample") if counted else None) or math.nan)
    memory = document.get("peak_memory_bytes")
    schedule = document.get("schedule") or {}
    batch, copies = (schedule.get(name) or math.nan for name in ("global_batch", "world_size"))
    return {
        "flops_per_sample": flops,
        "tokens_per_sample": float(document.get("tokens_per_sample") or math.nan),
        INTENSITY: flops * batch / copies / least_bytes(document),
        "memory_gib": memory / GIB if memory else math.nan,
    }


def least_bytes(document: Mapping[str, Any]) -> float:
    """What a step moves at least for each copy of the model, by its run.json: all weights are read,
    those that are trained written, and what the optimizer keeps is both, or a part of that where
    devices share it; nan where it does not say.

    Samples, activations and gradients come on top, as far as no cache holds them.
    """
    schedule, identity = (document.get(name) or {} for name in ("schedule", "identity"))
    name = str(schedule.get("optimizer"))
    slots = SLOTS.get(name, math.nan)
    if name in MOMENTUM and not schedule.get("momentum"):
        slots = 0
    weights = document.get("parameters") or math.nan
    trained = document.get("trainable_parameters") or math.nan
    if identity.get("strategy") in SHARDING:
        trained /= schedule.get("world_size") or math.nan
    return weight_bytes(identity.get("precision", "")) * (weights + trained * (1 + 2 * slots))


def weight_bytes(precision: str) -> int:
    """Of a weight and of its gradient: mixed precisions train float32."""
    return 8 if precision == "float64" else 4


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


def calibrated_bandwidth(calibrations: Iterable[Mapping[str, Any]], device_kind: str) -> float:
    """The same of memory, in GB/s."""
    found = [
        calibration["memory"]["gigabytes_per_second"]
        for calibration in calibrations
        if calibration["device_kind"] == device_kind and calibration.get("memory")
    ]
    return max(found, default=math.nan)


def with_peaks(runs: pd.DataFrame, calibrations: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """``runs`` with the peaks of their devices: ``calibrated_teraflops`` and ``vendor_teraflops``
    in TFLOP/s, ``calibrated_gigabytes_per_second`` of memory."""
    calibrations = list(calibrations)
    names = (runs[name].astype(str) for name in ("device_kind", "precision"))
    keys = list(zip(*names, strict=True))
    calibrated = {key: calibrated_teraflops(calibrations, *key) for key in set(keys)}
    vendors = {key: vendor_teraflops(*key) for key in set(keys)}
    memory = {kind: calibrated_bandwidth(calibrations, kind) for kind, _ in set(keys)}
    return runs.assign(
        calibrated_teraflops=[calibrated[key] for key in keys],
        calibrated_gigabytes_per_second=[memory[kind] for kind, _ in keys],
        vendor_teraflops=[vendors[key] for key in keys],
    )


def machine_columns(group: pd.DataFrame, rate: Estimate, devices: int) -> dict[str, float]:
    """Of a point's runs and their rate: ``flops_per_sample``; ``tokens_per_second`` of text;
    ``teraflops`` of a device, its shares of what was calibrated and of what the vendor says, each
    with _low and _high; ``flops_per_byte`` at most; the peaks :data:`ROOFS`; ``memory_gib``, the
    most of any run."""
    # Runs of a table without their run.json do not say.
    group = group.reindex(columns=KNOWN)
    flops = _only(group["flops_per_sample"])
    of_device = rate.times(flops / devices / TERA)
    tokens = rate.times(_only(group["tokens_per_sample"]))
    found = {"flops_per_sample": flops, **of_device.columns(RATE), **tokens.columns(TOKENS)}
    for name, column in ((OF_CALIBRATED, "calibrated_teraflops"), (OF_VENDOR, "vendor_teraflops")):
        found |= of_device.times(1 / _only(group[column])).columns(name)
    found |= {name: _only(group[name]) for name in (INTENSITY, *ROOFS)}
    return found | {"memory_gib": float(group["memory_gib"].max())}


def under_roofs(points: pd.DataFrame) -> pd.DataFrame:
    """The points of ``scaling_table`` that are a line's smallest count, and of which operations,
    bytes and both roofs are known."""
    known = points[[RATE, INTENSITY, *ROOFS]].notna().all(axis=1)
    return points[known & (points["devices"] == points["base_devices"])]


def _only(values: "pd.Series[float]") -> float:
    """The one value of all runs; nan where they differ, or any has none."""
    first = values.iloc[0]
    return float(first) if np.isfinite(first) and (values == first).all() else math.nan
