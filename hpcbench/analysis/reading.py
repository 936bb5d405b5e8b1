"""Reads a folder of results, in a process of its own while this one imports what works on them."""

import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from hpcbench.analysis.forks import may_fork
from hpcbench.errors import ConfigError, EnvironmentLacks
from hpcbench.records.reader import Results, read_results


def read_folder(folder: Path) -> Results:
    """All runs below ``folder``; what is left out is said on stderr.

    Raises ConfigError if there is no such folder, EnvironmentLacks if no run in it is complete.
    """
    check_there(folder)
    return _told(read_results(folder), folder)


def begin_to_read(folder: Path) -> Callable[[], Results]:
    """Returns at once; what it returns waits, and then is and raises as :func:`read_folder`.

    Raises ConfigError if there is no such folder.
    """
    check_there(folder)
    if "scipy.stats" in sys.modules or not may_fork():
        # In the first case nothing is left to import that would take a while.
        return lambda: read_folder(folder)
    # Both processes need it.
    import pandas as pd  # noqa: F401

    pool = ProcessPoolExecutor(1, multiprocessing.get_context("fork"))
    reading = pool.submit(read_results, folder)

    def finish() -> Results:
        # Leaves no thread of the pool's, beside which nothing else would be forked.
        with pool:
            return _told(reading.result(), folder)

    return finish


def check_there(folder: Path) -> None:
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise ConfigError(f"results folder {folder} {what}")


def _told(results: Results, folder: Path) -> Results:
    for reason in results.skipped:
        print(f"warning: left out {reason}", file=sys.stderr)
    if not results.runs:
        raise EnvironmentLacks(f"no complete run below {folder}")
    return results
