"""From result files to one row a run, and which runs may be points of the same line.

Two runs are comparable where they agree in :data:`SETTINGS`. What differs there keeps lines apart,
unless it is allowed to by name.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hpcbench.errors import ConfigError, EnvironmentLacks
from hpcbench.records.reader import Results, read_results
from hpcbench.records.schema import (
    LEAST_COUNTED_SECONDS,
    PHASE_NO_EXCHANGE,
    PHASE_TRAIN,
    Identity,
)

# A row of a table, by column.
Row = Mapping[Any, Any]

# What a line is about, and what has to agree along it.
SUBJECT = ["model", "dataset", "framework", "strategy", "scaling"]
SETTINGS = [
    "device_kind", "batch", "precision", "xla", "input", "exchange", "placement", "software",
]  # fmt: skip
SERIES = [*SUBJECT, *SETTINGS]
# Points of different panels are never compared: weak beside strong, or one machine beside another.
PANEL = ["model", "dataset", "scaling", "device_kind"]
# What strategies have to share, to be compared as strategies.
SHARED = ["batch", "precision", "xla", "input", "software"]
RUN = ["sweep", "run_id"]
# Stands between values that were allowed to mix.
MIXED = " + "
# Packages whose version changes what is measured.
SOFTWARE = ("tensorflow", "keras", "horovod", "mpi4py", "torch", "image")
# What accuracy depends on beside the series, by its name in a run's configuration.
TRAINING = [
    "learning_rate", "lr_scaling", "warmup_epochs", "optimizer", "momentum", "batchnorm",
    "train_samples", "augment",
]  # fmt: skip


@dataclass
class Observations:
    """``runs``: a row a run; ``epochs``: a row a run's epoch; both with the columns of SERIES.

    ``apart`` says, a sentence each, which lines are not joined because of which column.
    """

    runs: pd.DataFrame
    epochs: pd.DataFrame
    apart: list[str]


def read_folder(folder: Path) -> Results:
    """All runs below ``folder``; what is left out is said on stderr.

    Raises ConfigError if there is no such folder, EnvironmentLacks if no run in it is complete.
    """
    if not folder.is_dir():
        raise ConfigError(f"results folder {folder} does not exist")
    results = read_results(folder)
    for reason in results.skipped:
        print(f"warning: left out {reason}", file=sys.stderr)
    if not results.runs:
        raise EnvironmentLacks(f"no complete run below {folder}")
    return results


def check_settings(flag: str, columns: Iterable[str]) -> None:
    """Raise ConfigError for a column that is not one of the settings."""
    for column in columns:
        if column not in SETTINGS:
            raise ConfigError(f"{flag} {column}: choose from {', '.join(SETTINGS)}")


def observe(results: Results, allow_mixed: Sequence[str] = ()) -> Observations:
    """One row a run. Values of the columns ``allow_mixed`` are put together and named so.

    Raises ConfigError if one of those is not a setting.
    """
    check_settings("--allow-mixed", allow_mixed)
    runs = run_table(results.throughput, results.energy)
    runs = runs.merge(_facts(results.runs), on=RUN, how="left")
    runs = mixed(runs, allow_mixed)
    epochs = results.accuracy.drop(columns=[c for c in SERIES if c in results.accuracy]).merge(
        runs[[*RUN, *SERIES, "training"]], on=RUN
    )
    return Observations(runs, epochs, list(kept_apart(runs)))


def run_table(throughput: pd.DataFrame, energy: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row a run from its intervals.

    ``samples_per_second`` is all samples over all seconds: a mean of the intervals' rates would
    overweight the fast ones (Hoefler and Belli, SC'15, rule 3). ``step_seconds`` by the slowest
    rank; ``compute_seconds`` and ``mean_compute_seconds`` a step without the exchange, by the
    slowest rank and on average over ranks, missing where that was not measured, as
    ``samples_per_joule`` is.
    """
    identity = throughput[[field.name for field in fields(Identity)]].drop_duplicates(RUN)
    sums = throughput.groupby([*RUN, "phase"], sort=False, as_index=False)[
        ["samples", "seconds", "steps", "mean_rank_seconds"]
    ].sum()
    train = sums[sums["phase"] == PHASE_TRAIN].set_index(RUN)
    alone = sums[sums["phase"] == PHASE_NO_EXCHANGE].set_index(RUN)
    measured = pd.DataFrame(
        {
            "samples": train["samples"],
            "seconds": train["seconds"],
            "samples_per_second": train["samples"] / train["seconds"],
            "step_seconds": train["seconds"] / train["steps"],
            "compute_seconds": alone["seconds"] / alone["steps"],
            "mean_compute_seconds": alone["mean_rank_seconds"] / alone["steps"],
        },
        index=train.index,
    )
    measured["samples_per_joule"] = np.nan
    if energy is not None and len(energy):
        drawn = energy.groupby(RUN)[["samples", "joules", "seconds"]].sum()
        drawn = drawn[drawn["seconds"] >= LEAST_COUNTED_SECONDS]
        measured["samples_per_joule"] = drawn["samples"] / drawn["joules"]
    runs = identity.merge(measured.reset_index(), on=RUN)
    # The batch that scaling keeps: per device if weak, over all devices if strong.
    batch = runs["batch_per_device"].where(runs["scaling"] == "weak", runs["global_batch"])
    return runs.assign(batch=batch, placement=_placement(runs))


