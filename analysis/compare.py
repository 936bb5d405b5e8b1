"""python analysis/compare.py OLD NEW [--threshold 5]: what became faster or slower, and surely so.

OLD and NEW are results folders. Each point that both have is compared; the exit status is 1 if any
became slower beyond the threshold, so that a cluster's tests can gate on it.
"""

import argparse
import sys
import traceback
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from changes import across, changes, in_words, missing
from hpcbench.errors import ConfigError, EnvironmentLacks, HpcbenchError
from observations import check_settings, observe, read_folder


def main() -> int:
    """Exit status as the epilog lists them."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="exit status: 0 no slowdown, 1 a slowdown beyond the threshold, 2 bad arguments, "
        "3 nothing can be told: no runs, no point in common, too few runs for any verdict, or a "
        "point of OLD that NEW lacks (unless --allow-missing), 4 a fault of this program",
    )
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--threshold", type=float, default=5.0, metavar="PERCENT",
                        help="slowdown that matters; default: 5")  # fmt: skip
    parser.add_argument("--across", action="append", default=[], metavar="COLUMN",
                        help="compare points although OLD and NEW differ in this column, for "
                        "example device_kind or xla")  # fmt: skip
    parser.add_argument("--allow-missing", action="store_true",
                        help="points that only OLD has are no failure")  # fmt: skip
    given = parser.parse_args()
    try:
        return compare(given)
    except HpcbenchError as error:
        print(f"compare: {error}", file=sys.stderr)
        return error.exit_status
    except Exception:
        # Python's own status for this is 1, which here means a slowdown.
        traceback.print_exc()
        return 4


def compare(given: argparse.Namespace) -> int:
    """Print a line a point; whether any became too slow. Raises HpcbenchError."""
    if not 0 <= given.threshold < 100:
        raise ConfigError(f"--threshold {given.threshold}: a slowdown in percent, 0 to 100")
    check_settings("--across", given.across)
    old, new = (
        across(observe(read_folder(folder)).runs, given.across, name)
        for folder, name in ((given.old, "OLD"), (given.new, "NEW"))
    )
    table = changes(old, new, given.threshold / 100)
    if table.empty:
        raise EnvironmentLacks(
            "no point is in both; --across COLUMN compares what differs by intent"
        )
    for sentence in in_words(table, old, new):
        print(sentence)
    if table["too_slow"].any():
        return 1
    if not np.isfinite(table["high"]).any():
        raise EnvironmentLacks("no point has runs enough for a verdict")
    if missing(old, new) and not given.allow_missing:
        raise EnvironmentLacks("NEW lacks points of OLD; --allow-missing if that is by intent")
    return 0


if __name__ == "__main__":
    sys.exit(main())
