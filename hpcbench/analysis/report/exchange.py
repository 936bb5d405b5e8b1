"""The exchange of gradients beside what an all-reduce of that size got by itself."""

import pandas as pd

from hpcbench.analysis.load import SERIES
from hpcbench.analysis.report.cells import (
    SERIES_HEADER,
    Cell,
    Table,
    between,
    number,
    of_series,
    percent,
    varying_settings,
)
from hpcbench.analysis.report.collectives import in_bytes


def exchange_report(exchange: pd.DataFrame) -> Table | None:
    """Of ``exchange_table``'s rows; None where there are none."""
    if exchange.empty:
        return None
    extra = varying_settings(exchange)
    return Table(
        "exchange",
        "Bandwidth of the gradient exchange",
        "Bus bandwidth in gigabytes per second: of the exchange of all gradients of a step without "
        "its computation, and of an all-reduce of as many bytes by itself (hpcbench collectives), "
        "on as many ranks and nodes of the same kind. A low share points to overhead: copying, "
        "packing, or many small tensors.",
        [*SERIES_HEADER, *extra, "devices", "runs", "gradients", "exchange", "by itself", "share"],
        [
            [
                *of_series(row, extra),
                *(Cell(str(row[name]), row[name]) for name in ("devices", "runs")),
                Cell(in_bytes(row["gradient_bytes"]), row["gradient_bytes"]),
                *(
                    between(row, name, lambda rate: number(rate / 1e9))
                    for name in ("exchange_bandwidth", "own_bandwidth")
                ),
                between(row, "share", percent),
            ]
            for row in exchange.to_dict("records")
        ],
    )


def sentences(exchange: pd.DataFrame) -> list[str]:
    """A sentence a series, of its largest count."""
    if exchange.empty:
        return []
    ends = exchange.loc[exchange.groupby(SERIES)["devices"].idxmax()]
    return [
        f"{row['line']} on {row['devices']} devices: gradients, {in_bytes(row['gradient_bytes'])}, "
        f"reach {between(row, 'share', percent).text} of the bandwidth of an all-reduce of that "
        f"size by itself, {number(row['own_bandwidth'] / 1e9)} GB/s."
        for row in ends.to_dict("records")
    ]
