"""From process start to the first measured step, beside importing TensorFlow and compiling.

    python benchmarks/startup.py [--models fc-64 cnn-2] [--rounds 5]

In turns: a process that does nothing but import TensorFlow, and a short run, which tells its
own start-up and how much of it was tracing, compiling and warming up.
"""

import argparse
import os
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

from hpcbench.devices.cores import cpu_name
from hpcbench.models import MODELS
from runs import train
from spread import spread


def import_seconds() -> float:
    """Of a process that imports TensorFlow and ends."""
    start = time.perf_counter()
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
    subprocess.run([sys.executable, "-c", "import tensorflow"], check=True, env=quiet)
    return time.perf_counter() - start


def startup_seconds(model: str) -> tuple[float, float]:
    """A run's seconds to its first measured step, and those of them spent compiling."""
    document = train(f"--model={model}", "--train-samples=1280").document
    return document["startup_seconds"], document["compile_seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS.names(), default=["fc-64", "cnn-2"])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    table = Table("model", "import tensorflow", "start-up", "compiling", "beyond both", "load")
    for model in arguments.models:
        load = os.getloadavg()[0]
        imports, startups, compiles = [], [], []
        for _ in range(arguments.rounds):
            imports.append(import_seconds())
            startup, compiling = startup_seconds(model)
            startups.append(startup)
            compiles.append(compiling)
        beyond = [s - i - c for s, i, c in zip(startups, imports, compiles, strict=True)]
        table.add_row(
            model, *(spread(v, 2) for v in (imports, startups, compiles, beyond)), f"{load:.2f}"
        )
    console = Console(width=110, markup=False)
    console.print(f"{cpu_name()}; seconds: median [lowest, highest] of {arguments.rounds}")
    console.print(table)


if __name__ == "__main__":
    main()
