"""The libraries that exchange buffers between ranks: one file each, behind the class Library.

Adding one is adding one file (or one module of another package, by an entry point of the group
``hpcbench.libraries``).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar

from hpcbench.collective import Floats
from hpcbench.registry import Registry
from hpcbench.strategies import Strategy


@dataclass(frozen=True)
class Exchange:
    """An operation on buffers that are there: ``run`` starts it, ``wait`` returns when all that was
    started is done on this rank, ``results`` are what this rank then has."""

    run: Callable[[], object]
    results: Callable[[], list[Floats]]
    wait: Callable[[], object] = lambda: None


class Library(ABC):
    """A way to exchange; ``strategy`` connects its ranks, in ``framework`` if it is of one.

    ``forms`` are the ways in which the many tensors of a model's gradients are summed.
    """

    name: ClassVar[str]
    strategy: ClassVar[str]
    framework: ClassVar[str | None] = None
    # What Python imports for it.
    modules: ClassVar[tuple[str, ...]]
    operations: ClassVar[tuple[str, ...]]
    forms: ClassVar[tuple[str, ...]]
    # Whether its ranks meet where those of others would, so that it is measured by itself.
    by_itself: ClassVar[bool] = False

    def __init__(self, ranks: Strategy) -> None:
        self.ranks = ranks

    @classmethod
    def lacks(cls) -> str:
        """The package that it needs and that is not installed; empty where none is."""
        return next((module for module in cls.modules if find_spec(module) is None), "")

    @abstractmethod
    def exchange(self, operation: str, form: str, inputs: Sequence[Floats]) -> Exchange:
        """``operation`` on this rank's ``inputs``; on several for all_reduce only, by ``form``."""


LIBRARIES: Registry[type[Library]] = Registry("library", __name__)
