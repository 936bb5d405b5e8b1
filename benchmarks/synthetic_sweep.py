"""Writes the files of a made-up sweep that follows a known law, to try the analysis on.

    python benchmarks/synthetic_sweep.py FOLDER [--repeats 6] [--intervals 50] [--devices 1 2 4 8]

Rates follow the Universal Scalability Law of each strategy, times lognormal noise. The README's
pictures are

    python benchmarks/synthetic_sweep.py results/made-up --devices 1 2 4 8 16 32 64 \\
        --models cnn-2 --strategies horovod multiworker --noise 0.06
    hpcbench plot results/made-up --output figures/made-up
    cp figures/made-up/overview.png figures/made-up/step_time.png docs/pictures
"""

import argparse
import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpcbench.records.identity import Identity
from hpcbench.records.schema import (
    ACCURACY_FILE,
    PHASE_ALONE,
    PHASE_EXCHANGE,
    PHASE_LATENCY,
    PHASE_NO_EXCHANGE,
    PHASE_ONE_BATCH,
    PHASE_ONE_ELEMENT,
    PHASE_TRAIN,
    RANKS_FILE,
    RUN_FILE,
    SCHEMA_VERSION,
    THROUGHPUT_FILE,
    AccuracyRow,
    RankRow,
    ThroughputRow,
    columns,
    values,
)
from hpcbench.training.beside import phases_of

# Samples a second on one device; contention and coherency of each strategy.
RATES = {"fc-64": 200_000.0, "cnn-2": 9_000.0}
LAWS = {
    "horovod": (0.02, 0.0004),
    "mirrored": (0.05, 0.001),
    "multiworker": (0.05, 0.001),
    "single": (0.0, 0.0),
}
STRATEGIES = ("horovod", "mirrored", "single")
NOISE = 0.02
BATCH, STEPS = 128, 47
# Of a step's compute alone: beside other devices, where ranks wait for each other, and what meeting
# costs; what of it samples take to come. How much longer an exchange takes by itself than what it
# adds to a step.
TOGETHER, MET, LATENCY, INPUT, BARE = 1.004, 1.01, 0.001, 0.003, 1.2
ROUNDS, RANK_NOISE = 5, 0.002
DEVICES_PER_NODE = 8


def rate(strategy: str, devices: int, alone: float) -> float:
    """Samples a second by the strategy's law."""
    contention, coherency = LAWS[strategy]
    others = devices - 1
    return alone * devices / (1 + contention * others + coherency * devices * others)


def write_run(
    folder: Path,
    identity: Identity,
    samples_a_second: float,
    intervals: int,
    generator: np.random.Generator,
    noise: float = NOISE,
    **document: Any,
) -> None:
    """One complete run, of five epochs."""
    folder.mkdir(parents=True)
    samples = STEPS * identity.global_batch
    of_run = samples_a_second * np.exp(noise * generator.standard_normal())
    rows: list[ThroughputRow] = []
    for interval in range(intervals):
        seconds = samples / of_run * np.exp(NOISE * abs(generator.standard_normal()))
        rows.append(_row(PHASE_TRAIN, interval, samples, seconds))
    trained = sum(row.seconds for row in rows)
    epochs = []
    for epoch in range(1, 6):
        metric = 0.98 - 0.1 * 0.4**epoch + 0.001 * generator.standard_normal()
        epochs.append(
            AccuracyRow(
                epoch,
                0.001,
                0.1,
                metric,
                0.1,
                metric,
                "accuracy",
                trained / 5,
                trained * epoch / 5,
                trained / 50,
            )
        )
    _write(folder / THROUGHPUT_FILE, identity, ThroughputRow, rows)
    _write(folder / ACCURACY_FILE, identity, AccuracyRow, epochs)
    beside = list(_beside(identity, samples / of_run, generator))
    _write(folder / RANKS_FILE, identity, RankRow, beside)
    provenance = {
        "packages": {"tensorflow-cpu": "2.18.1", "horovod": "0.28.1"},
        "git_commit": "0" * 40,
        "load_average": 0.1,
        "cores_of_machine": 8,
        "started": "2026-01-01T00:00:00+00:00",
        "command": ["hpcbench/train.py", f"--model={identity.model}"],
    }
    (folder / RUN_FILE).write_text(
        json.dumps(
            {
                "schema_version": SCHEMA_VERSION,
                "run_id": identity.run_id,
                "sweep": identity.sweep,
                "status": "complete",
                "hosts": ["node-1"],
                "provenance": provenance,
            }
            | document
        )
    )


