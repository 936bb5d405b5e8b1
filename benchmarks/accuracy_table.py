"""Trains each of the workshop's models as the workshop did and prints its table beside ours.

    python benchmarks/accuracy_table.py [--models fc-64 ...] [--seeds 3] [--results DIR]

Epochs are those behind the workshop's score table, the data is MNIST. Finished runs are kept and
skipped, so it can be stopped and started again.
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from hpcbench.models import MODELS
from hpcbench.records.reader import read_results

SWEEP = "accuracy-table"
WORKSHOP = {spec.name: spec.workshop for spec in MODELS if spec.workshop}


def train(model: str, repeat: int, results: Path) -> None:
    """One run, in a process of its own; raises CalledProcessError if it fails."""
    command = [
        sys.executable,
        "-m",
        "hpcbench.train",
        "--model",
        model,
        "--dataset",
        "mnist",
        "--strategy",
        "single",
        "--epochs",
        str(WORKSHOP[model].epochs),
        "--repeat",
        str(repeat),
        "--results",
        str(results),
        "--sweep",
        SWEEP,
    ]
    print("+", *command[1:], flush=True)
    subprocess.run(command, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=WORKSHOP, default=list(WORKSHOP))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    for repeat in range(arguments.seeds):
        for model in arguments.models:
            train(model, repeat, arguments.results)
    print_table(arguments.results / SWEEP)


def print_table(folder: Path) -> None:
    """Median and range over the seeds, beside the workshop's score table."""
    accuracy = read_results(folder).accuracy
    last = accuracy.loc[accuracy.groupby("run_id")["epoch"].idxmax()]
    table = Table("model", "parameters", "epochs", "workshop %", "here %", "range", "difference")
    for spec in MODELS:
        values = sorted(100 * value for value in last[last["model"] == spec.name]["test_metric"])
        if not values:
            continue
        median = statistics.median(values)
        workshop = 100 * WORKSHOP[spec.name].accuracy
        table.add_row(
            spec.name,
            f"{spec.parameters:,}",
            str(WORKSHOP[spec.name].epochs),
            f"{workshop:.2f}",
            f"{median:.2f}",
            f"{values[0]:.2f}-{values[-1]:.2f} ({len(values)})",
            f"{median - workshop:+.2f}",
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
