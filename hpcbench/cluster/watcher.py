"""Ends a process that waits too long for others, and says so: a script, started beside it.

The libraries that connect ranks keep Python's lock while they wait, so no thread of the waiting
process could. With nothing but the standard library it costs a rank milliseconds.
"""

import json
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping

# Seconds that a host has to answer, once the others are given up.
ANSWER = 2.0


def watch(
    pid: int, who: str, seconds: float, meeting: Mapping[str, tuple[str, int]], remedy: str
) -> None:
    """Kill process ``pid`` unless it closes this one's standard input, or ends, in time.

    ``meeting`` is where others listen, a host and a port by name.
    """
    if select.select([sys.stdin], [], [], seconds)[0]:
        return
    silent = [
        f"{name} at {host}:{port}"
        for name, (host, port) in meeting.items()
        if not _answers(host, port)
    ]
    whom = f"; no answer from {', '.join(silent)}" if silent else ""
    print(
        f"hpcbench: {who} has waited {seconds:g} s for the others{whom}: {remedy}",
        file=sys.stderr,
        flush=True,
    )
    os.kill(pid, signal.SIGKILL)


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=ANSWER).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    watch(*json.loads(sys.argv[1]))
