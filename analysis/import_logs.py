"""python analysis/import_logs.py LOG... [--results results/imported]: old printouts as runs."""

import sys
from pathlib import Path

# From a clone that is not installed, too.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hpcbench.import_logs import main

sys.exit(main())
