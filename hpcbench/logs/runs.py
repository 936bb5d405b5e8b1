"""Printed runs as the files of runs: all logs are read, and what is left out is told."""

import contextlib
import csv
import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path

from hpcbench.collective.rows import (
    ABOUT_FILE,
    COLLECTIVES_FILE,
    COLUMNS,
    SINGLE,
    CollectiveRow,
)
from hpcbench.logs import (
    Found,
    LeftOut,
    Printed,
    PrintedCollective,
    Reader,
    dlperf,
    horovod,
    megatron,
    nccl_tests,
    osu,
    published,
    tf_cnn_benchmarks,
    torchtitan,
)
from hpcbench.logs.text import is_cut_off, lines_of
from hpcbench.records.identity import UNKNOWN, Identity
from hpcbench.records.schema import (
    ACCURACY_FILE,
    PHASE_TRAIN,
    RUN_FILE,
    SCHEMA_VERSION,
    STATUS_COMPLETE,
    STATUS_FAILED,
    THROUGHPUT_FILE,
    AccuracyRow,
    ThroughputRow,
    columns,
    values,
)
from hpcbench.words import count

OF_TRAINING = (tf_cnn_benchmarks, dlperf, torchtitan, megatron)
OF_EACH_RANK = (tf_cnn_benchmarks.TOOL, torchtitan.TOOL)
# As launchers name the logs of ranks: rank0.log, worker-1/out, torchrun's 1/stdout.log.
OF_A_RANK = re.compile(r"(?<=rank|task|node|proc)[-_.]?\d+|(?<=worker)[-_.]?\d+|(?<=/)\d+(?=/std)")
TOOLS = (horovod.TOOL, *(module.TOOL for module in (*OF_TRAINING, nccl_tests, osu, published)))
Kept = Printed | PrintedCollective


