"""The table of points: throughput, speedup, efficiency, and where the time goes."""

import pandas as pd

from hpcbench.analysis.estimates import CONFIDENCE
from hpcbench.analysis.report.cells import (
    SERIES_HEADER,
    Cell,
    Table,
    between,
    milliseconds,
    number,
    of_series,
    percent,
    varying_settings,
)
from hpcbench.analysis.units import counted, of_data


def points_table(table: pd.DataFrame, price: float | None) -> Table:
    """Of ``with_failures``' rows; ``price`` of a device-hour adds a column."""
    extra, hours = varying_settings(table), "device_hours_per_million_samples"
    things = counted(table)
    header = [
        *SERIES_HEADER,
        *extra,
        "devices",
        "runs",
        "failed",
        f"{things}/s",
        "step, ms",
        "speedup",
        "efficiency",
        "against single",
        "load balance",
        "communication",
        "computation",
        "serial fraction",
        f"device-hours per million {things}",
    ]
    energy = table["samples_per_joule"].notna().any()
    if energy:
        header.append(f"{things} per joule")
    if price is not None:
        header.append(f"cost per million {things}")
    rows = []
    for index, row in enumerate(table.to_dict("records")):
        cells = [
            Cell(row["model"], row["model"], f"point-{index}" if row["runs"] else ""),
            *of_series(row, extra)[1:],
            *(Cell(str(row[name]), row[name]) for name in ("devices", "runs", "failed")),
            between(row, "samples_per_second", lambda value: number(value, 4)),
            between(row, "step_seconds", milliseconds),
            between(row, "speedup"),
            between(row, "efficiency", percent),
            between(row, "serial_efficiency", percent),
            *(
                between(row, name, percent)
                for name in (
                    "load_balance",
                    "communication_efficiency",
                    "computation_efficiency",
                )
            ),
            between(row, "serial_fraction", lambda value: number(value, 2)),
            between(row, hours, lambda value: number(value, 2)),
        ]
        if energy:
            cells.append(between(row, "samples_per_joule"))
        if price is not None:
            cost = {hours + end: price * row[hours + end] for end in ("", "_low", "_high")}
            cells.append(between(cost, hours))
        rows.append(cells)
    bases = sorted(
        {
            f"{row['line']} on {row['base_devices']:.0f}: "
            f"{number(row['base_samples_per_second'], 4)} {of_data(row['dataset'])}/s"
            for row in table.to_dict("records")
            if row["runs"]
        }
    )
    unknown = table.loc[table["runs"] > 0, "step_seconds"].isna().any()
    return Table(
        "points",
        "Points",
        f"Medians over runs with {CONFIDENCE:.0%} bootstrap intervals. Speedup and efficiency are "
        "relative to the same strategy on its smallest count; “against single” to the strategy "
        "single on one device; both from the ratios within each repeat where repeats ran one after "
        "the other. Efficiency is load balance × communication × computation (POP), from steps "
        "timed without the exchange, over the same product at the base, which is 100 % for one "
        "device; a dash where one process timed its devices together. "
        + ("How long a step took is not known where programs printed rates. " if unknown else "")
        + "Bases: "
        + "; ".join(bases)
        + ".",
        header,
        rows,
    )
