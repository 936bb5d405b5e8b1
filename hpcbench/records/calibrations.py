"""The files that say what a device reached at most, beside or above the runs that they are for."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PREFIX, SUFFIX = "calibration-", ".json"
VERSION = 1
# What each says of a product of matrices.
_PRODUCT = {"precision": str, "side": int, "teraflops": float, "low": float, "high": float}


def file_name(framework: str, device_kind: str) -> str:
    """Of what was measured of a device by a framework, whenever that was."""
    words = re.sub(r"[^a-z0-9]+", "-", f"{framework} {device_kind}".lower()).strip("-")
    return f"{PREFIX}{words}{SUFFIX}"


def is_calibration(name: str) -> bool:
    return name.startswith(PREFIX) and name.endswith(SUFFIX)


def read(path: Path) -> dict[str, Any]:
    """A file's content; raises ValueError where it is none, OSError where it cannot be read."""
    document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict) or document.get("calibration") != VERSION:
        raise ValueError("not a calibration of this version")
    if not isinstance(document.get("device_kind"), str) or not document.get("products"):
        raise ValueError("names no device or has no products")
    for product in document["products"]:
        fits = isinstance(product, dict) and all(
            isinstance(product.get(name), kind) for name, kind in _PRODUCT.items()
        )
        if not fits or not (math.isfinite(product["teraflops"]) and product["teraflops"] > 0):
            raise ValueError(f"has a product that is no measurement: {product}")
    # Null where there was no room for the arrays.
    memory = document.get("memory")
    if memory is not None and not _is_memory(memory):
        raise ValueError(f"has a bandwidth of memory that is no measurement: {memory}")
    return document


def _is_memory(found: object) -> bool:
    rate = found.get("gigabytes_per_second") if isinstance(found, dict) else None
    return isinstance(rate, float) and math.isfinite(rate) and rate > 0


def above(root: Path) -> Iterator[Path]:
    """Those of the folder that ``root`` is in, which are for all that lies in it."""
    parent = root.resolve().parent
    try:
        yield from sorted(path for path in parent.iterdir() if is_calibration(path.name))
    except OSError:
        return
