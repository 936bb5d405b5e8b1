"""What a process finds around it and seldom thinks of: home, locale, proxies, file locks."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from hpcbench.checkup import CheckContext, Finding, Severity
from hpcbench.cluster.rendezvous import PROXIES
from hpcbench.errors import EnvironmentLacks
from hpcbench.locks import file_of, has_flock


def home(_: CheckContext) -> Iterator[Finding]:
    """Whether there is a home folder, where data sets are kept by default."""
    try:
        Path.home()
    except RuntimeError:
        yield Finding(
            "home",
            Severity.WARNING,
            "no HOME, and no entry of this user in passwd",
            "data sets have nowhere to be kept: set KERAS_HOME or HPCBENCH_DATA",
        )


def locale(_: CheckContext) -> Iterator[Finding]:
    """Whether the terminal takes what is printed; files are UTF-8 in any case."""
    encoding = (sys.stdout.encoding or "ascii").lower().replace("_", "-")
    if encoding not in ("utf-8", "utf8"):
        yield Finding(
            "locale",
            Severity.WARNING,
            f"output is {encoding}: other characters are printed as question marks",
            "set LC_ALL=C.UTF-8",
        )


def proxy(context: CheckContext) -> Iterator[Finding]:
    """Proxies, through which ranks must not talk."""
    there = [name for name in PROXIES if context.environment.get(name)]
    if there:
        yield Finding(
            "proxy", Severity.OK, f"{', '.join(there)} are set; ranks talk to each other past them"
        )


def locks(context: CheckContext) -> Iterator[Finding]:
    """Whether the results' file system has locks."""
    folder = context.results.absolute()
    there = next(place for place in (folder, *folder.parents) if place.is_dir())
    try:
        if not os.access(there, os.W_OK) or has_flock(there):
            return
    except (OSError, EnvironmentLacks):
        return
    yield Finding(
        "locks",
        Severity.WARNING,
        f"the file system of {context.results} has no flock: files such as {file_of(Path('RUN'))} "
        f"stand for locks",
        "after a node crashed delete those of its runs; on Lustre the mount option flock helps",
    )
