"""What exchanging gradients costs two ranks, way by way, beside the compute of a step alone.

    python benchmarks/exchange.py [--models fc-64 ...] [--rounds 7] [--timeline]

Two processes, each bound to a core of its own. In them the ways take turns, some steps each:
the step without any exchange (both ranks at it, so that they compete for the machine as they do
in training), a bare ``MPI_Allreduce`` of as many bytes, and the whole step under mpi4py and
under Horovod tensor by tensor, grouped and as one flat buffer. Then the same under Horovod's
Gloo. The time of a way in a round is the slowest rank's. ``--timeline`` adds Horovod's own
account of where the time of a flat exchange goes.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hpcbench.models import MODELS
from hpcbench.provenance import cpu_name
from hpcbench.sweep import environment

RANKS = 2
SECONDS_A_TURN = 0.4
ALONE, BARE, MPI_STEP = "compute alone", "bare Allreduce", "mpi4py flat"


def measure(model_name: str, rounds: int, controller: str) -> None:
    """One rank's part; rank 0 prints a line a round: way, microseconds a step."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import numpy as np

    from hpcbench.binding import bind_cores
    from hpcbench.config import RunConfig, schedule
    from hpcbench.datasets import DATASETS, synthetic
    from hpcbench.launch import detect
    from hpcbench.strategies import STRATEGIES, Strategy

    launch = detect(os.environ)
    config = RunConfig(model=model_name, cores_per_device=1)
    bind_cores(launch, config, process_per_device=True)
    from hpcbench.strategies.horovod import Horovod

    class Alone(Horovod):
        """The same step with its gradients kept to itself."""

        def mean(self, tensors: Sequence[Any]) -> list[Any]:
            return list(tensors)

    spec = DATASETS["mnist"]
    plan = schedule(config, launch.size, spec.train_samples)
    data = synthetic.arrays(spec, seed=0).first(6400)
    strategies: dict[str, Strategy] = {ALONE: Alone(launch, RANKS, 1, "flat")}
    if controller == "mpi":
        strategies[MPI_STEP] = STRATEGIES["mpi"](launch, RANKS, 1, "flat")
    for exchange in ("per-tensor", "grouped", "flat"):
        name = f"Horovod {controller} {exchange}"
        strategies[name] = STRATEGIES["horovod"](launch, RANKS, 1, exchange)
    turns: dict[str, Callable[[int], None]] = {
        name: _training_turn(model_name, strategy, plan, spec, data)
        for name, strategy in strategies.items()
    }
    if controller == "mpi":
        turns[BARE] = _allreduce_turn(MODELS[model_name].trainable_parameters)
    gather = strategies[ALONE].gather
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
            start = time.perf_counter()
            turns[name](steps[name])
            slowest = gather([time.perf_counter() - start]).max()
            if launch.rank == 0:
                print(f"\nWAY\t{name}\t{slowest / steps[name] * 1e6}", flush=True)
    del np


def _training_turn(
    model_name: str, strategy: Any, plan: Any, spec: Any, data: Any
) -> Callable[[int], None]:
    """A function that trains so many steps."""
    import numpy as np

    from hpcbench.engine import optimizers
    from hpcbench.engine.loop import TrainingLoop
    from hpcbench.models import BuildContext
    from hpcbench.models.normalization import batch_normalization

    context = BuildContext(
        spec.input_shape, spec.classes, 0, "float32", batch_normalization("local", strategy.mean)
    )
    model = MODELS[model_name].build(context)
    weights = [variable.value for variable in model.trainable_variables]
    optimizer = optimizers.make(plan.optimizer, weights, plan.momentum)
    batch = plan.batch_per_device
    loop = TrainingLoop(model, optimizer, strategy, data, batch, xla=False, streamed=False)
    generator = np.random.default_rng(0)

    def turn(steps: int) -> None:
        order = generator.integers(0, len(data.train_labels), (steps, 1, batch), np.int32)
        # A rate of nearly nothing: made-up labels must not make the weights overflow.
        loop.steps(order, optimizer.scalars(0, np.full(steps, 1e-9)))

    return turn


