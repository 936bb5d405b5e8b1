"""What exchanging gradients costs two ranks, way by way, beside the compute of a step alone.

    python benchmarks/exchange.py [--models fc-64 ...] [--launches 3] [--cycle-times 0.3 5]

Three pairs of processes take turns, each process bound to a core of its own: one with mpi4py
alone, one with Horovod over MPI, one with Horovod over Gloo (Horovod's background thread would
disturb the others in the same process). Within a pair the ways take turns, some steps each:
the step without any exchange (both ranks at it, so that they compete for the machine as they do
in training), a bare ``MPI_Allreduce`` of as many bytes, and the whole step exchanging tensor by
tensor, grouped, or as one flat buffer. The time of a way is the slowest rank's. ``--cycle-times``
repeats Horovod over MPI with other values of ``HOROVOD_CYCLE_TIME`` (milliseconds, 1 if unset).
While nothing is exchanged, the CPU time is counted of the threads that the library started.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from hpcbench.devices.cores import cpu_name
from hpcbench.models import MODELS
from hpcbench.sweeps.runner import environment
from spread import spread

RANKS = 2
SECONDS_A_TURN = 0.4
KINDS = {"mpi4py": "mpi", "Horovod MPI": "horovod", "Horovod Gloo": "horovod"}
PAIRS = tuple(KINDS)
SAMPLES = 6400
ALONE, BARE = "no exchange", "bare Allreduce of the same bytes"
BUSY = ": % of the core used by its own threads, no exchange"


def measure(model_name: str, rounds: int, pair: str) -> None:
    """One rank's part; rank 0 prints a line a round: way, microseconds a step."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from hpcbench.cluster.launchers import detect
    from hpcbench.config import RunConfig
    from hpcbench.datasets import DATASETS, synthetic
    from hpcbench.devices.cores import bind_cores
    from hpcbench.frameworks import FRAMEWORKS
    from hpcbench.frameworks.backend import Workload
    from hpcbench.schedule import make_schedule
    from hpcbench.strategies import STRATEGIES

    launch = detect(os.environ)
    bind_cores(launch, 1, RANKS, process_per_device=True)
    config, spec = RunConfig(model=model_name), DATASETS["mnist"]
    schedule = make_schedule(config, launch.size, spec.train_samples)
    batch = schedule.batch_per_device
    data = synthetic.arrays(spec, seed=0).first(SAMPLES)
    kind, framework = STRATEGIES[KINDS[pair]], FRAMEWORKS["tensorflow"]
    framework.prepare(1, 1, launch.local_rank)
    before = {thread.id for thread in psutil.Process().threads()}
    strategies = {exchange: kind(launch, RANKS, exchange) for exchange in kind.exchanges}
    started = {thread.id for thread in psutil.Process().threads()} - before
    backends = {
        exchange: framework.backend(Workload(config, schedule, 0, spec, data, strategy))
        for exchange, strategy in strategies.items()
    }
    turns = {f"{pair}, {exchange}": training_turn(of, batch) for exchange, of in backends.items()}
    default = kind.exchanges[0]
    turns[f"{pair}, {ALONE}"] = training_turn(backends[default], batch, "NONE")
    if pair == "mpi4py":
        turns[BARE] = allreduce_turn(backends[default].trainable_parameters)
    gather = strategies[default].all_gather
    steps = {}
    for name, turn in turns.items():
        turn(3)
        start = time.perf_counter()
        turn(5)
        slowest = gather([time.perf_counter() - start]).max()
        steps[name] = max(5, int(5 * SECONDS_A_TURN / slowest))
    for round_number in range(rounds):
        # Another order each round, so that no way always follows the same one.
        names = list(turns)
        names = names[round_number % len(names) :] + names[: round_number % len(names)]
        for name in names:
            gather([0.0])
            start, busy = time.perf_counter(), _cpu_seconds(started)
            turns[name](steps[name])
            seconds, busy = time.perf_counter() - start, _cpu_seconds(started) - busy
            slowest = gather([seconds]).max()
            if launch.rank == 0:
                print(f"\nWAY\t{name}\t{slowest / steps[name] * 1e6}", flush=True)
                if name.endswith(ALONE):
                    print(f"\nWAY\t{pair}{BUSY}\t{100 * busy / seconds}", flush=True)


