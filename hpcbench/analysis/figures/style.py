"""How every figure looks: one column of a paper, 85 mm, and readable there without colour."""

from typing import Any

import matplotlib as mpl

# Okabe and Ito's palette (2008), with a marker each, so that grey print and colour-blind eyes
# can tell the series apart.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
DASHES: list[Any] = ["-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 2))]
GREY = "#666666"
# A run beside its median.
DOTS: dict[str, Any] = {"markersize": 2.2, "markeredgewidth": 0, "alpha": 0.6, "zorder": 4}
WIDTH = 85 / 25.4
# Two panels side by side, or one alone; inches.
PANEL_HEIGHT, SINGLE_HEIGHT, MARGIN = 1.35, 2.1, 0.55
COLUMNS = 2
FONT, SMALL = 7.0, 6.0
# Characters of the small font in a line.
NOTE_LENGTH = 72
# And of the large one, beside its mark.
LABEL_LENGTH = 48


def use() -> None:
    """Set matplotlib's defaults for all figures."""
    mpl.use("Agg")
    mpl.rcParams.update(
        {
            "font.size": FONT,
            "axes.titlesize": FONT,
            "axes.labelsize": FONT,
            "legend.fontsize": FONT,
            "legend.frameon": False,
            "legend.handlelength": 2.2,
            "legend.columnspacing": 1.2,
            "xtick.labelsize": 6.5,
            "ytick.labelsize": 6.5,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.linewidth": 0.6,
            "xtick.major.width": 0.6,
            "ytick.major.width": 0.6,
            "axes.grid": True,
            "grid.color": "#dddddd",
            "grid.linewidth": 0.4,
            "axes.axisbelow": True,
            "lines.linewidth": 1.1,
            "lines.markersize": 3.8,
            "hatch.linewidth": 0.5,
            "figure.constrained_layout.use": True,
            "figure.constrained_layout.w_pad": 0.03,
            "figure.constrained_layout.h_pad": 0.03,
            "savefig.dpi": 300,
            "svg.fonttype": "none",
            # Names come from files; a dollar in one is a dollar.
            "text.parse_math": False,
            "svg.hashsalt": "hpcbench",
            "font.family": "sans-serif",
            "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],
        }
    )
