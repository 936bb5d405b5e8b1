"""Other programs: where they are, and what they print."""

import contextlib
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil


def program(name: str) -> str | None:
    """Where a program is: in this environment, whose Horovod may be built with its MPI, else on the
    PATH."""
    beside = Path(sys.executable).parent
    return shutil.which(name, path=f"{beside}{os.pathsep}{os.environ.get('PATH', os.defpath)}")


def age() -> float:
    """Seconds since this process started."""
    return time.time() - psutil.Process().create_time()


def output_of(*command: str, timeout: float = 10.0) -> str | None:
    """What a command prints; None where it is not there, fails or does not answer in ``timeout``
    seconds. Some print their answer to stderr: that is taken where stdout stays empty."""
    done = _run(command, timeout)
    return (done.stdout or done.stderr) if done and done.returncode == 0 else None


@contextlib.contextmanager
def end_of(process: "subprocess.Popen[bytes]") -> Iterator[Callable[[float], bool]]:
    """Within it, a function that waits for the end of ``process``, so many seconds at most,
    and says whether it came.

    It sleeps meanwhile: one that looked often, as ``Popen.wait``, would be noise in what is
    measured.
    """
    descriptor = os.pidfd_open(process.pid)
    try:
        yield lambda seconds: bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def _run(command: Sequence[str], timeout: float) -> "subprocess.CompletedProcess[str] | None":
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
