"""hpcbench import LOG... [--results results/imported]: old printouts as runs.

Reads what Horovod's synthetic benchmark and tf_cnn_benchmarks print, and writes the files of a run
for each, marked as imported. What a log does not say is marked as unknown.
"""

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcbench.cli import Parser
from hpcbench.errors import ConfigError, EnvironmentLacks, HpcbenchError
from hpcbench.records.identity import UNKNOWN, Identity
from hpcbench.records.schema import (
    ACCURACY_FILE,
    PHASE_TRAIN,
    RUN_FILE,
    SCHEMA_VERSION,
    STATUS_COMPLETE,
    THROUGHPUT_FILE,
    AccuracyRow,
    ThroughputRow,
    columns,
    values,
)

HOROVOD, TF_CNN = "Horovod synthetic benchmark", "tf_cnn_benchmarks"
# mpirun and horovodrun can put the rank before each line.
RANK = re.compile(r"^\[\d+(?:,\d+)?\]<std\w+>:\s?", re.MULTILINE)


@dataclass(frozen=True)
class Imported:
    """One printed run; ``intervals`` holds steps and images a second over all devices."""

    tool: str
    model: str
    strategy: str
    devices: int
    batch_per_device: int
    tensorflow: str
    intervals: list[tuple[int, float]]


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    if not match:
        raise ValueError(f"it has no line like {pattern!r}")
    return match[1]


def horovod(text: str, batches: int) -> Imported:
    """A printout of Horovod's synthetic benchmark, ``batches`` (--num-batches-per-iter) a line.

    The Keras variant does not warm up, and counts its first line as warm-up; so does this.
    """
    devices = int(_found(r"^Number of \w+s: (\d+)", text))
    rates = [float(r) for r in re.findall(r"^Iter #\d+: ([\d.]+) img/sec per", text, re.MULTILINE)]
    if "Running warmup" not in text:
        rates = rates[1:]
    if not rates or min(rates) <= 0 or batches < 1:
        raise ValueError("it has no timed line, or one of no images")
    return Imported(
        HOROVOD,
        _found(r"^Model: (\S+)", text),
        "horovod",
        devices,
        int(_found(r"^Batch size: (\d+)", text)),
        UNKNOWN,
        [(batches, rate * devices) for rate in rates],
    )


def tf_cnn(text: str) -> Imported:
    """A printout of tf_cnn_benchmarks; of several ranks' totals the lowest counts."""
    batch = int(float(_found(r"^Batch size:\s+([\d.]+) global", text)))
    per_device = int(float(_found(r"^\s+([\d.]+) per device", text)))
    totals = re.findall(r"^total images/sec: ([\d.]+)", text, re.MULTILINE)
    if not totals:
        raise ValueError("it has no total")
    if per_device < 1 or min(map(float, totals)) <= 0:
        raise ValueError("it has a batch or a rate of nothing")
    steps = int(_found(r"^Num batches:\s+(\d+)", text))
    return Imported(
        TF_CNN,
        _found(r"^Model:\s+(\S+)", text),
        _found(r"^Variables:\s+(\S+)", text),
        batch // per_device,
        per_device,
        _found(r"^TensorFlow:\s+(\S+)", text),
        [(steps, min(map(float, totals)))],
    )


def read(text: str, batches: int) -> Iterator[Imported]:
    """Each run printed in ``text``; raises ValueError where it is neither tool's."""
    text = RANK.sub("", text)
    if "images/sec" in text:
        yield tf_cnn(text)
        return
    parts = re.split(r"(?=^Model: )", text, flags=re.MULTILINE)[1:]
    if not parts:
        raise ValueError(f"it is a printout neither of {HOROVOD} nor of {TF_CNN}")
    for part in parts:
        yield horovod(part, batches)


def write(run: Imported, source: str, device_kind: str, repeat: int, sweep: Path) -> Path:
    """The files of one run; returns their folder."""
    content = f"{source} {repeat} {run}"
    run_id = hashlib.sha256(content.encode()).hexdigest()[:12]
    identity = Identity(
        run_id=run_id,
        sweep=sweep.name,
        model=run.model,
        dataset="synthetic",
        framework=f"imported: {run.tool}",
        strategy=run.strategy,
        devices=run.devices,
        nodes=1,
        device_kind=device_kind,
        cpu_math=UNKNOWN,
        scaling="weak",
        batch_per_device=run.batch_per_device,
        global_batch=run.batch_per_device * run.devices,
        precision=UNKNOWN,
        xla=False,
        input="synthetic",
        exchange=UNKNOWN,
        seed=0,
        repeat=repeat,
    )
    folder = sweep / run_id
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, (steps, rate) in enumerate(run.intervals):
        samples = steps * identity.global_batch
        seconds = samples / rate
        row = ThroughputRow(PHASE_TRAIN, number, steps, samples, seconds, seconds, seconds, rate)
        lines.append(values(identity, row))
    import pandas as pd

    table = pd.DataFrame(lines, columns=columns(ThroughputRow))
    table.to_csv(folder / THROUGHPUT_FILE, index=False)
    pd.DataFrame(columns=columns(AccuracyRow)).to_csv(folder / ACCURACY_FILE, index=False)
    document = {
        "schema_version": SCHEMA_VERSION,
        "run_id": run_id,
        "sweep": sweep.name,
        "status": STATUS_COMPLETE,
        "hosts": [],
        "provenance": {
            "imported_from": f"{source}, printed by {run.tool}",
            "packages": {} if run.tensorflow == UNKNOWN else {"tensorflow": run.tensorflow},
        },
    }
    (folder / RUN_FILE).write_text(json.dumps(document, indent=2) + "\n")
    return folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Old printouts as runs."
    parser.epilog = (
        "exit status: 0 done, 2 bad arguments or a log of no tool that is known, 3 cannot write"
    )
    add = parser.add_argument
    add("logs", nargs="+", type=Path, metavar="LOG")
    add(
        "--results",
        type=Path,
        default=Path("results/imported"),
        help="folder; its name is the sweep's; default: results/imported",
    )
    add("--device-kind", default=UNKNOWN, help="for example 'Tesla V100-SXM2-16GB'")
    add(
        "--batches-per-iter",
        type=int,
        default=10,
        metavar="N",
        help="--num-batches-per-iter of Horovod's benchmark; default: 10",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status as the command's help lists them."""
    parser = Parser(prog="hpcbench import")
    add_arguments(parser)
    try:
        args = parser.parse(arguments)
        for path in import_all(args):
            print(path)
    except HpcbenchError as error:
        print(f"hpcbench: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def import_all(args: argparse.Namespace) -> Iterator[Path]:
    """Write the runs of each log; their folders. Raises HpcbenchError."""
    repeats: dict[tuple[object, ...], int] = {}
    for log in args.logs:
        try:
            found = list(read(log.read_text(errors="replace"), args.batches_per_iter))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{log}: {error}") from error
        for run in found:
            point = (run.tool, run.model, run.strategy, run.devices, run.batch_per_device)
            repeats[point] = repeats.get(point, -1) + 1
            try:
                yield write(run, str(log), args.device_kind, repeats[point], args.results)
            except OSError as error:
                raise EnvironmentLacks(f"{args.results} cannot be written: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