def _cpu_seconds(threads: set[int]) -> float:
    """CPU time that these threads of this process have used."""
    times = psutil.Process().threads()
    return sum(t.user_time + t.system_time for t in times if t.id in threads)


def training_turn(backend: Any, batch: int, exchange: str = "GRADIENTS") -> Callable[[int], None]:
    """A function that trains so many steps with such an exchange."""
    import numpy as np

    from hpcbench.frameworks.backend import Exchange

    generator = np.random.default_rng(0)

    def turn(steps: int) -> None:
        order = generator.integers(0, SAMPLES, (steps, 1, batch), np.int32)
        # A rate of nearly nothing: made-up labels must not make the weights overflow.
        backend.steps(order, np.full(steps, 1e-9), exchange=Exchange[exchange])

    return turn


def allreduce_turn(elements: int) -> Callable[[int], None]:
    import numpy as np
    from mpi4py import MPI

    mine, total = np.ones(elements, np.float32), np.empty(elements, np.float32)

    def turn(steps: int) -> None:
        for _ in range(steps):
            MPI.COMM_WORLD.Allreduce(mine, total)

    return turn


def launch(model: str, rounds: int, pair: str, more: dict[str, str]) -> dict[str, list[float]]:
    """Start the ranks; the times of each way, round by round."""
    script = [sys.executable, __file__, "--measure", model, "--rounds", str(rounds)]
    script += ["--pair", pair]
    if pair == "Horovod Gloo":
        horovodrun = Path(sys.executable).parent / "horovodrun"
        start = [str(horovodrun), "--gloo", "-np", str(RANKS)]
    else:
        start = ["mpirun", "-np", str(RANKS), "--bind-to", "none", "--oversubscribe"]
    output = subprocess.run(
        [*start, *script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
        env=environment() | more,
    ).stdout
    times: dict[str, list[float]] = defaultdict(list)
    for line in output.splitlines():
        if "WAY\t" in line:
            _, name, value = line[line.index("WAY\t") :].split("\t")
            times[name].append(float(value))
    return dict(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    digits = [spec.name for spec in MODELS if spec.workshop]
    parser.add_argument("--models", nargs="+", choices=digits, default=digits)
    parser.add_argument("--launches", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cycle-times", nargs="*", type=float, default=[], metavar="MS")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--pair", choices=PAIRS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure, arguments.rounds, arguments.pair)
        return
    console = Console(width=100, markup=False, highlight=False)
    console.print(f"{cpu_name()}, {RANKS} ranks of one core each")
    console.print(
        f"microseconds a step: median [lowest, highest] of {arguments.launches} launches "
        f"of {arguments.rounds} rounds"
    )
    for model in arguments.models:
        load = os.getloadavg()[0]
        times: dict[str, list[float]] = defaultdict(list)
        for _ in range(arguments.launches):
            for pair in PAIRS:
                for name, values in launch(model, arguments.rounds, pair, {}).items():
                    times[name] += values
            for cycle in arguments.cycle_times:
                more = {"HOROVOD_CYCLE_TIME": str(cycle)}
                for name, values in launch(model, arguments.rounds, PAIRS[1], more).items():
                    times[f"{name}, cycle {cycle} ms"] += values
        console.print(_table(model, times, load))


def _table(model: str, times: dict[str, list[float]], load: float) -> Table:
    medians = {name: statistics.median(values) for name, values in times.items()}
    floor = medians[f"{PAIRS[0]}, {ALONE}"] + medians[BARE]
    table = Table("way", "us a step", "over compute + Allreduce")
    table.title = f"{model}, batch {MODELS[model].batch} a rank, load {load:.2f}"
    for name, values in times.items():
        beside = name == BARE or BUSY in name
        table.add_row(name, spread(values, 0), "" if beside else f"{medians[name] / floor:.2f}")
    return table


if __name__ == "__main__":
    main()
