"""Two sides of a comparison, point by point and all together."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from hpcbench.analysis.load import SETTINGS
from hpcbench.analysis.ratios import (
    PAIRS,
    RANKS,
    STUDENT,
    Method,
    observations_needed,
)
from hpcbench.analysis.sides import (
    COMPARED,
    SWEEP,
    Design,
    design_of,
    missing,
    observations,
    with_names,
)
from hpcbench.analysis.together import Common, by_unit, common_change
from hpcbench.analysis.usage import usage
from hpcbench.analysis.verdicts import ERROR, SLOWER, UNTOLD, change
from hpcbench.errors import EnvironmentLacks


@dataclass(frozen=True)
class Comparison:
    """``points`` as :func:`changes` describes them; ``usage`` as
    :func:`hpcbench.analysis.usage.usage`, in the same order; ``common`` where there are several
    points; ``threshold`` a share; ``sweeps`` how many OLD and NEW have; ``missing`` and ``added``
    the names of points that only OLD and only NEW has.

    ``needed`` observations of each point and side would tell of all points that they are not slower
    in four of five comparisons in which nothing changed; None where that takes too many."""

    points: pd.DataFrame
    usage: pd.DataFrame
    common: Common | None
    design: Design
    threshold: float
    sweeps: tuple[int, int]
    missing: list[str]
    added: list[str]
    needed: int | None

    @property
    def slower(self) -> bool:
        """Whether a point, or all together, surely became slower by more than the threshold."""
        together = self.common is not None and self.common.verdict == SLOWER
        return together or bool((self.points["verdict"] == SLOWER).any())

    @property
    def untold(self) -> pd.DataFrame:
        """The points of which it cannot be told."""
        return self.points[self.points["verdict"] == UNTOLD]


def compared(old: pd.DataFrame, new: pd.DataFrame, threshold: float) -> Comparison:
    """Compare two run tables, of the columns that ``read_side`` gives.

    Raises EnvironmentLacks if no point is in both.
    """
    old, new = with_names(old, new)
    design = design_of(old, new)
    found = observations(old, new, design.several)
    if found.empty:
        apart = [name for name in COMPARED if not {*old[name]} & {*new[name]}]
        if not apart:
            why = "; --across COLUMN compares what differs by intent"
        elif set(apart) <= {*SETTINGS}:
            flags = " ".join(f"--across {name}" for name in apart)
            why = f": all differ in {' and '.join(apart)}; {flags} compares what does by intent"
        else:
            why = f": all differ in {' and '.join(apart)}"
        raise EnvironmentLacks(f"no point is in both{why}")
    whole = found[found.groupby(["point", "unit"])["side"].transform("nunique") == 2]
    if design.paired and whole["point"].nunique() == found["point"].nunique():
        found = whole
    else:
        design = replace(design, paired=False)
    before, after = (len(side[SWEEP].drop_duplicates()) for side in (old, new))
    method = _method(design)
    points = changes(found, method, threshold)
    return Comparison(
        points=points,
        usage=points[["point"]].merge(usage(found, method), on="point"),
        common=common_change(*by_unit(found), PAIRS if design.paired else STUDENT, threshold),
        design=design,
        threshold=threshold,
        sweeps=(before, after),
        missing=missing(old, new),
        added=missing(new, old),
        needed=observations_needed(
            method, points["spread"].to_numpy(float), -np.log1p(-threshold), ERROR
        ),
    )


def _method(design: Design) -> Method:
    if design.paired:
        return PAIRS
    return STUDENT if design.several else RANKS


def changes(found: pd.DataFrame, method: Method, threshold: float) -> pd.DataFrame:
    """One row a point of ``observations``, the slowest first.

    Columns COMPARED and ``point``; ``old`` and ``new``, median samples a second, of ``old_count``
    and ``new_count`` observations; and those of :func:`change`.
    """
    facts = found.drop_duplicates("point").set_index("point", drop=False)[[*COMPARED, "point"]]
    rows = []
    for point, of_point in found[["point", "side", "unit", "rate"]].groupby("point"):
        rates = of_point.sort_values("unit")
        old, new = (rates[rates["side"] == side]["rate"].to_numpy(float) for side in ("old", "new"))
        rows.append(
            facts.loc[point].to_dict()
            | {"old": float(np.median(old)), "new": float(np.median(new))}
            | {"old_count": len(old), "new_count": len(new)}
            | change(np.log(old), np.log(new), method, threshold, len(facts))
        )
    return pd.DataFrame(rows).sort_values("change")
