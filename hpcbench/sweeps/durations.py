"""How long runs take: by what earlier ones took on the same machine, else by a guess."""

import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
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
# In what two runs may differ and take as long as each other, but for how much they train.
ALIKE = {
    *("epochs", "epochs_rule", "seconds", "train_samples", "seed", "repeat"),
    *("learning_rate", "lr_scaling", "lr_decay", "warmup_epochs", "momentum"),
}
# So many of the newest are looked at.
NEWEST = 500


@dataclass(frozen=True)
class Earlier:
    """A run of a ``kind`` took ``fixed`` seconds and some for each sample and each epoch's
    evaluation."""

    kind: str
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
                _kind(document["config"]),
                max(0.0, whole - training - evaluation),
                training / samples,
                evaluation / epochs if epochs else 0.0,
            )
        except (AttributeError, KeyError, TypeError):
            return None


def _kind(config: Mapping[str, Any]) -> str:
    """What runs have in common that take as long as each other."""
    return json.dumps({k: v for k, v in config.items() if k not in ALIKE}, sort_keys=True)


class Durations:
    """Of whole runs, in seconds, by ``earlier`` ones."""

    def __init__(self, earlier: Iterable[Earlier] = ()) -> None:
        self._earlier: dict[str, list[Earlier]] = {}
        for one in earlier:
            self._earlier.setdefault(one.kind, []).append(one)
        self._told: dict[Path, tuple[float, bool]] = {}

    @classmethod
    def below(cls, results: Path, site: str | None) -> "Durations":
        """By the newest runs below ``results`` of this host, or of ``site``."""
        found = (Earlier.of(document) for document in _documents(results) if _on(document, site))
        return cls(one for one in found if one)

    def known(self, run: PlannedRun) -> bool:
        """Whether a run like it was made before."""
        return self._of(run)[1]

    def seconds(self, run: PlannedRun) -> float:
        """The median of what runs like it would take with as many samples and epochs; of one that
        is like none, what :func:`guess` says."""
        return self._of(run)[0]

    def _of(self, run: PlannedRun) -> tuple[float, bool]:
        if run.folder not in self._told:
            self._told[run.folder] = self._work_out(run)
        return self._told[run.folder]

    def _work_out(self, run: PlannedRun) -> tuple[float, bool]:
        config = run.config
        if not self._earlier or not isinstance(config, RunConfig):
            return guess(run), False
        alike = self._earlier.get(_kind(config.model_dump(mode="json")), [])
        if not alike:
            return guess(run), False
        samples, epochs = _work(run, config)
        asked = config.seconds or 0.0
        of_each = (
            one.fixed + max(one.per_sample * samples, asked) + one.per_epoch * epochs
            for one in alike
        )
        return median(of_each), True


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