def _placement(runs: pd.DataFrame) -> pd.Series:
    """Packed on full nodes, or so many devices a node; either stays the same along a line.

    How many devices a node has is the most that any run on that kind of device had of one.
    """
    a_node = runs["devices"] / runs["nodes"]
    full = a_node.groupby(runs["device_kind"]).transform("max")
    spread = a_node.map("{:g} a node".format)
    return spread.where(runs["nodes"] > np.ceil(runs["devices"] / full), "packed")


def _facts(documents: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Of each run.json: software, how it trained, when it started and under what load."""
    rows = []
    for document in documents:
        provenance = document.get("provenance", {})
        rows.append(
            {name: document[name] for name in RUN}
            | {
                "software": software(provenance),
                "training": _training(document.get("config", {})),
                "started": provenance.get("started", ""),
                "load_average": provenance.get("load_average", np.nan),
                "cores_of_machine": provenance.get("cores_of_machine", np.nan),
            }
        )
    return pd.DataFrame(rows)


def software(provenance: dict[str, Any]) -> str:
    """The versions that change what is measured, as "horovod 0.28.1, keras 3.15.1"."""
    packages = provenance.get("packages", {})
    return ", ".join(
        f"{name} {version}"
        for name, version in sorted(packages.items())
        if name.startswith(SOFTWARE)
    )


def _training(config: dict[str, Any]) -> str:
    asked = {name: config.get(name) for name in TRAINING}
    return ", ".join(f"{name} {v}" for name, v in asked.items() if v not in (None, 0, "none"))


def mixed(runs: pd.DataFrame, allowed: Sequence[str]) -> pd.DataFrame:
    """``runs`` with differing values of the ``allowed`` columns replaced by "a + b"."""
    for column in allowed:
        others = [name for name in SERIES if name != column and name not in allowed]
        together = runs.groupby(others)[column].transform(
            lambda values: MIXED.join(sorted(map(str, values.unique())))
        )
        runs = runs.assign(**{column: together})
    return runs


def kept_apart(runs: pd.DataFrame) -> Iterable[str]:
    """Which runs of the same subject are not joined to a line, and because of which columns."""
    for subject, group in runs.groupby(SUBJECT):
        differing = {
            column: sorted(map(str, group[column].unique()))
            for column in SETTINGS
            if group[column].nunique() > 1
        }
        if differing:
            model, dataset, _, strategy, scaling = subject
            columns = "; ".join(f"{name} ({' | '.join(v)})" for name, v in differing.items())
            yield (
                f"{strategy} {model} on {dataset}, {scaling} scaling, is not one line: runs differ "
                f"in {columns}"
            )
    for panel, group in runs.groupby(PANEL):
        differing = {name: sorted(map(str, group[name].unique())) for name in SHARED}
        columns = "; ".join(f"{n} ({' | '.join(v)})" for n, v in differing.items() if len(v) > 1)
        if columns and group["strategy"].nunique() > 1:
            yield f"the strategies of {panel[0]} differ in more than the strategy: {columns}"
