"""From result files to one row a run, and which runs may be points of the same line.

Two runs are comparable where they agree in :data:`SETTINGS`. What differs there keeps lines apart,
unless it is allowed to by name.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Any

import numpy as np
import pandas as pd

from hpcbench.analysis.machine import with_peaks, work_of
from hpcbench.analysis.phases import COLUMNS, OF_ONE, phase_seconds
from hpcbench.config import RunConfig
from hpcbench.errors import ConfigError
from hpcbench.records.identity import IDENTITY, RUN
from hpcbench.records.reader import Results
from hpcbench.records.schema import LEAST_COUNTED_SECONDS, PHASE_NO_EXCHANGE, PHASE_TRAIN

# A row of a table, by column.
Row = Mapping[Any, Any]

# What a line is about, and what has to agree along it.
SUBJECT = ["model", "dataset", "framework", "strategy", "scaling"]
SETTINGS = [
    "device_kind",
    "cpu_math",
    "batch",
    "precision",
    "xla",
    "input",
    "exchange",
    "placement",
    "options",
    "sweeps",
    "software",
]
SERIES = [*SUBJECT, *SETTINGS]
# What makes a point.
POINT = [*SERIES, "devices"]
# What series of one model and strategy may differ in.
TELLING = ["dataset", "scaling", *SETTINGS]
# Points of different panels are never compared: weak beside strong, or one machine beside another.
PANEL = ["model", "dataset", "scaling", "device_kind"]
# What strategies have to share, to be compared as strategies.
SHARED = ["cpu_math", "batch", "precision", "xla", "input", "options", "software"]
# Of these, what comes with the framework, and is no news beside its name.
OF_FRAMEWORK = ("cpu_math", "software")
PHASES = (PHASE_TRAIN, PHASE_NO_EXCHANGE)
# Stands between values that were allowed to mix.
MIXED = " + "
# Packages whose version changes what is measured.
SOFTWARE = ("tensorflow", "keras", "horovod", "mpi4py", "torch", "jax", "image")
# Of these a run uses one, whatever is installed beside it.
FRAMEWORK_PACKAGES = ("tensorflow", "torch", "jax")
# Settings of a run that stand in columns of their own, or that no number depends on.
ELSEWHERE = {
    *("model", "dataset", "framework", "strategy", "devices", "scaling", "batch", "precision"),
    *("xla", "input", "exchange", "cores_per_device", "seed", "repeat", "checkpoint"),
    *("no_exchange_intervals", "warmup_steps"),
}
# What changes how well a network learns and how long it trains, and not how fast.
LEARNING = {
    *("learning_rate", "lr_scaling", "lr_decay", "warmup_epochs", "momentum"),
    *("epochs", "epochs_rule", "seconds", "target", "test_samples"),
}
DEFAULTS = {name: field.default for name, field in RunConfig.model_fields.items()}


@dataclass
class Observations:
    """``runs``: a row a run; ``epochs``: a row a run's epoch; both with the columns of SERIES and
    names of the series in a sentence, ``subject`` and ``line``.

    ``apart`` says, a sentence each, which lines are not joined because of which column.
    """

    runs: pd.DataFrame
    epochs: pd.DataFrame
    apart: list[str]


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
    runs = run_table(results.throughput, results.energy, results.ranks)
    runs = runs.merge(_facts(results.runs), on=RUN, how="left")
    # Where waiting for a slow rank is known, what makes it slow must not count twice.
    typical = runs.pop("typical_data_seconds")
    runs["data_seconds"] = typical.where(runs["own_seconds"].notna(), runs["data_seconds"])
    # What a printed line stands for is no step that anybody timed.
    runs.loc[runs["printed"], "step_seconds"] = np.nan
    runs = with_names(mixed(with_peaks(runs, results.calibrations), allow_mixed))
    epochs = results.accuracy.drop(columns=[c for c in SERIES if c in results.accuracy]).merge(
        runs[[*RUN, *SERIES, "subject", "line", "training"]], on=RUN
    )
    return Observations(runs, epochs, list(kept_apart(runs)))


def run_table(
    throughput: pd.DataFrame,
    energy: pd.DataFrame | None = None,
    ranks: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row a run from its intervals.

    ``samples_per_second`` is all samples over all seconds: a mean of the intervals' rates would
    overweight the fast ones (Hoefler and Belli, SC'15, rule 3). ``interval_seconds`` is the median
    training interval. ``step_seconds`` by the slowest
    rank; ``compute_seconds`` and ``mean_compute_seconds`` a step without the exchange, by the
    slowest rank and on average over ranks; all three of whole steps, without intervals that hold
    the shorter one at an epoch's end, where there are others. What was not measured is missing:
    ``rank_compute_seconds``, the mean again, where one process timed several devices; steps
    without the exchange, and what else :func:`hpcbench.analysis.phases.phase_seconds` makes of
    ``ranks``; ``waited_seconds`` of a program's step, in which a typical rank waits for the others
    to exchange; ``samples_per_joule``, where ``counted`` says of what that is, empty where of
    nothing. ``sweeps`` is the run's sweep, or those put together.
    """
    # Numbers group several times as fast as names.
    throughput = throughput.assign(run=throughput.groupby(RUN, sort=False).ngroup())
    identity = throughput.drop_duplicates("run").set_index("run")[list(IDENTITY)]
    train = _sums(throughput[throughput["phase"] == PHASE_TRAIN])
    whole, whole_alone = (_sums(_whole_steps(throughput[throughput["phase"] == p])) for p in PHASES)
    apart = throughput["mean_rank_seconds"] != throughput["seconds"]
    processes = apart.groupby(throughput["run"]).any() | (identity["devices"] == 1)
    measured = pd.DataFrame(
        {
            "samples": train["samples"],
            "seconds": train["seconds"],
            "samples_per_second": train["samples"] / train["seconds"],
            "step_seconds": whole["seconds"] / whole["steps"],
            "interval_seconds": _typical_interval(throughput),
            "compute_seconds": whole_alone["seconds"] / whole_alone["steps"],
            "mean_compute_seconds": whole_alone["mean_rank_seconds"] / whole_alone["steps"],
        },
        index=train.index,
    )
    of_ranks = measured["mean_compute_seconds"].where(processes.reindex(measured.index))
    measured["rank_compute_seconds"] = of_ranks
    measured.index = pd.MultiIndex.from_frame(identity.loc[measured.index, RUN])
    # Most of these, runs of before schema 4 did not time.
    measured = measured.reindex(columns=[*measured, *(n for n in COLUMNS if n not in measured)])
    if ranks is not None and len(ranks):
        beside = phase_seconds(ranks)
        on_one = identity.set_index(RUN)["devices"].reindex(beside.index) == 1
        beside.loc[on_one, [name for name in COLUMNS if name not in OF_ONE]] = np.nan
        measured = measured.combine_first(beside.reindex(measured.index))
    own, exposed = measured["own_seconds"], measured["exposed_seconds"]
    measured["waited_seconds"] = measured["trained_seconds"] - own - exposed
    measured["samples_per_joule"], measured["counted"] = np.nan, ""
    if energy is not None and len(energy):
        drawn = energy.groupby(RUN)[["samples", "joules", "seconds"]].sum()
        drawn = drawn[drawn["seconds"] >= LEAST_COUNTED_SECONDS]
        measured["samples_per_joule"] = drawn["samples"] / drawn["joules"]
        counted = energy.groupby(RUN)["counted"].first().reindex(drawn.index)
        measured["counted"] = counted.reindex(measured.index).fillna("")
    runs = identity.merge(measured.reset_index(), on=RUN)
    # The batch that scaling keeps: per device if weak, over all devices if strong.
    batch = runs["batch_per_device"].where(runs["scaling"] == "weak", runs["global_batch"])
    of_run = {"batch": batch, "placement": _placement(runs), "sweeps": runs["sweep"]}
    return runs.assign(**of_run)


