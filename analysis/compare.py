"""python analysis/compare.py OLD NEW [--threshold 5]: what became faster or slower, and surely so.

OLD and NEW are results folders. Each point that both have is compared; the exit status is 1 if any
became slower beyond the threshold, so that a cluster's tests can gate on it.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from changes import across, changes, in_words
from hpcbench.errors import ConfigError, EnvironmentLacks, HpcbenchError
from observations import check_settings, observe, read_folder


def main() -> int:
    """Exit status 0 no slowdown, 1 a slowdown beyond the threshold, 2 bad arguments, 3 no runs."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="exit status: 0 no slowdown, 1 a slowdown beyond the threshold, 2 bad arguments, "
        "3 a folder has no complete run or both have no point in common",
    )
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--threshold", type=float, default=5.0, metavar="PERCENT",
                        help="slowdown that matters; default: 5")  # fmt: skip
    parser.add_argument("--across", action="append", default=[], metavar="COLUMN",
                        help="compare points although OLD and NEW differ in this column, for "
                        "example device_kind or xla")  # fmt: skip
    given = parser.parse_args()
    try:
        return compare(given)
    except HpcbenchError as error:
        print(f"compare: {error}", file=sys.stderr)
        return error.exit_status


def compare(given: argparse.Namespace) -> int:
    """Print a line a point; whether any became too slow. Raises HpcbenchError."""
    if given.threshold < 0:
        raise ConfigError(f"--threshold {given.threshold}: a slowdown in percent, not below 0")
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
    return int(table["too_slow"].any())


if __name__ == "__main__":
    sys.exit(main())
