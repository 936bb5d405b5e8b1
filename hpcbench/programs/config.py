"""ProgramConfig: the one typed description of a run of somebody's own program."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from hpcbench.errors import ConfigError
from hpcbench.validation import NAME_PATTERN

# What a command may hold in braces.
PLACEHOLDERS = (
    *("devices", "nodes", "devices_per_node", "batch", "global_batch", "seed", "repeat", "output"),
    *("main_address", "main_port"),
)
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
SAMPLES = "samples/s"
# How data are called of which something else than samples is counted.
COUNTED_IN = "own data, counted in "
# What starts Python, and is not the program's name.
_STARTERS = re.compile(
    r"(python[\d.]*|torchrun|mpirun|mpiexec|srun|horovodrun|accelerate|deepspeed)$"
)
Count = Annotated[int, Field(ge=1)]


class Program(BaseModel):
    """A program and how it is measured: the table ``program`` of a sweep file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: Annotated[list[str], Field(min_length=1)]
    name: Annotated[str, Field(pattern=NAME_PATTERN)] = ""
    shell: bool = False
    # Further arguments of a command that goes on where it was stopped.
    resume_with: list[str] = []
    start: Literal["once", "per-node", "per-device"] = "once"
    batch: Count | None = None
    metric: str | None = None
    take: Literal["each", "mean", "last"] = "each"
    # Of what a printed number is: of all devices, or of one.
    metric_of: Literal["all", "device"] = "all"
    unit: Annotated[str, Field(pattern=r"^[\w .-]+/s$")] = SAMPLES
    environment: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str] = {}
    # How long an interval is at least.
    interval_seconds: Annotated[float, Field(ge=0.02, le=60)] = 0.5
    stall_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 600

    @field_validator("command", "resume_with")
    @classmethod
    def _known_placeholders(cls, command: list[str]) -> list[str]:
        single = (part.replace("{{", "").replace("}}", "") for part in command)
        found = {name for part in single for name in _PLACEHOLDER.findall(part)}
        for name in sorted(found - set(PLACEHOLDERS)):
            raise ValueError(
                f"{{{name}}} is none of {', '.join(PLACEHOLDERS)}; write {{{{ for a brace"
            )
        return command

    @field_validator("metric")
    @classmethod
    def _with_a_group(cls, metric: str | None) -> str | None:
        if metric is None:
            return None
        try:
            pattern = re.compile(metric)
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from error
        unknown = set(pattern.groupindex) - {"value", "step", "rank"}
        if unknown:
            raise ValueError(f"its groups may be called value, step and rank, not {min(unknown)}")
        if not pattern.groups:
            raise ValueError("has no group in parentheses for the number")
        return metric

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.shell and len(self.command) > 1:
            raise ValueError("a shell reads one string, not several arguments")
        if not self.name:
            object.__setattr__(self, "name", program_name(self.command))
        if any("batch}" in part for part in self.command) and self.batch is None:
            raise ValueError("its command asks for a batch, and none is given")
        return self


class ProgramConfig(Program):
    """One run of a program. Its fields that a RunConfig has too mean the same."""

    devices: Count = 1
    scaling: Literal["weak", "strong"] = "weak"
    seed: int | None = None
    repeat: int | None = None
    cores_per_device: Count | None = None

    @property
    def run_id(self) -> str:
        """Twelve hexadecimal digits that any change of what is measured changes."""
        content = self.model_dump(mode="json", exclude={"stall_seconds"})
        text = json.dumps({"program": content}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def data(self) -> str:
        """What it trains on, as far as that is known: its own data, and what of them is counted."""
        return "own data" if self.unit == SAMPLES else COUNTED_IN + self.counted

    @property
    def counted(self) -> str:
        """What a rate is of, so many a second."""
        return self.unit.removesuffix("/s")

    @property
    def batches(self) -> tuple[int, int] | None:
        """The batch of a device and of all; None where none is given. ConfigError where it cannot
        be shared."""
        if self.batch is None:
            return None
        if self.scaling == "weak":
            return self.batch, self.batch * self.devices
        if self.batch % self.devices:
            raise ConfigError(
                f"a batch of {self.batch} for all devices cannot be shared by {self.devices}"
            )
        return self.batch // self.devices, self.batch

    def filled(self, values: Mapping[str, object]) -> list[str]:
        """The command with its placeholders filled in; ``{{`` and ``}}`` are braces."""
        return [fill(part, values) for part in self.command]

    def resumed(self, values: Mapping[str, object]) -> list[str]:
        """The command of a run that was stopped before."""
        return [*self.filled(values), *(fill(part, values) for part in self.resume_with)]


def fill(text: str, values: Mapping[str, object]) -> str:
    """``text`` with ``{name}`` replaced by its value, in one pass; doubled braces become single."""

    def value(match: re.Match[str]) -> str:
        if match[0] in ("{{", "}}"):
            return match[0][0]
        return str(values[match[1]]) if match[1] in values else match[0]

    return re.sub(r"\{\{|\}\}|\{([a-z_]+)\}", value, text)


def program_name(command: Sequence[str]) -> str:
    """What a command trains by: its first argument that is a file and starts nothing else, without
    its ending."""
    words = command[0].split() if len(command) == 1 else list(command)
    candidates = [word for word in words if not word.startswith("-")]
    scripts = [word for word in candidates if word.endswith((".py", ".sh"))]
    others = [word for word in candidates if not _STARTERS.search(word)]
    chosen = Path((scripts or others or candidates or ["program"])[0]).name
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", chosen).strip("-._")
    return name[:64] or "program"
