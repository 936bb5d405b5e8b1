"""python analysis/plot_training.py RUN [--output DIR]: what one run learned, as pictures."""

import sys
from pathlib import Path

# From a clone that is not installed, too.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hpcbench.plot_training import main

sys.exit(main())
