"""python analysis/plot_scaling.py [RESULTS] [options]: from runs to plots and a report."""

import sys
from pathlib import Path

# From a clone that is not installed, too.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hpcbench.plot import main

sys.exit(main())
