"""Command lines: flags made from the typed configuration, errors of one sentence."""

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn, ParamSpec, get_args, get_origin

from pydantic import BaseModel

from hpcbench.errors import ConfigError, HpcbenchError, unknown_name
from hpcbench.terminal import speak_any_language

P = ParamSpec("P")


def reports_errors(main: Callable[P, int]) -> Callable[P, int]:
    """A command's ``main`` that prints an error of ours as one sentence, and returns its exit
    status."""

    @functools.wraps(main)
    def reporting(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return main(*args, **kwargs)
        except HpcbenchError as error:
            print(f"hpcbench: {error}", file=sys.stderr)
            return error.exit_status

    return reporting


def at_least_one(text: str) -> int:
    """The type of an argument that counts something."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return number


class Parser(argparse.ArgumentParser):
    """argparse, with one sentence instead of a usage page where an argument is wrong."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)

    def parse(self, arguments: Sequence[str] | None) -> argparse.Namespace:
        """Parse; ConfigError suggests the closest flag for an unknown one.

        Every command begins here, so its output is made safe here too.
        """
        speak_any_language()
        # Positional arguments may stand on both sides of a flag, but not where there are parts.
        parse = self.parse_known_args if self._subparsers else self.parse_known_intermixed_args
        known, unknown = parse(arguments)
        if unknown and not unknown[0].startswith("-"):
            raise ConfigError(f"unexpected argument {unknown[0]!r}")
        if unknown:
            flags = [flag for part in self._parts(known) for flag in part._option_string_actions]
            long = [flag for flag in flags if flag.startswith("--")]
            raise unknown_name("argument", unknown[0].split("=")[0], long)
        return known

    def _parts(self, known: argparse.Namespace) -> list[argparse.ArgumentParser]:
        """This parser and that of the part that was called, if it has parts."""
        parts: list[argparse.ArgumentParser] = [self]
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                called = action.choices.get(getattr(known, action.dest, None) or "")
                parts += [called] if called else []
        return parts


def add_flags(
    parser: argparse.ArgumentParser, fields_of: type[BaseModel], /, **choices: str
) -> None:
    """One flag a field of ``fields_of``; ``choices`` are names to list in the help of a field.

    A flag that is not given leaves no trace, so that the model's own defaults hold.
    """
    for name, field in fields_of.model_fields.items():
        options: dict[str, Any] = {"help": field.description, "default": argparse.SUPPRESS}
        if field.annotation is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["metavar"] = choices.get(name) or _metavar(field.annotation)
            if field.default is not None:
                options["help"] += f" (default: {field.default})"
        parser.add_argument(f"--{name.replace('_', '-')}", **options)


def _metavar(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return "|".join(get_args(annotation))
    for part in get_args(annotation):
        if part is not type(None):
            return _metavar(part)
    return {"int": "N", "float": "X", "Path": "DIR"}.get(annotation.__name__, "NAME")


def values_of(args: argparse.Namespace, model: type[BaseModel]) -> dict[str, Any]:
    """What the command line says of ``model``'s fields."""
    return {k: v for k, v in vars(args).items() if k in model.model_fields}
