"""How every figure looks: sizes, fonts, and colours that can be told apart without colour."""

from typing import Literal

import matplotlib as mpl

# Okabe and Ito's palette (2008), with a marker each, so that grey print and colour-blind eyes
# can tell the series apart.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
DASHES: list[Literal["-", "--", "-.", ":"]] = ["-", "--", "-.", ":"]
GREY = "#666666"
PANEL_WIDTH, PANEL_HEIGHT = 2.5, 2.2
MOST_COLUMNS = 4


def use() -> None:
    """Set matplotlib's defaults for all figures."""
    mpl.use("Agg")
    mpl.rcParams.update(
        {
            "font.size": 8,
            "axes.titlesize": 8.5,
            "axes.labelsize": 8,
            "legend.fontsize": 8,
            "legend.frameon": False,
            "xtick.labelsize": 7.5,
            "ytick.labelsize": 7.5,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#dddddd",
            "grid.linewidth": 0.5,
            "axes.axisbelow": True,
            "lines.linewidth": 1.4,
            "lines.markersize": 5,
            "figure.constrained_layout.use": True,
            "savefig.dpi": 200,
            "svg.fonttype": "none",
            "svg.hashsalt": "hpcbench",
        }
    )
