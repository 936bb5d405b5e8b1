"""Values from command lines and TOML files as typed models, with errors of one sentence."""

import json
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hpcbench.errors import ConfigError, unknown_name

# A name becomes a folder, and later part of a job script: nothing that a shell could read.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"

Model = TypeVar("Model", bound=BaseModel)


def parse(model: type[Model], values: dict[str, Any], flag: str = "--") -> Model:
    """``model(**values)``, with pydantic's report turned into one sentence.

    Names stand in it as flags, or as they are if ``flag`` is empty. Raises ConfigError.
    """
    try:
        return model(**values)
    except ValidationError as error:
        # A misspelt name is reported before the missing one that it was meant for.
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise unknown_name("setting", name, list(model.model_fields)) from error
        if first["type"] == "missing":
            raise ConfigError(f"{flag}{name} is missing") from error
        shown = f"{flag}{name.replace('_', '-')}" if flag else name
        message = first["msg"].removeprefix("Value error, ")
        if not name:
            raise ConfigError(message) from error
        raise ConfigError(f"{shown} {first['input']}: {message}") from error


def read_toml(model: type[Model], path: Path, kind: str) -> Model:
    """A TOML file as ``model``; raises ConfigError with the file's name."""
    try:
        # Some editors begin a file with a mark of its encoding.
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{kind} {path}: {error}") from error
    try:
        return parse(model, values, flag="")
    except ConfigError as error:
        raise ConfigError(f"{kind} {path}: {error}") from error


def setting(name: str, value: str | float | bool | list[str]) -> str:
    """A line of a TOML file; such a value is written there as in JSON."""
    return f"{name} = {json.dumps(value, ensure_ascii=False)}"


def seconds_of(environment: Mapping[str, str], name: str, default: float) -> float:
    """What a variable says; ConfigError where that is no number of seconds."""
    said = environment.get(name, str(default))
    try:
        seconds = float(said)
    except ValueError:
        seconds = 0
    if not 0 < seconds < math.inf:
        raise ConfigError(f"{name}={said!r} is not a number of seconds")
    return seconds