def _row(phase: str, interval: int, samples: int, seconds: float) -> ThroughputRow:
    return ThroughputRow(
        phase, interval, STEPS, samples, seconds, 0.97 * seconds, 0.985 * seconds, samples / seconds
    )


def _beside(
    identity: Identity, step_seconds: float, generator: np.random.Generator
) -> Iterator[RankRow]:
    """Times of all ranks in what is timed between intervals of training."""
    compute = STEPS * BATCH / RATES[identity.model]
    together = TOGETHER if identity.devices > 1 else 1.0
    of_phase = {
        PHASE_ALONE: (1 - INPUT) * compute,
        PHASE_NO_EXCHANGE: together * compute,
        PHASE_ONE_BATCH: (together - INPUT) * compute,
        PHASE_ONE_ELEMENT: MET * compute,
        PHASE_LATENCY: LATENCY * compute,
        PHASE_EXCHANGE: BARE * max(0.0, step_seconds - MET * compute) + LATENCY * compute,
    }
    # The one process of mirrored drives all devices, and is never alone.
    ranks = 1 if identity.strategy == "mirrored" else identity.devices
    phases = set(phases_of(identity.devices)) - ({PHASE_ALONE} if ranks == 1 else set())
    for interval in range(ROUNDS):
        for phase in sorted(phases):
            seconds = of_phase[phase]
            for rank in range(0, ranks, DEVICES_PER_NODE if phase == PHASE_ALONE else 1):
                noise = np.exp(RANK_NOISE * generator.standard_normal())
                yield RankRow(phase, interval, STEPS, rank, seconds * noise)


def _write(path: Path, identity: Identity, kind: type, rows: Sequence[Any]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns(kind), lineterminator="\n")
        writer.writeheader()
        writer.writerows(values(identity, row) for row in rows)


def identities(
    sweep: str,
    devices: Sequence[int],
    repeats: int,
    models: Sequence[str],
    strategies: Sequence[str],
) -> Iterator[Identity]:
    for repeat in range(repeats):
        for model in models:
            for strategy in strategies:
                for count in devices:
                    if strategy == "single" and count > 1:
                        continue
                    yield Identity(
                        run_id=f"{model}-{strategy}-{count}-{repeat}",
                        sweep=sweep,
                        model=model,
                        dataset="mnist",
                        framework="tensorflow",
                        strategy=strategy,
                        devices=count,
                        nodes=-(-count // DEVICES_PER_NODE),
                        device_kind="a made-up GPU",
                        cpu_math="none",
                        scaling="weak",
                        batch_per_device=BATCH,
                        global_batch=BATCH * count,
                        precision="float32",
                        xla=False,
                        input="resident",
                        exchange="none" if strategy == "single" else "flat",
                        seed=repeat,
                        repeat=repeat,
                    )


def write_sweep(
    folder: Path,
    devices: Sequence[int] = (1, 2, 4, 8),
    repeats: int = 6,
    intervals: int = 50,
    seed: int = 0,
    speed: float = 1.0,
    models: Sequence[str] = tuple(RATES),
    strategies: Sequence[str] = STRATEGIES,
    noise: float = NOISE,
) -> int:
    """All runs below ``folder``; returns how many. ``speed`` is a factor on every rate."""
    generator = np.random.default_rng(seed)
    count = 0
    for identity in identities(folder.name, devices, repeats, models, strategies):
        alone = speed * RATES[identity.model]
        expected = rate(identity.strategy, identity.devices, alone)
        write_run(folder / identity.run_id, identity, expected, intervals, generator, noise)
        count += 1
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--intervals", type=int, default=50)
    parser.add_argument("--models", nargs="+", choices=RATES, default=list(RATES))
    parser.add_argument("--strategies", nargs="+", choices=LAWS, default=STRATEGIES)
    parser.add_argument("--noise", type=float, default=NOISE)
    args = parser.parse_args()
    settings = {name: value for name, value in vars(args).items() if name != "folder"}
    print(f"{write_sweep(args.folder, **settings)} runs in {args.folder}")


if __name__ == "__main__":
    main()
