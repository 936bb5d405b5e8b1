"""How a command ends that runs as one of several ranks."""

import os
import platform
import sys
import traceback
from collections.abc import Callable

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


def as_rank(launch: Launch, work: Callable[[], object]) -> int:
    """Do ``work``; the exit status, where the ranks were alone or all went well."""
    try:
        work()
    except HpcbenchError as error:
        return _end(launch, error.exit_status, str(error), everywhere=error.on_all_ranks)
    except KeyboardInterrupt:
        return _end(launch, 130, "interrupted; the rows measured so far are kept", True)
    except Exception as error:
        # A fault of the harness itself: the other ranks must not wait for this one for ever.
        traceback.print_exc()
        return _end(launch, 4, f"unexpected {type(error).__name__}: {error}", everywhere=False)
    return 0


def _end(launch: Launch, status: int, message: str, everywhere: bool) -> int:
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
