"""python analysis/compare.py OLD NEW [--threshold 5]: what became faster or slower."""

import sys
from pathlib import Path

# From a clone that is not installed, too.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hpcbench.compare import main

sys.exit(main())
