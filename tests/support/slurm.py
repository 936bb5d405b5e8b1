"""A real Slurm that jobs/local-cluster brings up: a controller and virtual nodes."""

import contextlib
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import ROOT, Finished, environment, run

PATIENCE = 400
SHAPES = ROOT / "jobs" / "local-cluster" / "shapes"


@dataclass
class Cluster:
    """A running cluster, and the results folder of one test."""

    folder: Path
    results: Path

    def run(self, *command: str | Path, **more: str) -> Finished:
        return run(command, env=self.environment(**more))

    def environment(self, **more: str) -> dict[str, str]:
        lines = (self.folder / "environment").read_text().splitlines()
        exports = (shlex.split(line)[1].split("=", 1) for line in lines)
        return environment(**dict(exports) | more)

    def sbatch(self, *arguments: str | Path, **more: str) -> str:
        """The number of the job that ``jobs/scale_sweep.sh`` becomes."""
        log = f"--output={self.results}-%A_%a.out"
        done = self.run("sbatch", "--parsable", log, *arguments, **more)
        assert done.status == 0, done.errors
        return done.output.strip()

    def sweep(self, command: str, file: Path, *arguments: str) -> str:
        """What ``python -m hpcbench.sweep`` prints."""
        line = ("python", "-m", "hpcbench.sweep", command, file, "--results", self.results)
        done = self.run(*line, *arguments)
        assert done.status == 0, done.errors
        return done.output

    def status(self, file: Path) -> str:
        """Its last line, as ``4 done, 1 failed``."""
        return self.sweep("status", file).splitlines()[-1].split(": ")[1]

    def queue(self) -> str:
        return self.run("squeue", "--noheader", "--array", "--format=%F_%K %T %r").output

    def wait_for_empty_queue(self) -> None:
        until(lambda: not self.queue(), "the queue to be empty", lambda: self.queue() + self.said())

    def said(self) -> str:
        """What jobs and runs printed."""
        logs = [*self.results.parent.glob("results-*.out"), *self.results.rglob("*.log")]
        return "\n".join(f"{path.name}:\n{path.read_text()}" for path in logs)

    def rows(self) -> int:
        """Lines measured so far, in all runs."""
        return sum(text.count("\n") - 1 for text in map(Path.read_text, self.csv()))

    def csv(self) -> list[Path]:
        return list(self.results.rglob("throughput.csv"))


def until(condition, what, describe=lambda: "", patience=PATIENCE):
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}\n{describe()}"
        time.sleep(0.1)


@contextlib.contextmanager
def cluster_in(folder: Path, *options: str) -> Iterator[Path]:
    started = run([ROOT / "jobs/local-cluster/up", "--dir", folder, *options])
    if started.status == 3:
        pytest.skip(started.errors.strip())
    assert started.status == 0, started.errors
    try:
        yield folder
    finally:
        ended = run([ROOT / "jobs/local-cluster/down", folder])
        assert ended.status == 0, ended.errors
        assert not folder.exists()
