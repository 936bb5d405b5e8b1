"""The files of measured collective operations: its columns, and reading it back."""

import io
import json
import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from hpcbench.collective import OPERATIONS
from hpcbench.records.folders import walk

if TYPE_CHECKING:
    import pandas as pd

COLLECTIVES_FILE = "collectives.csv"
# What ran where, beside it.
ABOUT_FILE = "collectives.json"
# The form of a single buffer.
SINGLE = "single"


@dataclass(frozen=True)
class CollectiveRow:
    """One timing: ``iterations`` of an operation in a row, in seconds each, by the slowest rank, on
    average over ranks, and by the fastest.

    ``bytes`` are of the whole buffer (see :class:`hpcbench.collective.Operation`), in ``tensors``
    pieces, which travel as ``form`` says; ``model`` is whose gradients they are, if any's.
    ``launch`` tells one start of all ranks from all others, wherever its file lies; what
    is unknown is empty or 0.
    """

    launch: str
    library: str
    operation: str
    form: str
    model: str
    bytes: int
    tensors: int
    ranks: int
    nodes: int
    device_kind: str
    round: int
    iterations: int
    seconds: float
    mean_seconds: float
    fastest_seconds: float


COLUMNS = [column.name for column in fields(CollectiveRow)]
# What was measured: rows that differ in none of these are of one point.
POINT_COLUMNS = ["library", "form", "model", "ranks", "nodes", "device_kind", "operation", "bytes"]


@dataclass
class Measured:
    """``rows`` with the columns of :class:`CollectiveRow`; what is known of each launch, by its
    name; and a sentence for each file that is left out."""

    rows: "pd.DataFrame"
    launches: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


def read_collectives(root: Path) -> Measured:
    """All that was measured below ``root``."""
    import pandas as pd

    measured = Measured(_table(io.StringIO(",".join(COLUMNS))))
    tables = []
    first: dict[str, Path] = {}
    for place, files in walk(root):
        if COLLECTIVES_FILE not in files:
            continue
        path = place / COLLECTIVES_FILE
        try:
            table = _table(path)
            for launch in table["launch"].unique():
                if first.setdefault(launch, path) != path:
                    raise ValueError(f"the same launch as {first[launch]}")
            if ABOUT_FILE in files:
                about = dict(json.loads((place / ABOUT_FILE).read_text(encoding="utf-8")))
                measured.launches |= dict.fromkeys(table["launch"].unique(), about)
            tables.append(table)
        except (OSError, ValueError) as error:
            measured.skipped.append(f"{path}: {str(error).strip()}")
    if tables:
        measured.rows = pd.concat(tables, ignore_index=True)
    return measured


def _table(source: "Path | io.StringIO") -> "pd.DataFrame":
    """A file of rows; ValueError where it is none."""
    import pandas as pd

    table = pd.read_csv(source, keep_default_na=False)
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise ValueError(f"it has no column {missing[0]}")
    types = {n: t for n, t in get_type_hints(CollectiveRow).items() if t is not str}
    table = table[COLUMNS].astype(types)
    counts = table[["bytes", "ranks", "tensors", "iterations"]]
    times = table[["seconds", "mean_seconds", "fastest_seconds"]]
    if not ((times > 0) & (times < math.inf)).all(axis=None) or (counts < 1).any(axis=None):
        raise ValueError("it has a row without time, bytes or ranks")
    strange = set(table["operation"]) - set(OPERATIONS)
    if strange:
        raise ValueError(f"it has an operation {min(strange)!r}, which is none")
    return table
