"""A run's state in one file, from which it goes on as if it had never stopped."""

import io
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from hpcbench.errors import DataError
from hpcbench.frameworks.backend import Backend
from hpcbench.records.writer import write_atomically

CHECKPOINT_FILE = "checkpoint.npz"
# Another name than that of version 0.1.0, which had other numbers in it.
PROGRESS = "behind"


@dataclass(frozen=True)
class Progress:
    """What is behind: whole epochs, and of the epoch under way its seconds and its ``sums`` (of
    losses, then the objective's); steps, seconds and rows written in all."""

    epochs: int = 0
    epoch_seconds: float = 0.0
    steps: int = 0
    elapsed_seconds: float = 0.0
    throughput_rows: int = 0
    accuracy_rows: int = 0
    sums: tuple[float, ...] = ()

    def numbers(self) -> list[float]:
        """All of it in a row, to be told to other ranks."""
        values = asdict(self)
        return [*(float(values[name]) for name in _SCALARS), *self.sums]

    @classmethod
    def of(cls, numbers: Sequence[float]) -> "Progress":
        """What :meth:`numbers` made the row of."""
        scalars: dict[str, Any] = {
            name: type(getattr(cls, name))(number)
            for name, number in zip(_SCALARS, numbers, strict=False)
        }
        return cls(**scalars, sums=tuple(numbers[len(_SCALARS) :]))


_SCALARS = [field.name for field in fields(Progress) if field.name != "sums"]


def save(path: Path, state: Sequence[NDArray[Any]], progress: Progress) -> None:
    """Write state and progress, whole or not at all; EnvironmentLacks on a full disk."""
    content = io.BytesIO()
    arrays = {f"variable_{i}": value for i, value in enumerate(state)}
    np.savez(content, **{PROGRESS: np.array(progress.numbers())}, **arrays)
    write_atomically(path, content.getvalue())


def read_progress(path: Path) -> Progress:
    """How far the checkpoint is; DataError if the file is corrupt."""
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            return Progress.of(file[PROGRESS].tolist())
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        raise DataError(
            f"checkpoint {path} is corrupt: {error}; delete it to start anew"
        ) from error


def load(path: Path, backend: Backend) -> None:
    """Put the saved state into ``backend``; DataError if it does not fit."""
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            names = [name for name in file.files if name.startswith("variable_")]
            backend.restore([file[f"variable_{i}"] for i in range(len(names))])
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        raise DataError(f"checkpoint {path} does not fit this run: {error}") from error
