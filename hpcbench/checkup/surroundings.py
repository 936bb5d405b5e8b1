"""What a process finds around it and seldom thinks of: home, locale, proxies, file locks."""

import contextlib
import os
import platform
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from hpcbench.checkup import CheckContext, Finding, Severity
from hpcbench.cluster.rendezvous import PROXIES
from hpcbench.errors import EnvironmentLacks
from hpcbench.locks import file_of, has_flock

# Seconds; a name server that is there answers in milliseconds.
SLOW_LOOKUP = 1.0


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


def names(_: CheckContext) -> Iterator[Finding]:
    """Whether this host's address has a name at once.

    PyTorch asks for it when ranks meet, as of an IPv6 address, which few files of hosts have; where
    no name server answers that takes a resolver's whole patience.
    """
    with contextlib.suppress(OSError):
        address = socket.gethostbyname(platform.node())
        start = time.monotonic()
        with contextlib.suppress(OSError):
            socket.getnameinfo((f"::ffff:{address}", 0), 0)
        seconds = time.monotonic() - start
        if seconds > SLOW_LOOKUP:
            yield Finding(
                "names",
                Severity.WARNING,
                f"to look up the name of {address} takes {seconds:.0f} s, for which ranks of "
                f"PyTorch wait when they meet",
                "ask for a name server that answers, or none, in this host's resolv.conf",
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
