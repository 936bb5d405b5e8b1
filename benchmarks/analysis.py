"""How long the analysis takes, and how much memory, from 100,000 throughput rows to the report.

    python benchmarks/analysis.py [--rounds 5]

The sweep is made up: 2 models, 3 strategies, up to 64 devices; whole commands are timed.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from synthetic_sweep import write_sweep

DEVICES, REPEATS, INTERVALS = (1, 2, 4, 8, 16, 32, 64), 60, 54
SCRIPT = Path(__file__).resolve().parent.parent / "analysis" / "plot_scaling.py"


def once(results: Path, output: Path) -> tuple[float, float, float]:
    """Seconds, those of all processes on cores, and the largest resident memory in bytes."""
    command = [sys.executable, str(SCRIPT), str(results), "--output", str(output)]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        _, status, used = os.wait4(run.pid, 0)
        seconds = time.perf_counter() - start
        run.returncode = os.waitstatus_to_exitcode(status)
    if run.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {run.returncode}")
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "made-up"
        runs = write_sweep(results, DEVICES, REPEATS, INTERVALS)
        rows = sum(
            len(path.read_text().splitlines()) - 1 for path in results.rglob("throughput.csv")
        )
        print(
            f"{rows:,} throughput rows of {runs:,} runs; load average {psutil.getloadavg()[0]:.1f}"
        )
        seconds, cores, memory = zip(
            *(once(results, Path(folder) / "figures") for _ in range(given.rounds)), strict=True
        )
    print(
        f"to report.html and all figures: {statistics.median(seconds):.1f} s "
        f"[{min(seconds):.1f}, {max(seconds):.1f}] over {given.rounds} rounds, on cores "
        f"{statistics.median(cores):.1f} s [{min(cores):.1f}, {max(cores):.1f}], "
        f"{max(memory) / 2**20:.0f} MiB"
    )


if __name__ == "__main__":
    main()