@dataclass
class Gathered:
    """``runs``: each print-out once, with the log it was first found in; ``left_out`` and
    ``remarks``: a sentence each."""

    runs: dict[str, tuple[Kept, Path]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def gather(logs: Iterable[Path], batches: int, ranks: int | None = None) -> Gathered:
    """The print-outs of all ``logs``; ``batches`` as horovod.reader takes them, ``ranks`` as
    osu.reader does."""
    gathered = Gathered()
    files: dict[Path, Path] = {}
    for log in logs:
        # It is one file, by whatever name it is given again.
        files.setdefault(log.resolve(), log)
    for log in files.values():
        try:
            content = log.read_bytes()
            found = printed(lines_of(content), batches, ranks)
            if is_cut_off(content):
                gathered.remarks.append(f"{log}: the archive is cut off, and what is left was read")
        except OSError as error:
            gathered.left_out.append(f"{log}: {error.strerror}")
            continue
        except ValueError as error:
            gathered.left_out.append(f"{log}: {error}")
            continue
        if not found:
            gathered.left_out.append(f"{log}: nothing of {', '.join(TOOLS)} is printed in it")
        for one in found:
            if isinstance(one, LeftOut):
                gathered.left_out.append(f"{log}: {one.tool}: {one.why}")
                continue
            run_id = identify(one)
            if run_id in gathered.runs:
                first = gathered.runs[run_id][1]
                where = "twice in it" if first == log else f"in {first} too, and counts once"
                gathered.remarks.append(f"{log}: a print of {one.tool} is {where}")
                continue
            gathered.runs[run_id] = one, log
    _count_once(gathered)
    for one, log in gathered.runs.values():
        if one.doubt:
            what = one.model if isinstance(one, Printed) else one.operation
            gathered.remarks.append(f"{log}: {one.tool} of {what}: {one.doubt}")
    gathered.remarks += _of_one_launch(gathered.runs)
    return gathered


def _count_once(gathered: Gathered) -> None:
    """Leave out, with a remark, what is the beginning of another print: copied before its end."""
    ids = sorted(gathered.runs, key=lambda run_id: _identifying(gathered.runs[run_id][0]))
    for shorter, longer in pairwise(ids):
        (one, log), (whole, where) = gathered.runs[shorter], gathered.runs[longer]
        if _identifying(whole).startswith(_identifying(one) + "\n"):
            del gathered.runs[shorter]
            gathered.remarks.append(
                f"{log}: a print of {one.tool} is the beginning of one in {where}, and counts once"
            )


def printed(lines: Sequence[str], batches: int, ranks: int | None = None) -> list[Found]:
    """All print-outs in the lines of a log."""
    readers: tuple[Reader, ...] = (
        horovod.reader(batches),
        *(module.read for module in OF_TRAINING),
        nccl_tests.read,
        osu.reader(ranks),
        published.read,
    )
    return [one for read in readers for one in read(lines)]


def identify(run: Kept) -> str:
    """The run's id, by all that was read of its print-out: where it lies says nothing."""
    return hashlib.sha256(_identifying(run).encode()).hexdigest()[:12]


def _identifying(run: Kept) -> str:
    return f"{run.tool}\n{run.text}"


def _of_one_launch(runs: dict[str, tuple[Kept, Path]]) -> Iterable[str]:
    """Prints of several ranks that may be one run, of tools of which each rank may print: as many
    as devices, or in logs whose names differ in a number alone."""
    alike: dict[tuple[object, ...], list[Path]] = {}
    for run, log in runs.values():
        if not isinstance(run, Printed):
            continue
        if run.tool in OF_EACH_RANK and run.devices > 1:
            point = run.model, run.strategy, run.devices, run.batch_per_device, run.dataset
            alike.setdefault(point, []).append(log)
    for (model, *_, devices, _, _), logs in alike.items():
        numbered = {OF_A_RANK.sub("", str(log)) for log in logs}
        if len(logs) == devices or 1 == len(numbered) < len(set(logs)):
            yield (
                f"{len(logs)} prints of {model} on {devices} devices stand in "
                f"{logs[0] if len(set(logs)) == 1 else count(len(set(logs)), 'log')}: if these are "
                f"the ranks of one launch, import rank 0's alone, for they count as so many runs"
            )


def write_collective(one: PrintedCollective, log: Path, device_kind: str, results: Path) -> Path:
    """The file of one print of a collective operation; returns its folder. Raises OSError."""
    launch = identify(one)
    folder = results / launch
    with _made(folder):
        with open(folder / COLLECTIVES_FILE, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            for size, slowest, mean, fastest in one.times:
                row = CollectiveRow(
                    launch=launch,
                    library=f"{one.library} ({one.tool})",
                    operation=one.operation,
                    form=SINGLE,
                    model="",
                    bytes=size,
                    tensors=1,
                    ranks=one.ranks,
                    nodes=one.nodes,
                    device_kind=one.device if device_kind == UNKNOWN else device_kind,
                    round=0,
                    iterations=1,
                    seconds=slowest,
                    mean_seconds=mean,
                    fastest_seconds=fastest,
                )
                writer.writerow(asdict(row))
        about = {"provenance": {"imported_from": f"{_shown(log)}, printed by {one.tool}"}}
        (folder / ABOUT_FILE).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return folder


def write(run: Printed, log: Path, device_kind: str, scaling: str, sweep: Path) -> Path:
    """The files of one run; returns their folder. Raises OSError.

    Its repeat is made of its id, so that it is the same in any order of logs, and no two runs pass
    for a block that was measured together.
    """
    run_id = identify(run)
    identity = Identity(
        run_id=run_id,
        # "." has a name too.
        sweep=sweep.resolve().name,
        model=run.model,
        dataset=run.dataset,
        framework=f"imported: {run.tool}",
        strategy=run.strategy,
        devices=run.devices,
        nodes=0,
        device_kind=run.device if device_kind == UNKNOWN else device_kind,
        cpu_math=UNKNOWN,
        scaling=scaling,
        batch_per_device=run.batch_per_device,
        global_batch=run.batch_per_device * run.devices,
        precision=run.precision,
        xla=run.xla,
        input=run.input,
        exchange=UNKNOWN,
        seed=0,
        repeat=int(run_id[:6], 16),
    )
    folder = sweep / run_id
    with _made(folder):
        with open(folder / THROUGHPUT_FILE, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns(ThroughputRow), lineterminator="\n")
            writer.writeheader()
            for number, (steps, rate) in enumerate(run.intervals):
                samples = steps * identity.global_batch
                seconds = samples / rate
                row = ThroughputRow(
                    PHASE_TRAIN, number, steps, samples, seconds, seconds, seconds, rate
                )
                writer.writerow(values(identity, row))
        header = ",".join(columns(AccuracyRow)) + "\n"
        (folder / ACCURACY_FILE).write_text(header, encoding="utf-8")
        ended = {"status": STATUS_COMPLETE}
        if not run.complete:
            message = f"its print: {run.doubt}"
            ended = {"status": STATUS_FAILED, "failure": "preempted", "message": message}
        document = {
            "schema_version": SCHEMA_VERSION,
            "run_id": run_id,
            "sweep": identity.sweep,
            "identity": asdict(identity),
            "config": run.options,
            "rows": {THROUGHPUT_FILE: len(run.intervals), ACCURACY_FILE: 0},
            **ended,
            "hosts": [],
            "provenance": {
                "imported_from": f"{_shown(log)}, {run.origin or f'printed by {run.tool}'}",
                "packages": run.software,
            },
        }
        (folder / RUN_FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return folder


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """A folder for what is written within; a new one is gone again where that fails."""
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError:
        if new:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _shown(log: Path) -> str:
    """Its name in text, which a file's name need not be."""
    return str(log).encode("utf-8", "backslashreplace").decode()


def summary(gathered: Gathered) -> str:
    """How many came of it, in a line."""
    runs = [run for run, _ in gathered.runs.values() if isinstance(run, Printed)]
    complete = sum(run.complete for run in runs)
    ended, others = len(runs) - complete, len(gathered.runs) - len(runs)
    more = f", {count(ended, 'run')} that ended early" if ended else ""
    more += f", {count(others, 'measurement')} of collective operations" if others else ""
    return f"{count(complete, 'run')}{more}, {len(gathered.left_out)} left out"
