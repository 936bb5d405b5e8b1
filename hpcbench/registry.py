"""A named collection that fills itself: every module of a package registers what it defines."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from hpcbench.errors import ConfigError, unknown_name

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps names to entries; importing the package's modules, once, fills it."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._entries: dict[str, T] = {}
        self._loaded = False

    def add(self, name: str, entry: T) -> None:
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._entries[name] = entry

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator form of :meth:`add`."""

        def decorate(entry: T) -> T:
            self.add(name, entry)
            return entry

        return decorate

    def _load(self) -> None:
        """Raises ConfigError where a module, perhaps a user's own, cannot be imported."""
        if self._loaded:
            return
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            name = f"{self._package}.{module.name}"
            try:
                importlib.import_module(name)
            except Exception as error:
                place = f"{self._package.replace('.', '/')}/{module.name}.py"
                raise ConfigError(f"{place} does not load: {error}") from error
        self._loaded = True

    def names(self) -> list[str]:
        self._load()
        return list(self._entries)

    def __getitem__(self, name: str) -> T:
        """The entry, or a ConfigError that suggests the closest name."""
        self._load()
        if name not in self._entries:
            raise unknown_name(self.kind, name, self.names())
        return self._entries[name]

    def __iter__(self) -> Iterator[T]:
        self._load()
        return iter(self._entries.values())
