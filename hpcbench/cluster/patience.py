"""How long a rank waits for the others to come."""

import contextlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from hpcbench.cluster import watcher
from hpcbench.validation import seconds_of

# Overrules the seconds; ranks that load Python from a slow file system are late.
SECONDS, PATIENCE = "HPCBENCH_RENDEZVOUS_SECONDS", 300.0
# A host and a port.
Address = tuple[str, int]
NOWHERE: Mapping[str, Address] = MappingProxyType({})


def patience(environment: Mapping[str, str]) -> float:
    """Seconds; ConfigError where what is set is no number of them."""
    return seconds_of(environment, SECONDS, PATIENCE)


@contextlib.contextmanager
def time_limit(
    who: str, meeting: Mapping[str, Address] = NOWHERE, environment: Mapping[str, str] = os.environ
) -> Iterator[None]:
    """Within it this process, ``who``, connects to others, some of which listen at ``meeting``, by
    name. One that waits longer than ``patience`` is killed, and a sentence says why.

    Raises ConfigError as ``patience`` does.
    """
    seconds = patience(environment)
    remedy = f"see whether they started and can be reached, or set {SECONDS} to more"
    whole = f"{who} on {platform.node()}"
    told = json.dumps([os.getpid(), whole, seconds, dict(meeting), remedy])
    command = [sys.executable, "-I", "-S", watcher.__file__, told]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as beside:
        try:
            yield
        finally:
            # Its end is what the watcher waits for, whatever happened here.
            if beside.stdin:
                beside.stdin.close()
