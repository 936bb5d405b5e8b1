"""What a sweep plans and what has become of it, as tables and sentences."""

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.table import Table

from hpcbench.cluster.site import Machine, Site
from hpcbench.config import RunConfig
from hpcbench.models import MODELS
from hpcbench.records.reader import is_complete
from hpcbench.sweeps.arrays import cost, one_allocation, right_sized
from hpcbench.sweeps.durations import Durations
from hpcbench.sweeps.plan import Kind, Plan, PlannedRun
from hpcbench.sweeps.status import RunStatus, State
from hpcbench.words import count


def plan_table(found: Plan, machine: Machine, durations: Durations) -> tuple[Table, float, float]:
    """A row a kind of run and device count; the device-hours of all, and of those not done yet."""
    table = Table(*Kind.__annotations__, "devices", "nodes", "runs", "done", "device-hours")
    rows: dict[tuple[Kind, int], list[PlannedRun]] = {}
    for run in found.runs:
        rows.setdefault((run.kind, run.devices), []).append(run)
    total = left = 0.0
    for (kind, devices), runs in sorted(rows.items()):
        hours = [durations.seconds(run) * run.devices / 3600 for run in runs]
        done = [is_complete(run.folder) for run in runs]
        total += sum(hours)
        left += sum(hour for hour, behind in zip(hours, done, strict=True) if not behind)
        numbers = (devices, machine.nodes(devices), len(runs), sum(done))
        table.add_row(*vars(kind).values(), *map(str, numbers), f"{sum(hours):.2f}")
    return table, total, left


def how_known(found: Plan, durations: Durations) -> str:
    """What the durations in the plan come from."""
    guessed = [run for run in found.runs if not durations.known(run)]
    if not guessed:
        return "durations: of all by earlier runs here"
    ours = {r.config.model for r in guessed if isinstance(r.config, RunConfig)}
    names = sorted(MODELS[model].name for model in ours if not MODELS[model].workshop)
    names += sorted({r.config.name for r in guessed if not isinstance(r.config, RunConfig)})
    known = len(found.runs) - len(guessed)
    by_earlier = f"{count(known, 'run')} by earlier ones here, " if known else ""
    untimed = f"; of {', '.join(names)} the start-up alone" if names else ""
    return (
        f"durations: {by_earlier}{count(len(guessed), 'run')} guessed at the workshop's printed "
        f"speed, ideal scaling and a usual start-up{untimed}"
    )


def designs(found: Plan, site: Site, durations: Durations) -> Iterator[str]:
    """What the two ways to queue the runs would cost, and which jobs share nodes."""
    for way, design in (
        ("a job a run, repeat by repeat", right_sized),
        ("one allocation a repeat (--one-allocation)", one_allocation),
    ):
        yield f"{way}: {cost(design(found.runs, site), site, durations.seconds)}"
    counts = sorted({run.devices for run in found.runs})
    shared = [str(devices) for devices in counts if not site.holds_whole_nodes(devices)]
    if shared:
        yield (
            f"jobs of {', '.join(shared)} devices share their nodes with others' jobs; exclusive = "
            f"true in the site's file lets them hold whole nodes"
        )


def status_table(found: Sequence[RunStatus]) -> Table:
    """A row a kind of run and device count, a column a state."""
    rows: dict[tuple[Kind, int], list[RunStatus]] = {}
    for status in found:
        rows.setdefault((status.run.kind, status.run.devices), []).append(status)
    table = Table(*Kind.__annotations__, "devices", *State)
    for (kind, devices), of_kind in sorted(rows.items(), key=lambda row: row[0]):
        of_state = Counter(status.state for status in of_kind)
        numbers = (str(of_state[state] or "") for state in State)
        table.add_row(*vars(kind).values(), str(devices), *numbers)
    return table
