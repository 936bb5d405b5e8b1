"""The file that says what a device reached at most."""

import json
from pathlib import Path
from typing import Any

from hpcbench.records.calibrations import VERSION, file_name
from hpcbench.records.writer import write_atomically


def write(folder: Path, document: dict[str, Any]) -> Path:
    """Write what was measured, in the place of an earlier file of the same device and framework."""
    path = folder / file_name(document["framework"], document["device_kind"])
    text = json.dumps({"calibration": VERSION} | document, indent=2)
    write_atomically(path, text.encode() + b"\n")
    return path
