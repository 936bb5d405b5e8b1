"""What a user names by a file or a module: ``my_net.py``, ``my_net.py:tiny``, ``nets.small:build``.

So that nobody has to copy a file into this package. The file's content is part of what is measured,
so it has a digest.
"""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from hpcbench.errors import ConfigError, first_line

# The object that is taken of a module where none is named.
DEFAULT_OBJECT = "build"
# ``keras:ResNet50`` is no module's object, but a network that Keras brings.
OF_KERAS = "keras:"


@dataclass(frozen=True)
class Loaded:
    """A module of a user's, the ``object`` that was named of it (or ""), its file and digest."""

    module: ModuleType
    object: str
    file: Path
    digest: str


def is_reference(name: str) -> bool:
    """Whether ``name`` names a file or a module, rather than something that is registered."""
    return (":" in name and not name.startswith(OF_KERAS)) or name.endswith(".py")


def reference_name(reference: str) -> str:
    """The short name of what a reference names: of its object, else of its file or module."""
    place, _, named = reference.partition(":")
    if named and named != DEFAULT_OBJECT:
        return named
    return Path(place).stem if place.endswith(".py") else place.rpartition(".")[2]


def load(reference: str) -> Loaded:
    """Import what ``reference`` names, each file once; ConfigError where it is not there or does
    not load."""
    place, _, named = reference.partition(":")
    module = _module_of_file(Path(place).absolute()) if place.endswith(".py") else _module(place)
    file = Path(module.__file__ or "")
    if not file.is_file():
        raise ConfigError(f"{place} is no module of one file")
    return Loaded(module, named, file, hashlib.sha256(file.read_bytes()).hexdigest()[:16])


@cache
def _module_of_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"there is no file {path}")
    # A name of its own, so that a file called keras.py hides nothing.
    name = f"hpcbench_own_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with loading(str(path)):
        spec.loader.exec_module(module)
    return module


def _module(name: str) -> ModuleType:
    # As python -m does it: the folder that one is in comes first.
    if "" not in sys.path:
        sys.path.insert(0, "")
    with loading(name):
        return importlib.import_module(name)


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Whatever a module of somebody else's does as it loads is a ConfigError."""
    try:
        yield
    except SystemExit as error:
        raise ConfigError(
            f'{what} ends the program as it loads; put what does so under if __name__ == "__main__"'
        ) from error
    except Exception as error:
        raise ConfigError(
            f"{what} does not load: {type(error).__name__}: {first_line(error)}"
        ) from error
