"""Writes figures as PNG and SVG, several at once."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from hpcbench.analysis.forks import may_fork

# Of zlib: two thirds of the time of its default, for files that are 5 % larger.
PNG_LEVEL = 3
# A fork finds the work here, since it cannot be pickled.
_forked: list[Callable[[], None]] = []


def save(draw: Callable[[], Figure], path: Path) -> None:
    """Write the figure as ``path`` with .png and .svg, arranged once for both; raises OSError.

    The canvases are called directly: savefig would arrange and draw it twice for each.
    """
    figure = draw()
    engine = figure.get_layout_engine()
    if engine:
        engine.execute(figure)
        figure.set_layout_engine("none")
    figure.set_dpi(mpl.rcParams["savefig.dpi"])
    FigureCanvasAgg(figure).print_png(  # type: ignore[no-untyped-call]
        path.with_suffix(".png"), pil_kwargs={"compress_level": PNG_LEVEL}
    )
    figure.set_dpi(72)
    FigureCanvasSVG(figure).print_svg(  # type: ignore[no-untyped-call]
        path.with_suffix(".svg"), metadata={"Date": None}
    )


def begin_to_save(
    figures: Mapping[str, Callable[[], Figure]], folder: Path
) -> Callable[[], list[Path]]:
    """Draw and write each figure as ``folder``/name.svg and .png, in forked processes where this
    one may fork, since drawing takes most of a report's time; returns what waits for them and
    gives the paths of the .svg.

    That raises what the first that fails raises.
    """
    paths = [folder / f"{name}.svg" for name in figures]
    saves = [partial(save, draw, path) for draw, path in zip(figures.values(), paths, strict=True)]
    saved = _begin_in_forks(saves) if may_fork() else (write() for write in saves)

    def finish() -> list[Path]:
        list(saved)
        return paths

    return finish


def _begin_in_forks(saves: Sequence[Callable[[], None]]) -> Iterator[None]:
    _forked[:] = saves
    context = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(max(1, min(len(saves), os.cpu_count() or 1)), context)
    saved = pool.map(_do, range(len(saves)))
    pool.shutdown(wait=False)
    return saved


def _do(index: int) -> None:
    _forked[index]()
