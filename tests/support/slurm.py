"""A real Slurm that jobs/local-cluster brings up: a controller and virtual nodes."""

import contextlib
import shlex
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hpcbench.records.reader import read_results
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
def cluster_in(*options: str) -> Iterator[Path]:
    """The folder of a cluster that is up within; a short one, since sockets lie far below it."""
    with tempfile.TemporaryDirectory(prefix="hb-") as short:
        folder = Path(short) / "c"
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


# Of training on any machine: more than fits before the signal, which comes up to 30 s after the
# first rows.
LONG = "seconds = 50"


def sweep_file(
    folder: Path, devices="[1]", strategies='["horovod"]', epochs=2, repeats=1, more=""
) -> Path:
    path = folder / "sweep.toml"
    # What is timed beside training takes graphs of its own to compile: one test has it.
    beside = "" if "no_exchange_intervals" in more else "no_exchange_intervals = 0"
    path.write_text(
        f'name = "sweep"\nrepeats = {repeats}\ndevices = {devices}\nstrategies = {strategies}\n'
        f"[settings]\ntrain_samples = 2560\nepochs = {epochs}\ninterval_steps = 2\n"
        f"{beside}\n{more}\n"
        f'[[models]]\nmodel = "fc-64"\n'
    )
    return path


def each_row_once(results: Path, runs: int, epochs: int = 2, seconds: float = 0) -> None:
    """All runs are complete, each with every interval and epoch once, in order."""
    found = read_results(results)
    assert found.skipped == []
    assert found.throughput["run_id"].nunique() == runs
    trained = found.throughput[found.throughput["phase"] == "train"]
    for _, rows in trained.groupby("run_id"):
        if seconds:
            assert rows["seconds"].sum() >= seconds > rows["seconds"].iloc[:-1].sum()
            assert rows["interval"].tolist() == list(range(len(rows)))
            assert (rows["samples"] == 2 * rows["global_batch"]).all()
            continue
        per_epoch = -(-int(rows["samples"].sum() / epochs // rows["global_batch"].iloc[0]) // 2)
        assert rows["interval"].tolist() == list(range(epochs * per_epoch))
        assert rows["samples"].sum() == 2560 * epochs
    for _, rows in found.accuracy.groupby("run_id"):
        assert rows["epoch"].tolist() == list(range(1, epochs + 1))


def start_long(cluster, tmp_path, seconds, devices="[1]", strategies='["horovod"]') -> Path:
    """A submitted sweep whose first run has begun to measure."""
    more = f"seconds = {seconds}"
    file = sweep_file(tmp_path, devices=devices, strategies=strategies, more=more)
    cluster.sweep("submit", file, "--site", "local-cluster")
    until(lambda: cluster.csv() and cluster.rows() > 3, "rows", cluster.said)
    return file
