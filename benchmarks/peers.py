"""Training written by hand in Keras, PyTorch and JAX against this harness, on the same cores.

    python benchmarks/peers.py [--models fc-64 ...] [--sides ...] [--rounds 6]

A process a side; the sides take turns, an epoch each, after one that is not counted, and sleep
while another has its turn. An epoch's time is the wall's, with all that happens between its steps,
progress display included; no side evaluates within it. ``fit`` has Keras' defaults: XLA "auto",
which leaves it off on a machine without an accelerator. All train the same network on the same
images; each is shown beside the fastest that is written by hand.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from harness_epochs import harness
from hpcbench.config import RunConfig
from hpcbench.devices.cores import available_cores, cpu_name
from hpcbench.models import MODELS
from plain_loops import Task, jax_loop, keras_fit, task, torch_loop
from spread import spread
from turns import Side, serve, take_turns

# An epoch's.
SAMPLES = {"fc": 60_000, "cnn": 6_400}
Epochs = Callable[[Task], Iterator[float]]


def ours(framework: str, **settings: Any) -> Epochs:
    """This harness with ``settings``."""

    def epochs(asked: Task) -> Iterator[float]:
        samples = len(asked.labels)
        config = RunConfig(
            model=asked.spec.name, framework=framework, train_samples=samples, **settings
        )
        return harness(config)

    return epochs


@dataclass(frozen=True)
class Peer:
    framework: str
    epochs: Epochs
    by_hand: bool = False
    cores: int | None = None


PEERS = {
    "Keras fit": Peer("tensorflow", keras_fit, by_hand=True),
    "PyTorch loop": Peer("torch", torch_loop, by_hand=True),
    "PyTorch DataLoader": Peer("torch", lambda asked: torch_loop(asked, loader=True), by_hand=True),
    "JAX loop": Peer("jax", jax_loop, by_hand=True),
    "hpcbench tensorflow": Peer("tensorflow", ours("tensorflow")),
    "hpcbench tensorflow, one core": Peer("tensorflow", ours("tensorflow"), cores=1),
    "hpcbench tensorflow --xla": Peer("tensorflow", ours("tensorflow", xla=True)),
    "hpcbench tensorflow bfloat16": Peer(
        "tensorflow", ours("tensorflow", precision="mixed_bfloat16")
    ),
    "hpcbench torch": Peer("torch", ours("torch")),
    "hpcbench jax": Peer("jax", ours("jax")),
}
RARE = ("PyTorch DataLoader", "hpcbench tensorflow --xla", "hpcbench tensorflow bfloat16")
USUAL = [name for name in PEERS if name not in RARE]


def sides_of(model: str, asked: list[str] | None) -> list[str]:
    """Those of ``asked``, or the usual ones, that can train ``model``: by hand, Keras' networks are
    told over to all. XLA's convolutions on CPUs take so long that they have to be asked for."""
    slow = "jax" if model.startswith("cnn") and not asked else ""
    return [
        side
        for side in asked or USUAL
        if PEERS[side].by_hand or PEERS[side].framework in MODELS[model].frameworks
        if PEERS[side].framework != slow
    ]


def measure(model: str, side: str, samples: int | None) -> None:
    """One side's process: an epoch for each line on standard input, its us a sample printed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # A side would otherwise take all memory of a GPU from the others.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    from hpcbench.frameworks import FRAMEWORKS

    peer = PEERS[side]
    samples = samples or SAMPLES[model.split("-", maxsplit=1)[0]]
    if peer.cores:
        os.sched_setaffinity(0, available_cores()[: peer.cores])
    if peer.by_hand:
        # As who writes a loop by hand would start it. The network is told by Keras, on that
        # framework alone.
        os.environ["KERAS_BACKEND"] = peer.framework
    else:
        FRAMEWORKS[peer.framework].prepare(len(available_cores()), 1, 0)
    serve(peer.epochs(task(model, samples)), samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = [spec.name for spec in MODELS if spec.workshop] + ["cnn-pytorch"]
    parser.add_argument("--models", nargs="+", choices=known, default=known)
    parser.add_argument("--sides", nargs="+", choices=PEERS)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--samples", type=int, help="of an epoch; default: by the model")
    parser.add_argument("--measure", choices=PEERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.models[0], arguments.measure, arguments.samples)
        return
    table = Table("model", "batch", "side", "us a sample", "of the best by hand", "load")
    for name in arguments.models:
        load = os.getloadavg()[0]
        chosen = sides_of(name, arguments.sides)
        flags = [__file__, f"--models={name}", "--measure"]
        if arguments.samples:
            flags.insert(1, f"--samples={arguments.samples}")
        times = take_turns({side: Side(*flags, side) for side in chosen}, arguments.rounds)
        by_hand = [side for side in chosen if PEERS[side].by_hand]
        best = min(by_hand, key=lambda side: statistics.median(times[side]), default=chosen[0])
        for side in chosen:
            ratios = [a / b for a, b in zip(times[best], times[side], strict=True)]
            row = (
                *(name, str(MODELS[name].batch), side, spread(times[side], 1)),
                *("best by hand" if side == best else spread(ratios, 2), f"{load:.2f}"),
            )
            table.add_row(*row)
            print(*row, sep="   ", file=sys.stderr, flush=True)
        table.add_section()
    console = Console(width=130, markup=False)
    console.print(
        f"{cpu_name()}, {len(available_cores())} cores; median [lowest, highest] of "
        f"{arguments.rounds} epochs; rates as parts of the best by hand, round by round"
    )
    console.print(table)


if __name__ == "__main__":
    main()
