"""How a command ends that runs as one of several ranks."""

import os
import platform
import sys

from hpcbench.cluster.launchers import Launch, detect
from hpcbench.errors import HpcbenchError


def refuse(error: HpcbenchError) -> int:
    """Say what is wrong before the ranks are connected, once a host; the exit status."""
    if _speaks():
        print(f"hpcbench: {error}", file=sys.stderr)
    return error.exit_status


def _speaks() -> bool:
    """Whether this process is the one of its host that says what all of them find."""
    try:
        return detect(os.environ).local_rank == 0
    except HpcbenchError:
        # What cannot be read of the launch may be the very fault.
        return True


def end(launch: Launch, status: int, message: str, everywhere: bool) -> int:
    """Say why ranks fail and leave, without waiting for some that may never answer."""
    if launch.rank == 0 or not everywhere:
        rank = f"rank {launch.rank} on {platform.node()}: " if launch.rank else ""
        print(f"hpcbench: {rank}{message}", file=sys.stderr)
    sys.stderr.flush()
    sys.stdout.flush()
    if launch.size > 1:
        # Python's and MPI's own farewells would meet the other ranks, which may be stuck.
        os._exit(status)
    return status
