"""Locks between processes, on file systems with ``flock`` and on those without it.

Lustre mounted without the option, and some NFS, have no ``flock``. There a lock is a file that one
process alone can create (``O_EXCL``), with its name in it. Nobody takes that away when its process
dies: on the same host the next one sees that it did.
"""

import contextlib
import errno
import fcntl
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from hpcbench.errors import EnvironmentLacks

# What a file system without flock answers.
WITHOUT = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}
# Seconds between two looks, and after which one that waits gives up.
LOOK, PATIENCE = 0.02, 60.0


def take(path: Path, wait: bool = False) -> Callable[[], None] | None:
    """Lock an existing file or folder until what is returned is called or this process dies; None
    where another process has it and this one does not ``wait``.

    Raises EnvironmentLacks where nothing can be locked, or waiting takes longer than anything does.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        if error.errno not in WITHOUT:
            raise EnvironmentLacks(f"{path} cannot be locked: {error}") from error
        return _take_by_file(file_of(path), wait)
    return lambda: os.close(descriptor)


def has_flock(path: Path) -> bool:
    """Whether the file system of an existing file or folder has ``flock``; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in WITHOUT
    finally:
        os.close(descriptor)
    return True


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Within it this process alone has the lock; it waits for it, and raises as :func:`take`."""
    release = take(path, wait=True)
    try:
        yield
    finally:
        if release:
            release()


def file_of(path: Path) -> Path:
    """What stands for the lock on ``path`` where there is no ``flock``."""
    return path.with_name(path.name + ".lock")


def _take_by_file(file: Path, wait: bool) -> Callable[[], None] | None:
    mine = {"host": platform.node(), "pid": os.getpid()}
    end = time.monotonic() + (PATIENCE if wait else 0)
    while True:
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            if _is_abandoned(file):
                # Of two that find it so one renames it; the other finds the new one, or none.
                stale = file.with_name(f"{file.name}.{mine['host']}.{mine['pid']}")
                with contextlib.suppress(OSError):
                    os.rename(file, stale)
                    os.unlink(stale)
                continue
        except OSError as error:
            raise EnvironmentLacks(f"{file} cannot be written: {error}") from error
        else:
            with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
                json.dump(mine, opened)
            return lambda: file.unlink(missing_ok=True)
        if not wait:
            return None
        if time.monotonic() > end:
            raise EnvironmentLacks(
                f"another process has held {file} for {PATIENCE:.0f} s; delete it if that is gone"
            )
        time.sleep(LOOK)


def _is_abandoned(file: Path) -> bool:
    """Whether the process that created ``file`` was on this host and is gone, or ended before it
    could write its name."""
    try:
        text = file.read_text(encoding="utf-8")
        if not text:
            return time.time() - file.stat().st_mtime > PATIENCE
        holder = json.loads(text)
        if holder["host"] != platform.node():
            return False
        os.kill(int(holder["pid"]), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except (OSError, ValueError, KeyError, TypeError):
        # Just being written, or already gone.
        return False
    return False
