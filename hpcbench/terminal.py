"""Words for the person at the terminal."""

import io
import sys

from rich.console import Console

# Of tables where nobody watches: in a file or a pipe.
WIDTH = 120


def speak_any_language() -> None:
    """Print what the terminal's encoding lacks as a question mark instead of failing over it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def warn(message: str) -> None:
    """A sentence on stderr that ends nothing."""
    print(f"hpcbench: warning: {message}", file=sys.stderr, flush=True)


def console(watched: bool | None = None) -> Console:
    """Where tables are printed: as wide as the terminal if somebody watches."""
    terminal = sys.stdout.isatty() if watched is None else watched
    return Console(width=None if terminal else WIDTH, highlight=False)
