"""What counting energy costs a run.

    python benchmarks/energy.py [--models fc-64 cnn-1] [--rounds 6]

In rounds, with and without: microseconds a sample, their ratio round by round, and the share of one
core that sampling took by its thread's own clock. The counters are the machine's, where they can be
read, else two made-up CPU packages, whose files are read as real ones are.
"""

import argparse
import os
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from hpcbench.devices.cores import cpu_name
from hpcbench.devices.counters import POWERCAP, packages
from hpcbench.devices.gpus import visible_gpus
from hpcbench.models import MODELS
from runs import train
from spread import spread


def make_up(folder: Path) -> Path:
    """Two packages as powercap shows them."""
    for number in range(2):
        zone = folder / f"intel-rapl:{number}"
        zone.mkdir()
        (zone / "name").write_text(f"package-{number}\n")
        (zone / "max_energy_range_uj").write_text("65532610987\n")
        (zone / "energy_uj").write_text("1234567890\n")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS.names(), default=["fc-64", "cnn-1"])
    parser.add_argument("--rounds", type=int, default=6)
    arguments = parser.parse_args()
    if visible_gpus(os.environ):
        raise SystemExit("this compares counting with not counting, and GPUs are always counted")
    load = os.getloadavg()[0]
    table = Table("model", "not counted", "counted", "ratio", "share of a core, %")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        real = bool(packages(POWERCAP))
        counted = POWERCAP if real else make_up(Path(folder))
        for model in arguments.models:
            found: dict[Path, list[float]] = {Path(folder) / "none": [], counted: []}
            shares = []
            for _ in range(arguments.rounds):
                for place, values in found.items():
                    os.environ["HPCBENCH_POWERCAP"] = str(place)
                    run = train(f"--model={model}", "--strategy=single")
                    values.append(1e6 / run.rate)
                    if place == counted:
                        shares.append(100 * run.document["energy_sampling_core_share"])
            without, with_it = found.values()
            ratios = [b / a for a, b in zip(without, with_it, strict=True)]
            table.add_row(
                model, spread(without, 1), spread(with_it, 1), spread(ratios, 2), spread(shares, 3)
            )
    console = Console(width=120, markup=False)
    console.print(
        f"{cpu_name()}, {'its own' if real else 'made-up'} counters, load {load:.2f} at the start; "
        f"microseconds a sample: median [lowest, highest] of {arguments.rounds}"
    )
    console.print(table)


if __name__ == "__main__":
    main()
