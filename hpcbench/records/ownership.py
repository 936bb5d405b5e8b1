"""Who may write a run's folder: one process, and of a requeued job only the latest attempt.

A process that writes holds a lock on the folder for as long as it lives. A node that the scheduler
believes dead may still hold it, and go on writing, while the requeued job starts elsewhere; the
restart count decides then. The later attempt writes its name into the owner file, and the earlier
one finds it there before its next write.
"""

import contextlib
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from hpcbench.errors import ConfigError, EnvironmentLacks, Superseded
from hpcbench.locks import file_of, held, take

OWNER_FILE = "owner.json"
_WIDTH = 1024


@dataclass(frozen=True)
class Owner:
    """A process, and the attempt of the job that it belongs to (``job`` is empty without one)."""

    job: str
    restart: int
    host: str
    pid: int

    @classmethod
    def here(cls, job: str, restart: int) -> "Owner":
        """This process, as part of that attempt of that job."""
        return cls(job, restart, platform.node(), os.getpid())


class Ownership:
    """The right to write in ``folder``, from its making until :meth:`release`.

    Raises ConfigError where another process has it, unless that is an earlier attempt of the
    same job, and EnvironmentLacks on a full disk.
    """

    def __init__(self, folder: Path, owner: Owner) -> None:
        self._path = folder / OWNER_FILE
        self._owner = owner
        folder.mkdir(parents=True, exist_ok=True)
        self._release = take(folder)
        with self._locked() as descriptor:
            before = _read(descriptor)
            if self._release is None and not (
                before and owner.job and before.job == owner.job and before.restart < owner.restart
            ):
                gone = f"; if it is gone, delete {file_of(folder)}"
                raise ConfigError(
                    f"another process is writing the run in {folder}"
                    f"{gone if file_of(folder).exists() else ''}"
                )
            try:
                # One write of one length: nobody who looks in meanwhile finds half a name.
                os.pwrite(descriptor, json.dumps(asdict(owner)).ljust(_WIDTH).encode(), 0)
            except OSError as error:
                raise EnvironmentLacks(f"{self._path} cannot be written: {error}") from error

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """Nobody can take over while this is held; raises Superseded where somebody has."""
        with self._locked() as descriptor:
            now = _read(descriptor)
            if now != self._owner:
                by = f"job {now.job}, restart {now.restart}, on {now.host}" if now else "nobody"
                raise Superseded(f"this run was taken over by {by}; nothing more is written here")
            yield

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            with held(self._path):
                yield descriptor
        finally:
            os.close(descriptor)

    def release(self) -> None:
        if self._release is not None:
            self._release()
            self._release = None


def writer_of(folder: Path) -> Owner | None:
    """The living process that owns ``folder``, as far as this host's file system tells."""
    return owner_of(folder) if is_being_written(folder) else None


def owner_of(folder: Path) -> Owner | None:
    """The process that last took ``folder``, whether it lives or not."""
    try:
        with open(folder / OWNER_FILE, "rb") as file:
            return _read(file.fileno())
    except OSError:
        return None


def is_being_written(folder: Path) -> bool:
    """Whether a living process owns ``folder``, as far as this host's file system tells."""
    try:
        release = take(folder)
    except (OSError, EnvironmentLacks):
        return False
    if release is None:
        return True
    release()
    return False


def _read(descriptor: int) -> Owner | None:
    try:
        return Owner(**json.loads(os.pread(descriptor, 4096, 0)))
    except (ValueError, TypeError):
        return None