def _typical_interval(throughput: pd.DataFrame) -> "pd.Series[float]":
    """The median duration of each run's training intervals, by its number."""
    train = throughput[throughput["phase"] == PHASE_TRAIN]
    return train.groupby("run", sort=False)["seconds"].median()


def _sums(rows: pd.DataFrame) -> pd.DataFrame:
    """What the intervals of each run add up to, by its number."""
    columns = ["samples", "seconds", "steps", "mean_rank_seconds"]
    return rows.groupby("run", sort=False)[columns].sum()


def _whole_steps(rows: pd.DataFrame) -> pd.DataFrame:
    """The intervals that hold no shorter step than a whole batch; of runs that have none, all."""
    whole = rows["samples"] == rows["steps"] * rows["global_batch"]
    some = whole.groupby(rows["run"]).transform("any")
    return rows[whole | ~some]


def _placement(runs: pd.DataFrame) -> pd.Series:
    """Packed on full nodes, or so many devices a node; either stays the same along a line.

    How many devices a node has is the most that any run on that kind of device had of one.
    """
    a_node = runs["devices"] / runs["nodes"].replace(0, np.nan)
    full = a_node.groupby(runs["device_kind"]).transform("max")
    spread = a_node.map("{:g} a node".format)
    placed = spread.where(runs["nodes"] > np.ceil(runs["devices"] / full), "packed")
    return placed.where(runs["nodes"] > 0, "")


