"""The table of how much of the machine training uses."""

import pandas as pd

from hpcbench.analysis.load import SERIES
from hpcbench.analysis.machine import INTENSITY, OF_CALIBRATED, OF_VENDOR, RATE, TOKENS
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

# The most of a peak that is no error: what is counted and what is timed are exact.
WHOLE = 1.0
# Of which each has a sentence.
MOST_SERIES = 4
SHARES = {
    OF_CALIBRATED: "what products of large matrices reach",
    OF_VENDOR: "the vendor's peak",
}

_OF_INTENSITY = (
    " FLOP a byte: operations of a step over what it moves at least, weights and optimizer state "
    "read and written once."
)


def machine_report(points: pd.DataFrame) -> Table | None:
    """Of ``scaling_table``'s rows; None where neither operations nor memory are known."""
    known = points[points[[RATE, "memory_gib"]].notna().any(axis=1)]
    if known.empty:
        return None
    extra = varying_settings(known)
    peaks = [name for name in (OF_CALIBRATED, OF_VENDOR) if known[name].notna().any()]
    tokens, intensity = (
        [name] if known[name].notna().any() else [] for name in (TOKENS, INTENSITY)
    )
    titles = {OF_CALIBRATED: "of the calibrated peak", OF_VENDOR: "of the vendor's peak"}
    missing = (
        ""
        if OF_CALIBRATED in peaks
        else " What a device reaches here at most is measured by hpcbench calibrate."
    )
    return Table(
        "machine",
        "How much of the machine",
        "Operations of a device: those of matrix products and convolutions that the framework "
        "computes for a sample, a multiplication and an addition as two, times the rate. Peaks are "
        "of a product of large matrices in the same precision: measured on one device of this kind "
        "(hpcbench calibrate), or the vendor's, dense. Memory: the most that the process of a "
        "device had; of a GPU what the framework allocated on it, on CPUs all of the process."
        + (_OF_INTENSITY if intensity else "")
        + missing,
        [
            *SERIES_HEADER,
            *extra,
            "devices",
            "runs",
            "MFLOP a sample",
            *("tokens/s" for _ in tokens),
            "GFLOP/s a device",
            *(titles[name] for name in peaks),
            *("FLOP a byte, at most" for _ in intensity),
            "memory, GiB",
        ],
        [
            [
                *of_series(row, extra),
                *(Cell(str(row[name]), row[name]) for name in ("devices", "runs")),
                Cell(number(row["flops_per_sample"] / 1e6), row["flops_per_sample"]),
                *(between(row, name, lambda rate: number(rate, 4)) for name in tokens),
                between(row, RATE, lambda rate: number(rate * 1e3)),
                *(between(row, name, percent) for name in peaks),
                *(Cell(number(row[name]), row[name]) for name in intensity),
                Cell(number(row["memory_gib"], 2), row["memory_gib"]),
            ]
            for row in known.to_dict("records")
        ],
    )


def machine_sentences(points: pd.DataFrame) -> list[str]:
    """A sentence a series, of its base, where a share of a peak is known; of more than MOST_SERIES
    the least and the largest share alone."""
    known = points[points[list(SHARES)].notna().any(axis=1)]
    if known.empty:
        return []
    bases = known.loc[known.groupby(SERIES)["devices"].idxmin()]
    if len(bases) > MOST_SERIES:
        return list(filter(None, (_range_of(bases, *share) for share in SHARES.items())))
    found = []
    for row in bases.to_dict("records"):
        of = [f"{between(row, s, percent).text} of {w}" for s, w in SHARES.items() if row[s] > 0]
        found.append(
            f"{row['line']} on {row['devices']}: {number(row[RATE] * 1e3)} GFLOP/s a device, "
            f"{' and '.join(of)}."
        )
    return found


def _range_of(bases: pd.DataFrame, name: str, what: str) -> str:
    """The least and the largest share of ``what``; empty where none is known."""
    told = bases.dropna(subset=[name]).sort_values(name).to_dict("records")
    if not told:
        return ""
    least, most = (f"{percent(row[name])} ({row['line']})" for row in (told[0], told[-1]))
    return f"On their smallest counts lines reach {least} to {most} of {what}."


def over_the_peak(points: pd.DataFrame) -> list[str]:
    """A sentence for each point that computes more than its device can."""
    return [
        f"{row['line']} on {row['devices']} reaches {percent(row[name])} of {what}: more than all. "
        f"It was calibrated on a busy machine, the peak is not of this device, or the operations "
        f"are not those that it computes."
        for row in points.to_dict("records")
        for name, what in (
            (OF_CALIBRATED, "its calibrated peak"),
            (OF_VENDOR, "its vendor's peak"),
        )
        if row[name] > WHOLE
    ]
