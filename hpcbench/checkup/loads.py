"""Loads what a rank loads and prints what it found as JSON; a process of its own, since it may die.

Run by the doctor: python -m hpcbench.checkup.loads
"""

import json
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

from hpcbench.errors import first_line
from hpcbench.frameworks import FRAMEWORKS
from hpcbench.strategies import STRATEGIES


def main() -> None:
    """Print ``frameworks`` (what each sees and how it calculates), ``libraries`` (what those of
    strategies tell of themselves) and ``errors``, all by name."""
    found: dict[str, Any] = {"frameworks": {}, "libraries": {}, "errors": {}}
    for framework in FRAMEWORKS:
        if find_spec(framework.module) is None:
            continue
        try:
            found["frameworks"][framework.name] = asdict(framework.probe())
        except Exception as error:
            found["errors"][framework.name] = first_line(error)
    for strategy in STRATEGIES:
        try:
            facts = strategy.probe()
        except Exception as error:
            found["errors"][strategy.name] = first_line(error)
            continue
        if facts:
            found["libraries"][strategy.name] = facts
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
