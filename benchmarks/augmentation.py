"""What changing images at random costs, on one device.

    python benchmarks/augmentation.py [--models fc-64 cnn-2] [--rounds 3]

In rounds over no change, each kind, and all together: microseconds a sample.
"""

import argparse
import os

from rich.console import Console
from rich.table import Table

from hpcbench.config import AUGMENTATIONS
from hpcbench.devices.cores import cpu_name
from hpcbench.models import MODELS
from runs import train
from spread import spread

WAYS = ("none", *sorted(AUGMENTATIONS), "+".join(sorted(AUGMENTATIONS)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS.names(), default=["fc-64", "cnn-2"])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    table = Table("model", *WAYS[:-1], "all")
    for model in arguments.models:
        found: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(arguments.rounds):
            for way in WAYS:
                rate = train(f"--model={model}", "--strategy=single", f"--augment={way}").rate
                found[way].append(1e6 / rate)
        table.add_row(model, *(spread(found[way], 1) for way in WAYS))
    console = Console(width=150, markup=False)
    console.print(
        f"{cpu_name()}, load {load:.2f} at the start; microseconds a sample: median [lowest, "
        f"highest] of {arguments.rounds}"
    )
    console.print(table)


if __name__ == "__main__":
    main()