def _allreduce_turn(elements: int) -> Callable[[int], None]:
    import numpy as np
    from mpi4py import MPI

    mine, total = np.ones(elements, np.float32), np.empty(elements, np.float32)

    def turn(steps: int) -> None:
        for _ in range(steps):
            MPI.COMM_WORLD.Allreduce(mine, total)

    return turn


def launch(model: str, rounds: int, controller: str, more: dict[str, str]) -> dict[str, list[float]]:
    """Start the ranks; the times of each way, round by round."""
    script = [sys.executable, __file__, "--measure", model, "--rounds", str(rounds)]
    script += ["--controller", controller]
    if controller == "mpi":
        start = ["mpirun", "-np", str(RANKS), "--bind-to", "none", "--oversubscribe"]
        start += [part for name in more for part in ("-x", name)]
    else:
        horovodrun = shutil.which("horovodrun", path=str(Path(sys.executable).parent))
        start = [str(horovodrun), "--gloo", "-np", str(RANKS)]
    output = subprocess.run(
        [*start, *script], stdout=subprocess.PIPE, text=True, check=True,
        env=environment() | more,
    ).stdout  # fmt: skip
    times: dict[str, list[float]] = defaultdict(list)
    for line in output.splitlines():
        if "WAY\t" in line:
            _, name, value = line[line.index("WAY\t") :].split("\t")
            times[name].append(float(value))
    return dict(times)


def timeline_phases(model: str) -> dict[str, float]:
    """Median microseconds of each phase in Horovod's timeline of the flat exchange."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "timeline.json"
        launch(model, 1, "mpi", {"HOROVOD_TIMELINE": str(path)})
        text = path.read_text().rstrip().rstrip(",")
    events = json.loads(text if text.endswith("]") else text + "]")
    names = {e["pid"]: e["args"]["name"] for e in events if e.get("name") == "process_name"}
    open_events: dict[int, list[tuple[str, float]]] = defaultdict(list)
    durations: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event.get("ph") == "B":
            open_events[event["pid"]].append((event["name"], event["ts"]))
        elif event.get("ph") == "E" and open_events[event["pid"]]:
            name, begun = open_events[event["pid"]].pop()
            durations[f"{name}"].append(event["ts"] - begun)
        elif event.get("ph") == "X":
            durations[event["name"]].append(event["dur"])
    del names
    return {name: statistics.median(values) for name, values in durations.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS.names(), default=MODELS.names())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--timeline", action="store_true")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--controller", choices=("mpi", "gloo"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure, arguments.rounds, arguments.controller)
        return
    console = Console(width=110, markup=False, highlight=False)
    console.print(f"{cpu_name()}, {RANKS} ranks of one core each")
    console.print(f"microseconds a step: median [lowest, highest] of {arguments.rounds} rounds")
    for model in arguments.models:
        load = os.getloadavg()[0]
        times = launch(model, arguments.rounds, "mpi", {})
        times |= {f"{name}": v for name, v in launch(model, arguments.rounds, "gloo", {}).items()
                  if name != ALONE}  # fmt: skip
        medians = {name: statistics.median(values) for name, values in times.items()}
        floor = medians[ALONE] + medians[BARE]
        table = Table("way", "us a step", "over compute + Allreduce")
        table.title = f"{model}, batch {MODELS[model].batch} a rank, load {load:.2f}"
        for name, values in times.items():
            spread = f"{medians[name]:,.0f} [{min(values):,.0f}, {max(values):,.0f}]"
            table.add_row(name, spread, "" if name == BARE else f"{medians[name] / floor:.2f}")
        console.print(table)
        if arguments.timeline:
            for name, value in sorted(timeline_phases(model).items(), key=lambda item: -item[1]):
                console.print(f"  timeline {name}: {value:,.0f} us")


if __name__ == "__main__":
    main()
