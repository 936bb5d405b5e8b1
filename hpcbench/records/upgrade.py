"""Files of earlier schemas as today's: what came later gets the value that says so."""

import math
from dataclasses import asdict
from typing import Any

from hpcbench.config import RunConfig
from hpcbench.errors import HpcbenchError
from hpcbench.programs.config import ProgramConfig
from hpcbench.records.identity import UNKNOWN, Identity
from hpcbench.records.schema import RUN_FILE, SCHEMA_VERSION
from hpcbench.validation import parse

# By column: the first schema that has it, and what rows of earlier ones are given.
LATER_COLUMNS: dict[str, tuple[int, Any]] = {
    "cpu_math": (2, UNKNOWN),
    "evaluation_seconds": (3, math.nan),
    "background_seconds": (5, math.nan),
}


def check_version(document: object) -> int:
    """The schema of a run.json; raises ValueError for what this version cannot read."""
    version = document.get("schema_version") if isinstance(document, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"not a {RUN_FILE} of hpcbench")
    if version > SCHEMA_VERSION:
        raise ValueError(
            f"written by a newer hpcbench (schema {version}, this one reads up to "
            f"{SCHEMA_VERSION}): upgrade hpcbench"
        )
    return version


def missing_columns(found: list[str], wanted: list[str], version: int) -> dict[str, Any]:
    """The columns of ``wanted`` that a file of schema ``version`` does not have, with the values
    that they get.

    Raises ValueError where the file's columns are not those of its schema, in their order.
    """
    later = {
        name: default
        for name, (first, default) in LATER_COLUMNS.items()
        if name in wanted and version < first
    }
    if found != [name for name in wanted if name not in later]:
        raise ValueError(f"does not have the columns of schema {version}")
    return later


def config_of(document: dict[str, Any]) -> RunConfig:
    """The configuration in a run.json, whatever settings there were then; raises ConfigError."""
    known = RunConfig.model_fields
    return parse(RunConfig, {n: v for n, v in document["config"].items() if n in known})


def identity_of(document: dict[str, Any]) -> Identity | None:
    """The identity of a run from its run.json; None where that does not say enough.

    Schema 1 has it only in the rows, so it is made of the configuration, as are runs that failed
    before they wrote it.
    """
    world_size = (document.get("schedule") or {}).get("world_size")
    try:
        if "identity" in document:
            return Identity(**document["identity"])
        if not document.get("config"):
            return None
        if "command" in document["config"]:
            program = parse(ProgramConfig, document["config"])
            return Identity.of_program(program, str(document.get("sweep", "")))
        config = config_of(document)
        return Identity.of(config, str(document.get("sweep", "")), world_size=world_size)
    except (HpcbenchError, TypeError):
        return None


def columns_of(document: dict[str, Any]) -> dict[str, Any]:
    """What is known of the columns of a run's identity, also of one that failed before it had
    any."""
    identity = identity_of(document)
    return asdict(identity) if identity else document.get("config") or {}
