"""Rates that were published without what a program printed: a CSV file, a row a rate.

Its first line names the columns, COLUMNS in any order: what :class:`Printed` says of a run, with
``xla`` as yes or no and ``software`` as "torch 2.0.0, horovod 0.28.1"; ``run`` tells it from others
at the same point; then the rate over all devices, when it was ``published``, and the ``source``.
"""

import csv
from collections.abc import Iterator, Sequence

from hpcbench.logs import Found, LeftOut, Printed
from hpcbench.logs.text import number

TOOL = "published rates"
COLUMNS = (
    *("tool", "model", "dataset", "strategy", "devices", "batch_per_device", "precision", "xla"),
    *("input", "device_kind", "software", "run", "samples_per_second", "published", "source"),
)
XLA = {"yes": True, "no": False}


def read(lines: Sequence[str]) -> Iterator[Found]:
    """Each row below a line that names the columns. How long it was measured is not published, so a
    run has one interval, of one step at its rate."""
    for place, line in enumerate(lines):
        columns = next(csv.reader([line]), [])
        if sorted(columns) == sorted(COLUMNS):
            for row in csv.DictReader(lines[place:]):
                yield _run(row)
            return


def _run(row: dict[str, str]) -> Found:
    missing = [name for name in COLUMNS if not (row.get(name) or "").strip()]
    if missing or None in row:
        what = f"no {', '.join(missing)}" if missing else "more cells than columns"
        return LeftOut(TOOL, f"a row of {row.get('model') or 'a model'} has {what}")
    counts = [row["devices"], row["batch_per_device"]]
    rate = number(row["samples_per_second"])
    if not all(count.isdecimal() and int(count) for count in counts) or not rate:
        return LeftOut(TOOL, f"a row of {row['model']} has no devices, batch or rate in numbers")
    if row["xla"] not in XLA:
        return LeftOut(TOOL, f"a row of {row['model']} has xla {row['xla']}, not yes or no")
    devices, batch = map(int, counts)
    versions = (version.rpartition(" ") for version in row["software"].split(", "))
    return Printed(
        row["tool"],
        row["model"],
        row["strategy"],
        devices,
        batch,
        [(1, rate)],
        "\n".join(row[name] for name in COLUMNS),
        dataset=row["dataset"],
        input=row["input"],
        precision=row["precision"],
        xla=XLA[row["xla"]],
        device=row["device_kind"],
        software={name: version for name, _, version in versions if name},
        origin=f"published {row['published']}: {row['source']}",
    )
