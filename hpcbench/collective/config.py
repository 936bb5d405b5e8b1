"""CollectivesConfig: what is asked of a measurement of collective operations."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hpcbench.collective import OPERATIONS
from hpcbench.collective.libraries import LIBRARIES
from hpcbench.errors import unknown_name
from hpcbench.models import MODELS

ALL = "all"


class CollectivesConfig(BaseModel):
    """Fields become flags of hpcbench collectives."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    through: Annotated[str, Field(description="libraries, separated by commas")] = ALL
    operations: Annotated[str, Field(description="operations, separated by commas")] = ALL
    smallest: Annotated[int, Field(ge=1, description="bytes of the smallest buffer")] = 4
    largest: Annotated[int, Field(ge=1, description="bytes of the largest")] = 256 * 2**20
    factor: Annotated[
        int, Field(ge=2, description="between a size and the next; the largest is always there")
    ] = 4
    models: Annotated[
        str, Field(description="whose gradients are summed too, separated by commas")
    ] = ""
    rounds: Annotated[
        int, Field(ge=1, description="how often each is timed, all in another order each time")
    ] = 7
    seconds: Annotated[float, Field(gt=0, le=60, description="how long a timing takes, about")] = (
        0.02
    )
    results: Annotated[Path, Field(description="folder below which a new one is made")] = Path(
        "results/collectives"
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.largest < self.smallest:
            raise ValueError(f"largest {self.largest} is below smallest {self.smallest}")
        for name in self.wanted_operations:
            if name not in OPERATIONS:
                raise unknown_name("operation", name, list(OPERATIONS))
        for name in self.wanted_libraries or []:
            LIBRARIES[name]
        for field in ("through", "operations"):
            if not _names(getattr(self, field)):
                raise ValueError(f"{field} names none; {ALL} is every one that is there")
        for name in self.wanted_models:
            MODELS[name]
        return self

    @property
    def wanted_libraries(self) -> list[str] | None:
        """None for whatever is there."""
        return None if self.through == ALL else _names(self.through)

    @property
    def wanted_operations(self) -> list[str]:
        return list(OPERATIONS) if self.operations == ALL else _names(self.operations)

    @property
    def wanted_models(self) -> list[str]:
        return _names(self.models)

    @property
    def sizes(self) -> list[int]:
        """Bytes, growing."""
        found = []
        size = self.smallest
        while size < self.largest:
            found.append(size)
            size *= self.factor
        return [*found, self.largest]


def _names(text: str) -> list[str]:
    """Each once."""
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
