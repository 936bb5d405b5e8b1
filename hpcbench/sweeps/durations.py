"""How long runs take: by what earlier ones took on the same machine, else by a guess."""

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from hpcbench.config import RunConfig
from hpcbench.models import MODELS
from hpcbench.records.reader import read_document
from hpcbench.records.schema import RUN_FILE, STATUS_COMPLETE
from hpcbench.schedule import make_schedule
from hpcbench.strategies import STRATEGIES
from hpcbench.sweeps.plan import PlannedRun

# Of a run that nothing is known of: until its first step, on a processor of some years.
STARTUP_SECONDS = 20.0
# What two runs have to share to take as long as each other, but for how much they train.
SAME = (
    *("model", "model_digest", "dataset", "framework", "strategy", "devices", "scaling", "batch"),
    *("precision", "xla", "input", "exchange", "cores_per_device", "optimizer", "batchnorm"),
    *("augment", "image_size", "no_exchange_intervals"),
)
# What a configuration leaves to the run.
LEFT_OPEN = (None, "auto")
# So many of the newest are looked at.
NEWEST = 500


@dataclass(frozen=True)
class Earlier:
    """A run of ``config`` that took ``fixed`` seconds and some for each sample and each epoch's
    evaluation."""

    config: Mapping[str, Any]
    fixed: float
    per_sample: float
    per_epoch: float

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Earlier | None":
        """None of a run that did not end well, or of before this was written down."""
        try:
            whole, training = document["process_seconds"], document["training_seconds"]
            evaluation, samples = document["evaluation_seconds"], document["training_samples"]
            epochs = document["evaluations"]
            if document["status"] != STATUS_COMPLETE or not samples:
                return None
            return cls(
                document["config"],
                max(0.0, whole - training - evaluation),
                training / samples,
                evaluation / epochs if epochs else 0.0,
            )
        except (KeyError, TypeError):
            return None

    def is_like(self, config: RunConfig) -> bool:
        wanted = {name: getattr(config, name) for name in SAME}
        return all(
            value in LEFT_OPEN or self.config.get(name) == value for name, value in wanted.items()
        )


@dataclass(frozen=True)
class Durations:
    """Of whole runs, in seconds, by ``earlier`` ones."""

    earlier: Sequence[Earlier] = ()

    @classmethod
    def below(cls, results: Path, site: str | None) -> "Durations":
        """By the newest runs below ``results`` of this host, or of ``site``."""
        found = (Earlier.of(document) for document in _documents(results) if _on(document, site))
        return cls([one for one in found if one])

    def known(self, run: PlannedRun) -> bool:
        """Whether a run like it was made before."""
        return any(True for _ in self._like(run))

    def seconds(self, run: PlannedRun) -> float:
        """The median of what runs like it would take with as many samples and epochs; of one that
        is like none, what :func:`guess` says."""
        config = run.config
        if not isinstance(config, RunConfig):
            return guess(run)
        samples, epochs = _work(run, config)
        asked = config.seconds or 0.0
        found = [
            one.fixed + max(one.per_sample * samples, asked) + one.per_epoch * epochs
            for one in self._like(run)
        ]
        return median(found) if found else guess(run)

    def _like(self, run: PlannedRun) -> Iterator[Earlier]:
        if isinstance(run.config, RunConfig):
            yield from (one for one in self.earlier if one.is_like(run.config))


def guess(run: PlannedRun) -> float:
    """A run's duration if its device were as fast as the workshop's and scaling were ideal.

    Of a model that the workshop did not time, and of a program, the start-up alone.
    """
    if not isinstance(run.config, RunConfig):
        return STARTUP_SECONDS
    workshop = MODELS[run.config.model].workshop
    work = _work(run, run.config)[0] * (workshop.microseconds if workshop else 0)
    return STARTUP_SECONDS + max(work * 1e-6 / run.devices, run.config.seconds or 0)


def _work(run: PlannedRun, config: RunConfig) -> tuple[int, int]:
    """Samples over all epochs, and epochs."""
    replicas = run.devices // STRATEGIES[config.strategy].devices_per_replica
    schedule = make_schedule(config, replicas, run.train_samples)
    return schedule.epochs * schedule.samples, schedule.epochs


def _documents(results: Path) -> Iterator[dict[str, Any]]:
    """run.json of the newest runs; those of a sweep lie in folders of its own."""
    found: list[tuple[float, Path]] = []
    for sweep in _folders(results):
        for run in _folders(Path(sweep.path)):
            found.append((run.stat().st_mtime, Path(run.path)))
    for _, folder in sorted(found, reverse=True)[:NEWEST]:
        if (folder / RUN_FILE).exists():
            try:
                yield read_document(folder)
            except (OSError, ValueError):
                continue


def _folders(place: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(place) as entries:
            return [entry for entry in entries if entry.is_dir()]
    except OSError:
        return []


def _on(document: Mapping[str, Any], site: str | None) -> bool:
    provenance = document.get("provenance")
    if not isinstance(provenance, dict):
        return False
    if site is None:
        return bool(provenance.get("host") == platform.node())
    of = provenance.get("site")
    return isinstance(of, dict) and of.get("name") == site
