"""Short training runs, each a process of its own, for the benchmarks."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

KIBIBYTES_PER_MEBIBYTE = 1024


@dataclass(frozen=True)
class Trained:
    """A run's rate in samples a second, the process' largest resident set in MiB, its run.json."""

    rate: float
    memory: float
    document: dict[str, Any]


def train(*flags: str) -> Trained:
    """One epoch of ``hpcbench.train``; ends this program with its errors if it fails."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as errors:
        command = [sys.executable, "-m", "hpcbench.train", "--epochs=1", "--results", folder]
        process = subprocess.Popen([*command, *flags], stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if status:
            errors.seek(0)
            sys.exit(f"{' '.join([*command, *flags])} failed: {errors.read().decode()}")
        run = next(Path(folder).rglob("run.json")).parent
        rows = pd.read_csv(run / "throughput.csv")
        document = json.loads((run / "run.json").read_text())
    rate = rows["samples"].sum() / rows["seconds"].sum()
    return Trained(rate, usage.ru_maxrss / KIBIBYTES_PER_MEBIBYTE, document)
