"""hpcbench: how does training scale on this machine, and where is the time lost?"""

from os import PathLike
from typing import TYPE_CHECKING

from hpcbench.own_loop import phase, steps

__version__ = "0.2.0"

if TYPE_CHECKING:
    from hpcbench.analysis.frames import Frames

__all__ = ["__version__", "load", "phase", "steps"]


def load(results: "str | PathLike[str]") -> "Frames":
    """The runs below the folder ``results`` as tidy pandas tables.

    ``runs`` has a row a run; ``points`` is the report's table, a row a point (the median over runs
    with its interval), without numbers where all runs of a point failed; ``intervals`` a row a
    timed interval, ``epochs`` a row an evaluation, ``energy`` a row an interval in which energy was
    counted; ``ranks`` a row a rank and timed interval, of training or beside it; ``why`` a row a
    point beyond its base, with what its steps lose by cause; ``failed`` a row a run that did not
    end well, and ``skipped`` a sentence for each file that was left out.

    >>> import hpcbench
    >>> frames = hpcbench.load("analysis/examples/default")
    >>> frames.points[["model", "strategy", "devices", "efficiency"]]  # doctest: +SKIP

    Raises hpcbench.errors.ConfigError if there is no such folder, EnvironmentLacks if no run in it
    is complete.
    """
    from hpcbench.analysis.frames import load_frames

    return load_frames(results)
