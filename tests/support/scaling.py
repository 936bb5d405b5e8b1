"""hpcbench scale as a user starts it."""

from pathlib import Path

from support import Finished, environment, run


def scale(folder: Path, *arguments: str | Path, **more: str) -> Finished:
    """One repeat, in short intervals."""
    quick = ("--repeats=1", "--interval-seconds=0.1", f"--results={folder}")
    line = ("python", "-m", "hpcbench", "scale", *quick, *arguments)
    return run(line, env=environment(**more))
