"""A run's state in one file, from which it goes on as if it had never stopped."""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import tensorflow as tf

from hpcbench.errors import DataError
from hpcbench.records.writer import write_atomically

CHECKPOINT_FILE = "checkpoint.npz"


@dataclass(frozen=True)
class Progress:
    """What is behind: whole epochs, and of the epoch under way its intervals, its seconds and
    its ``sums`` (of losses, then the objective's); steps, seconds and rows written in all."""

    epochs: int = 0
    intervals: int = 0
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


def save(path: Path, variables: Sequence[tf.Variable], progress: Progress) -> None:
    """Write values and progress, whole or not at all; EnvironmentLacks on a full disk."""
    content = io.BytesIO()
    arrays = {f"variable_{i}": variable.numpy() for i, variable in enumerate(variables)}
    np.savez(content, progress=np.array(progress.numbers()), **arrays)
    write_atomically(path, content.getvalue())


def read_progress(path: Path) -> Progress:
    """How far the checkpoint is; DataError if the file is corrupt."""
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            return Progress.of(file["progress"].tolist())
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DataError(
            f"checkpoint {path} is corrupt: {error}; delete it to start anew"
        ) from error


def load(path: Path, variables: Sequence[tf.Variable]) -> None:
    """Put the saved values into ``variables``; DataError if they do not fit."""
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            for i, variable in enumerate(variables):
                variable.assign(file[f"variable_{i}"])
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DataError(f"checkpoint {path} does not fit this run: {error}") from error
