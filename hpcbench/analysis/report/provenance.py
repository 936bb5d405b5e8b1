"""Where the runs of each point come from."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from hpcbench.analysis.load import POINT, SETTINGS, Row
from hpcbench.records.identity import RUN
from hpcbench.words import count

# Of a site: its name stands before the rest; what is of each job, or told by its partition.
NOT_OF_RUNS = {"name", "partitions", "throttle", "account"}
# Of a partition: for which counts it is, and what stands among the job's facts.
NOT_OF_PARTITION = {"name", "min_devices", "max_devices", "account", "time"}


@dataclass(frozen=True)
class Provenance:
    """Where the runs of one point come from."""

    anchor: str
    title: str
    facts: list[tuple[str, str]]


def provenance_of(
    table: pd.DataFrame, runs: pd.DataFrame, documents: list[dict[str, Any]]
) -> list[Provenance]:
    """The facts of each point's runs, with what differs between them listed."""
    by_run = {(d["sweep"], d["run_id"]): d for d in documents}
    groups = dict(list(runs.groupby(POINT)))
    found = []
    for index, row in enumerate(table.to_dict("records")):
        if not row["runs"]:
            continue
        group = groups[tuple(row[name] for name in POINT)]
        there = [by_run[key] for key in group[RUN].itertuples(index=False, name=None)]
        found.append(
            Provenance(
                f"point-{index}",
                f"{row['line']} on {count(row['devices'], 'device')}",
                _facts(there, row),
            )
        )
    return found


def _share(of_time: float | None) -> str:
    return "" if of_time is None else f"{of_time:.1%} of training"


def _most(shares: list[float | None]) -> list[str]:
    known = [share for share in shares if share is not None]
    return [f"up to {max(known):.1%}"] if known else []


def _site(says: dict[str, Any], devices: int) -> str:
    """What a site's file says of runs on so many devices, without what is of each job's own."""
    of_runs = {
        name: value
        for name, value in says.items()
        if name not in NOT_OF_RUNS and not name.startswith("analysis_")
    }
    for partition in says.get("partitions", []):
        if partition.get("min_devices", 1) <= devices <= partition.get("max_devices", devices):
            if partition.get("name"):
                of_runs["partition"] = partition["name"]
            own = partition.items()
            of_runs |= {k: v for k, v in own if k not in NOT_OF_PARTITION and v is not None}
            break
    pairs = (f"{name} {_in_words(value)}" for name, value in of_runs.items())
    return f"{says.get('name')} ({', '.join(pairs)})"


def _in_words(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={of_name}" for name, of_name in value.items())
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)


def _facts(documents: list[dict[str, Any]], row: Row) -> list[tuple[str, str]]:
    settings = [name for name in SETTINGS[1:-1] if row[name] != ""]
    return [
        ("device", str(row["device_kind"])),
        ("settings", ", ".join(f"{name} {row[name]}" for name in settings)),
        ("software", str(row["software"])),
        *facts_of(documents, row["devices"]),
    ]


def facts_of(documents: list[dict[str, Any]], devices: int) -> list[tuple[str, str]]:
    """What is known of where they ran, on so many devices each, by name, with what differs between
    them listed."""
    known = [document.get("provenance", {}) for document in documents]
    # Whatever the scheduler: its variables that hold the number of a job.
    jobs = [v for p in known for k, v in p.get("scheduler", {}).items() if k.endswith("JOB_ID")]
    facts = [
        ("MPI", [p.get("mpi") for p in known]),
        ("GPU driver", [p.get("gpu_driver") for p in known]),
        ("hosts", [host for document in documents for host in document.get("hosts", [])]),
        ("commit", [p.get("git_commit") for p in known]),
        ("jobs", jobs),
        ("site", [_site(p["site"], devices) for p in known if p.get("site")]),
        ("imported from", [p.get("imported_from") for p in known]),
        ("environment", [f"{k}={v}" for p in known for k, v in p.get("settings", {}).items()]),
        (
            "core time used by other processes",
            _most([d.get("cores_taken_share") for d in documents]),
        ),
        ("waiting for data", [_share(d.get("waiting_for_data_share")) for d in documents]),
        ("runs", [document.get("run_id") for document in documents]),
        ("command of the first run", [" ".join(known[0].get("command", []))]),
    ]
    said = ((name, sorted({str(value) for value in values if value})) for name, values in facts)
    return [(name, ", ".join(values)) for name, values in said if values]
