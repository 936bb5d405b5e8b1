"""What the probe of hpcbench scale costs, and how near its rate is to two others.

    python benchmarks/own_program.py [--rounds 6] [--trainer-rounds 12]

One program on one core, run in turns with the probe and without it, and this project's trainer on
the same network with images in memory. The program measures itself too, by its own clock.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

import hpcbench
from hpcbench.devices.cores import cpu_name
from hpcbench.records.reader import read_results
from spread import spread

PROBE = Path(hpcbench.__file__).parent / "probe"
PROGRAM = str(Path(__file__).parent / "plain_program.py")
# Some ten seconds each; and so many where every second one is without the probe, since pairs of the
# small network's differ by some two per cent.
EPOCHS = {"mlp": 8, "cnn-pytorch": 3}
PAIRED_EPOCHS = {"mlp": 247, "cnn-pytorch": 19}
OWN_CLOCK = re.compile(r"own clock: ([0-9.]+) samples/s")


def with_probe(name: str, folder: Path) -> tuple[float, float]:
    """The rate by the probe, and by the program's own clock in the same run."""
    line = [sys.executable, "-m", "hpcbench", "scale", "--repeats=1", f"--results={folder}"]
    command = [sys.executable, PROGRAM, name, str(EPOCHS[name])]
    subprocess.run([*line, "--batch=64", "--", *command], check=True, stdout=subprocess.DEVNULL)
    (log,) = folder.rglob("*.log")
    return rate_in(folder), own_clock(log.read_text(encoding="utf-8"))


def own_clock(printed: str) -> float:
    found = OWN_CLOCK.search(printed)
    if found is None:
        raise SystemExit(f"the program did not end well: {printed}")
    return float(found[1])


def rate_in(folder: Path) -> float:
    rows = read_results(folder).throughput
    return float(rows["samples"].sum() / rows["seconds"].sum())


def without_probe(name: str) -> float:
    command = [sys.executable, PROGRAM, name, str(EPOCHS[name])]
    return own_clock(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def paired_cost(name: str, folder: Path) -> float:
    """The time of epochs with the probe over that of those without it, in turns in a process."""
    paths = {"PYTHONPATH": str(PROBE), "HPCBENCH_PROBE": str(folder), "ALTERNATE": "yes"}
    command = [sys.executable, PROGRAM, name, str(PAIRED_EPOCHS[name])]
    environment = os.environ | paths
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    found = re.search(r"with the probe / without: ([0-9.]+)", done.stdout)
    if found is None:
        raise SystemExit(done.stdout + done.stderr)
    return float(found[1])


def with_probe_alone(folder: Path) -> float:
    return with_probe("cnn-pytorch", folder)[0]


def trainer(folder: Path) -> float:
    """The rate of this project's own trainer, on made-up images in memory."""
    line = [sys.executable, "-m", "hpcbench.train", "--framework=torch", "--model=cnn-pytorch"]
    settings = ("--strategy=single", "--cores-per-device=1", "--epochs=3", "--train-samples=6400")
    beside = "--no-exchange-intervals=0"
    where = (f"--results={folder}", "--batch=64", "--input=synthetic", beside)
    subprocess.run([*line, *settings, *where], check=True, stdout=subprocess.DEVNULL)
    return rate_in(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--trainer-rounds", type=int, default=12, help="beside the own trainer")
    arguments = parser.parse_args()
    print(f"{cpu_name()}; load average {os.getloadavg()[0]:.1f}")
    found: dict[str, list[float]] = {}
    for number in range(arguments.rounds):
        for name in EPOCHS:
            with tempfile.TemporaryDirectory() as folder:
                # Whoever goes first in one round goes second in the next.
                first = without_probe(name) if number % 2 else 0.0
                by_probe, own = with_probe(name, Path(folder))
                bare = first or without_probe(name)
            found.setdefault(f"{name}: probe / own clock, same run", []).append(by_probe / own)
            found.setdefault(f"{name}: probe / without it, by its own clock", []).append(own / bare)
            with tempfile.TemporaryDirectory() as folder:
                cost = paired_cost(name, Path(folder))
            found.setdefault(f"{name}: with the probe / without it, same process", []).append(cost)
    for number in range(arguments.trainer_rounds):
        # One straight after the other: a shared machine changes within minutes.
        rates = {}
        for who in (with_probe_alone, trainer)[:: -1 if number % 2 else 1]:
            with tempfile.TemporaryDirectory() as folder:
                rates[who] = who(Path(folder))
        ratio = rates[with_probe_alone] / rates[trainer]
        found.setdefault("cnn-pytorch: probe / hpcbench train", []).append(ratio)
    table = Table("ratio", "median [range]", "each")
    for what, values in found.items():
        each = ", ".join(f"{value:.4f}" for value in values)
        table.add_row(what, spread(values, 4), each)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