def _facts(documents: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Of each run.json: software, how it trained, when it started, where and under what load, and
    whether its steps had become ``steady`` when the clock started; ``data_seconds`` of a step in
    which the rank that does so longest waits for data, and ``typical_data_seconds`` by the median
    rank, of two the faster, missing where that was not seen; whether its rates are those that it
    ``printed``, and what each is of, ``metric_of``.

    ``cores_taken_share`` is the largest share of the time of a rank's cores that others took;
    ``remarks`` are sentences of the run's own about its rows; ``allocation`` is empty,
    ``whole_nodes`` and ``steady`` None where it is not known.
    """
    rows = []
    for document in documents:
        provenance = document.get("provenance", {})
        allocation = provenance.get("allocation", {})
        config = document.get("config", {})
        waits = document.get("waiting_for_data_seconds") or [math.nan]
        rows.append(
            {name: document[name] for name in RUN}
            | {
                "software": software(document),
                "options": options_of(document),
                "training": _training(document),
                "started": provenance.get("started", ""),
                "allocation": allocation.get("granted", ""),
                "whole_nodes": allocation.get("whole_nodes"),
                "steady": document.get("steady"),
                "data_seconds": max(waits),
                "typical_data_seconds": median_low(waits),
                "remarks": tuple(document.get("remarks") or ()),
                "printed": bool(config.get("metric")),
                "metric_of": _metric_of(config),
                "cores_taken_share": _number(document.get("cores_taken_share")),
                "load_average": provenance.get("load_average", np.nan),
                "cores_of_machine": provenance.get("cores_of_machine") or np.nan,
            }
            | work_of(document)
        )
    return pd.DataFrame(rows)


def _metric_of(config: Mapping[str, Any]) -> str:
    """All devices, one device, or, where its expression says which, one rank."""
    of_rank = "(?P<rank>" in (config.get("metric") or "")
    return "rank" if of_rank else config.get("metric_of") or ""


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def software(document: dict[str, Any]) -> str:
    """The versions that change what a run measures, as "horovod 0.28.1, keras 3.15.1"."""
    packages = (document.get("provenance") or {}).get("packages", {})
    own = (document.get("identity") or {}).get("framework")
    others = tuple(name for name in FRAMEWORK_PACKAGES if own in FRAMEWORK_PACKAGES and name != own)
    return ", ".join(
        f"{name} {version}"
        for name, version in sorted(packages.items())
        if name.startswith(SOFTWARE) and not name.startswith(others)
    )


def _settings(document: dict[str, Any]) -> dict[str, Any]:
    """All of a run's configuration that was set and has no column of its own, by name."""
    return {
        name: value
        for name, value in sorted(document.get("config", {}).items())
        if name not in ELSEWHERE and value != DEFAULTS.get(name)
    }


def options_of(document: dict[str, Any]) -> str:
    """What changes how fast a run is, beside the columns of SERIES: "batchnorm sync"."""
    return _in_words({k: v for k, v in _settings(document).items() if k not in LEARNING})


def _training(document: dict[str, Any]) -> str:
    """What accuracy depends on beside the series."""
    return _in_words({k: v for k, v in _settings(document).items() if k in LEARNING})


def _in_words(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def with_subjects(*tables: pd.DataFrame) -> Any:
    """Each table with a column ``subject``, how a sentence names model and strategy: "horovod
    fc-64".

    The framework goes first where the tables together have more than one. One table is returned
    as it is, several as a tuple.
    """
    several = len({name for table in tables for name in table["framework"].unique()}) > 1
    named = tuple(
        table.assign(
            subject=(table["framework"] + " " if several else "")
            + table["strategy"]
            + " "
            + table["model"]
        )
        for table in tables
    )
    return named[0] if len(tables) == 1 else named


def with_names(table: pd.DataFrame) -> pd.DataFrame:
    """``table`` with ``subject`` and with ``line``, how a sentence names a series: its subject, and
    what series of that subject differ in ("horovod fc-64, batch 32")."""
    table = with_subjects(table)
    told = table[["subject", *TELLING]]
    known = told.drop_duplicates().astype(str).replace("", np.nan)
    varying = {subject: _varying(rows) for subject, rows in known.groupby("subject")}

    def line(row: Row) -> str:
        differs = [f"{name} {row[name]}" for name in varying[row["subject"]] if row[name] != ""]
        return ", ".join([row["subject"], *differs])

    return table.assign(line=[line(row) for row in told.to_dict("records")])


def _varying(rows: pd.DataFrame) -> list[str]:
    """Those of TELLING in which rows differ, what is not known aside."""
    return [name for name in TELLING if rows[name].nunique() > 1]


def facts_of(key: Iterable[Any], series: pd.DataFrame) -> dict[str, Any]:
    """What all rows of a series have in common: the columns of SERIES, its subject and its name."""
    names = {name: series[name].iloc[0] for name in ("subject", "line")}
    return dict(zip(SERIES, key, strict=True)) | names


def hosts_of(documents: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], list[str]]:
    """The host of each rank of a run, by its sweep and id; no ranks where a run.json has none."""
    return {
        (str(document["sweep"]), str(document["run_id"])): list(document.get("hosts") or [])
        for document in documents
    }


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
        differing = _differing(group, SETTINGS)
        if differing:
            _, dataset, _, _, scaling = subject
            yield (
                f"{group['subject'].iloc[0]} on {dataset}, {scaling} scaling, is not one line: "
                f"runs differ in {differing}"
            )
    for panel, group in runs.groupby(PANEL):
        parts = [_differing(group, [name for name in SHARED if name not in OF_FRAMEWORK])]
        parts += [_differing(of_one, OF_FRAMEWORK) for _, of_one in group.groupby("framework")]
        differing = "; ".join(filter(None, parts))
        if differing and group["strategy"].nunique() > 1:
            yield f"the strategies of {panel[0]} differ in more than the strategy: {differing}"


def shared_among(setting: str) -> list[str]:
    """The columns in whose groups a setting of SHARED goes without saying unless it differs."""
    return [*PANEL, "framework"] if setting in OF_FRAMEWORK else PANEL


def _differing(group: pd.DataFrame, columns: Sequence[str]) -> str:
    """The columns in which rows differ, with their values, as "xla (False | True)"."""
    values = {name: sorted(map(str, group[name].unique())) for name in columns}
    return "; ".join(f"{name} ({' | '.join(v)})" for name, v in values.items() if len(v) > 1)
