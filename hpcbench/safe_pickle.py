"""Reads the pickled lists and arrays in published data files without running what is in them.

A pickle can name any function to be called. Only numpy's own constructors of arrays are let through
here; anything else makes the file corrupt.
"""

import io
import pickle
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

# The modules in which versions of numpy have kept the constructors of arrays and of their types.
_ARRAYS = ("numpy.core.multiarray", "numpy._core.multiarray")
_ADMITTED = {
    *((module, name) for module in _ARRAYS for name in ("_reconstruct", "scalar")),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    # How Python 3 writes bytes in the protocols of Python 2.
    ("_codecs", "encode"),
}


class Refused(ValueError):
    """The pickle names something that is neither a list, a number, text nor an array."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise Refused(f"it wants to call {module}.{name}, which no data file needs")
        return super().find_class(module, name)


def load(file: IO[bytes]) -> Any:
    """The pickled value; text of Python 2 as bytes. Raises ValueError, Refused for a call."""
    try:
        return _Unpickler(file, encoding="bytes").load()
    except (
        pickle.UnpicklingError,
        EOFError,
        AttributeError,
        IndexError,
        KeyError,
        TypeError,
        ImportError,
    ) as error:
        raise ValueError(f"not a pickle of plain data: {error}") from error


def load_npz(path: Path, names: tuple[str, ...]) -> list[np.ndarray[Any, np.dtype[Any]]]:
    """Arrays of an ``.npz``, also such whose elements are pickled lists.

    Raises ValueError, KeyError, OSError or zipfile.BadZipFile if they are not there.
    """
    with zipfile.ZipFile(path) as archive:
        return [_array(archive.read(f"{name}.npy")) for name in names]


def npz_length(path: Path, name: str) -> int:
    """How many rows an array of an ``.npz`` has, from its header; raises as :func:`load_npz`."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
        return int(_header(file)[0][0])


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the array that follows."""
    old = np.lib.format.read_magic(file) == (1, 0)  # type: ignore[no-untyped-call]
    read = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
    shape, _, kind = read(file)  # type: ignore[no-untyped-call]
    return shape, kind


def _array(content: bytes) -> np.ndarray[Any, np.dtype[Any]]:
    file = io.BytesIO(content)
    shape, kind = _header(file)
    if not kind.hasobject:
        file.seek(0)
        return np.load(file, allow_pickle=False)
    array = np.asarray(load(file), dtype=object)
    if array.shape != shape:
        raise ValueError(f"it holds an array of shape {array.shape} where {shape} is announced")
    return array
