"""What the harness adds to a sweep: planning, status, and an array's way through Slurm.

    python benchmarks/sweeps.py [--rounds 5]

Planning and status are timed as whole commands on a sweep of 1,000 complete runs. The array is
four short runs at once on jobs/local-cluster's nodes; its overhead is the time from sbatch to the
last run's last row, less what the longest run took from its start to its end.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from hpcbench.devices.cores import cpu_name
from hpcbench.sweep import this_machine
from hpcbench.sweeps.plan import make_plan, read_sweep
from spread import spread

RUNS, TASKS = 1000, 4
EXAMPLE = Path("analysis/examples/default")
SWEEP = """
name = "timed"
repeats = {repeats}
devices = [1]
strategies = ["single"]
[settings]
train_samples = 12800
epochs = 2
[[models]]
model = "fc-64"
"""


def command(*arguments: str | Path, **environment: str) -> float:
    """Seconds that ``python -m hpcbench.sweep`` takes."""
    start = time.perf_counter()
    line = [sys.executable, "-m", "hpcbench.sweep", *map(str, arguments)]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL, env=os.environ | environment)
    return time.perf_counter() - start


def big_sweep(folder: Path) -> Path:
    """A sweep of 1,000 runs that are all complete, each with a real run's run.json."""
    file = folder / "sweep.toml"
    file.write_text(SWEEP.format(repeats=RUNS))
    sweep = read_sweep(file)
    document = json.loads(next(EXAMPLE.rglob("run.json")).read_text())
    for run in make_plan(sweep, folder, this_machine(sweep)).runs:
        run.folder.mkdir(parents=True)
        (run.folder / "run.json").write_text(json.dumps(document | {"run_id": run.config.run_id}))
    return file


def array_overhead(folder: Path, slurm_conf: Path) -> float:
    """Seconds from sbatch to all rows of four runs at once, less the longest run."""
    file = folder / "sweep.toml"
    file.write_text(SWEEP.format(repeats=TASKS))
    results = folder / "results"
    start = time.time()
    command(
        "submit", file, "--site", "local-cluster", "--results", results, SLURM_CONF=str(slurm_conf)
    )
    said: list[str] = []
    while len(said) < TASKS:
        time.sleep(0.05)
        logs = [path.read_text() for path in results.rglob("slurm-*.out")]
        said = re.findall(r"done, ([\d.]+) s", "".join(logs))
    last = max(path.stat().st_mtime for path in results.rglob("accuracy.csv"))
    return last - start - max(map(float, said))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    console = Console(width=100, markup=False, highlight=False)
    console.print(f"{cpu_name()}, load {os.getloadavg()[0]:.2f}; seconds, median [lowest, highest]")
    with tempfile.TemporaryDirectory() as name:
        file = big_sweep(Path(name))
        for action in ("plan", "status"):
            times = [command(action, file, "--results", name) for _ in range(rounds)]
            console.print(f"{action} of {RUNS:,} runs: {spread(times, 2)}")
        cluster = Path(name) / "cluster"
        script = Path("jobs/local-cluster")
        subprocess.run([script / "up", "--dir", cluster, "--nodes", str(TASKS)], check=True)
        try:
            overheads = []
            for number in range(rounds):
                folder = Path(name) / str(number)
                folder.mkdir()
                overheads.append(array_overhead(folder, cluster / "slurm.conf"))
        finally:
            subprocess.run([script / "down", cluster], check=True)
        console.print(f"an array of {TASKS} runs, beyond the longest: {spread(overheads, 2)}")


if __name__ == "__main__":
    main()
