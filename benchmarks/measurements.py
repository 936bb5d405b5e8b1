"""Joins what the benchmarks printed into the page of measurements.

    python benchmarks/measurements.py [--output docs/measurements.md]

A record is ``benchmarks/records/<benchmark>.md``: the command, machine and load average, the table,
and what it says. To measure again, replace the record and run this.
"""

import argparse
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "benchmarks" / "records"
PAGE = ROOT / "docs" / "measurements.md"

# The chapters of the page in their order: a record and its heading.
CHAPTERS = {
    "peers": "Beside loops written by hand",
    "own_program": "Your own programs",
    "models": "Rate and memory of each model",
    "exchange": "The exchange of gradients",
    "horovod_synthetic": "Beside Horovod's synthetic benchmark",
    "newcomer": "From nothing to a plot",
    "startup": "Start-up",
    "augmentation": "Augmentation",
    "energy": "Counting energy",
    "sweeps": "A sweep's own cost",
    "analysis": "The analysis",
}
INTRODUCTION = """\
# Measurements

What the harness costs and how fast its models train, each table below the command that measured it.
Edit no number here: `python benchmarks/measurements.py` makes this page from `benchmarks/records`.

Unless a record says otherwise all of it comes from one shared virtual machine without a GPU, by
versions 0.1 and 0.2, and is therefore noisy: medians with the lowest and highest value. It was
seldom idle when a model began, so take the spreads seriously. Accuracies stand beside
[the models](models.md).
"""


def page() -> str:
    """The page: the introduction, then a chapter a record."""
    chapters = (
        f"## {heading}\n\n{(RECORDS / f'{name}.md').read_text()}"
        for name, heading in CHAPTERS.items()
    )
    return "\n".join([INTRODUCTION, *chapters])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=PAGE, help="default: docs/measurements.md")
    parser.parse_args().output.write_text(page())


if __name__ == "__main__":
    main()
