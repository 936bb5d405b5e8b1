"""Runs the real program in processes of its own, on whatever real data this machine has."""

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcbench.process import program
from hpcbench.records.identity import Identity

ROOT = Path(__file__).resolve().parents[2]
RANKS = ROOT / "tests" / "ranks"
# Of a command that hangs.
TIME_LIMIT = 600
IDENTITY = Identity(
    run_id="0123456789ab",
    sweep="t",
    model="fc-64",
    dataset="mnist",
    framework="tensorflow",
    strategy="horovod",
    devices=1,
    nodes=1,
    device_kind="CPU (1 core)",
    cpu_math="oneDNN AVX2 (1 thread)",
    scaling="weak",
    batch_per_device=128,
    global_batch=128,
    precision="float32",
    xla=False,
    input="resident",
    exchange="flat",
    seed=0,
    repeat=0,
)


@dataclass(frozen=True)
class Finished:
    status: int
    output: str
    errors: str


def environment(**more: str) -> dict[str, str]:
    """As a user's shell in the virtual environment has it."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return os.environ | {"PATH": path} | root | more


def run(command: Sequence[str], **options: Any) -> Finished:
    """Run to the end from the project's folder."""
    limits = {"timeout": TIME_LIMIT, "cwd": ROOT, "env": environment()} | options
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **limits
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def call(main: Callable[[list[str]], int], *arguments: str | Path) -> Finished:
    """A command in this process, where what it imports is loaded already: for what follows after
    one run of it as typed, and draws nothing, since drawing forks."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = main([str(argument) for argument in arguments])
    return Finished(status, output.getvalue(), errors.getvalue())


def launcher(strategy: str, devices: int) -> list[str]:
    """What starts ``devices`` ranks here; a machine without MPI has Horovod's Gloo alone."""
    if strategy not in (
        "horovod",
        "mpi",
        "multiworker",
        "ddp",
        "fsdp",
        "jax-distributed",
        "zero-1",
    ):
        return []
    if program("mpirun"):
        return ["mpirun", "-np", str(devices), "--bind-to", "none", "--oversubscribe"]
    if strategy == "mpi":
        # Not above: jobs import this too, 200 at once.
        import pytest

        pytest.skip("no MPI on this machine")
    return ["horovodrun", "--gloo", "-np", str(devices)]


def train_command(
    results: Path, *flags: str, strategy: str = "single", devices: int = 1
) -> list[str]:
    """Nothing is timed beside training unless ``flags`` say so: each phase is one more graph to
    compile."""
    return [
        *launcher(strategy, devices),
        sys.executable,
        "-m",
        "hpcbench.train",
        f"--results={results}",
        f"--strategy={strategy}",
        f"--devices={devices}",
        "--no-exchange-intervals=0",
        *flags,
    ]


def train(results: Path, *flags: str, strategy: str = "single", devices: int = 1) -> Finished:
    """One run of hpcbench.train under its launcher."""
    return run(train_command(results, *flags, strategy=strategy, devices=devices))


def start(
    command: list[str], results: Path, wait_for: str = "accuracy.csv", rows: int = 2
) -> "subprocess.Popen[str]":
    """Start a run and wait until it has written ``rows`` lines of one of its files;
    what lies there already has no more."""
    process = subprocess.Popen(
        # A shell's background job, as these tests may be, is started deaf to Control-C.
        ["env", "--default-signal=INT", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if any(file.read_text().count("\n") > rows for file in results.rglob(wait_for)):
            return process
        time.sleep(0.05)
    process.kill()
    raise AssertionError(process.communicate())


def only_run(results: Path) -> tuple[Path, dict[str, Any]]:
    """The one run below ``results``: its folder and its run.json."""
    (path,) = results.rglob("run.json")
    return path.parent, json.loads(path.read_text())
