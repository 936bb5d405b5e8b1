"""A named collection that fills itself: every module of a package registers what it defines.

Other packages add to it by an entry point of the collection's group, such as ``hpcbench.models``,
that names a module (or an object of one); importing it registers what it defines.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import EntryPoint, distributions
from typing import Generic, TypeVar

from hpcbench.errors import ConfigError, first_line, unknown_name

T = TypeVar("T")


@cache
def _entry_points() -> tuple[EntryPoint, ...]:
    """Those of all groups of ours, looked for once, since it means to read every package's list."""
    every = (point for package in distributions() for point in package.entry_points)
    return tuple(point for point in every if point.group.startswith("hpcbench."))


class Registry(Generic[T]):
    """Maps names to entries of one ``kind``; it is filled once, when it is first asked.

    Both the modules of ``package`` and the entry points of the group of the package's name count.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        # Of hpcbench.cluster.launchers: hpcbench.launchers.
        self.group = f"hpcbench.{package.rpartition('.')[2]}"
        self._entries: dict[str, T] = {}
        self._loaded = False

    def add(self, name: str, entry: T) -> None:
        """Raises ValueError for a name that is taken."""
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
            file = f"{self._package.replace('.', '/')}/{module.name}.py"
            self._import(f"{self._package}.{module.name}", file)
        for point in (point for point in _entry_points() if point.group == self.group):
            owner = point.dist.name if point.dist else "an unknown package"
            self._import(point.module, f"{self.kind} {point.name!r} of package {owner}")
        self._loaded = True

    def _import(self, module: str, described: str) -> None:
        try:
            importlib.import_module(module)
        except (Exception, SystemExit) as error:
            raise ConfigError(f"{described} does not load: {first_line(error)}") from error

    def names(self) -> list[str]:
        self._load()
        return list(self._entries)

    def __getitem__(self, name: str) -> T:
        """The entry, or a ConfigError that suggests the closest name."""
        self._load()
        if name not in self._entries:
            raise unknown_name(self.kind, name, self.names())
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._entries

    def __iter__(self) -> Iterator[T]:
        self._load()
        return iter(self._entries.values())
