"""The method of Horovod's synthetic benchmark beside this harness, on one and two CPU devices.

    python benchmarks/horovod_synthetic.py [--model cnn-2] [--rounds 5]

Theirs, written anew after what examples/tensorflow2/tensorflow2_synthetic_benchmark.py does: one
random batch for all steps, each of which is one call of a compiled function from Python; gradients
are averaged one by one; 10 steps to warm up, then 10 times 10 by rank 0's clock, and the mean rate
with 1.96 standard deviations of the ten. Ours: hpcbench train with the same settings, of its
intervals of 10 steps the first ten; on two devices with its own exchange on CPUs, one buffer, and
with theirs. A process a device, bound to a core of its own; the sides take turns, a run each.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from hpcbench.devices.cores import available_cores, cpu_name
from hpcbench.models import MODELS
from hpcbench.sweeps.runner import environment
from spread import spread

DEVICES = (1, 2)
STEPS, TIMES = 10, 10
RATE = 0.01
THEIRS = "Horovod's method"
# What this harness is asked for beside what both have, by side.
OURS = {"hpcbench": (), "hpcbench, per-tensor": ("--exchange=per-tensor",)}


def measure(model_name: str, batch: int) -> None:
    """One rank's part of their method; rank 0 prints samples a second of each ten steps, of all
    ranks, as they reckon: its own times their number."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from hpcbench.cluster.launchers import detect
    from hpcbench.datasets.sources import locate_for
    from hpcbench.devices.cores import bind_cores
    from hpcbench.frameworks import FRAMEWORKS

    launch = detect(os.environ)
    bind_cores(launch, 1, 1, process_per_device=True)
    FRAMEWORKS["tensorflow"].prepare(1, 1, launch.local_rank)
    import horovod.tensorflow as hvd
    import keras
    import tensorflow as tf

    from hpcbench.frameworks.keras_backend import set_random_seed
    from hpcbench.frameworks.keras_model import build_model
    from hpcbench.models import BuildContext

    hvd.init()
    set_random_seed(0)
    spec = locate_for(MODELS[model_name], "auto", made_up=True).spec
    normalization = keras.layers.BatchNormalization
    context = BuildContext(spec.input_shape, spec.outputs, 0, "float32", normalization)
    model = build_model("tensorflow", model_name, context)
    weights = [weight.value for weight in model.trainable_variables]
    inputs = tf.random.uniform([batch, *spec.input_shape])
    targets = tf.random.uniform([batch], maxval=spec.outputs, dtype=tf.int32)

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            outputs = model(inputs, training=True)
            entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, outputs)
            loss = tf.reduce_mean(entropy)
        for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
            mean = hvd.allreduce(gradient, op=hvd.Average) if hvd.size() > 1 else gradient
            weight.assign_sub(RATE * mean)

    def seconds() -> float:
        start = time.perf_counter()
        for _ in range(STEPS):
            step()
        return time.perf_counter() - start

    step()
    seconds()
    rates = [hvd.size() * batch * STEPS / seconds() for _ in range(TIMES)]
    if hvd.rank() == 0:
        print("\n" + json.dumps(rates), flush=True)


def run(devices: int, *command: str) -> str:
    """What the ranks print; ends this program with their errors if one fails."""
    start = ["mpirun", "-np", str(devices), "--bind-to", "none"] if devices > 1 else []
    done = subprocess.run(
        [*start, sys.executable, *command],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed: {done.stderr}")
    return done.stdout


def theirs(model: str, batch: int, devices: int) -> list[float]:
    """Samples a second of each ten steps."""
    printed = run(devices, __file__, f"--model={model}", f"--batch={batch}", "--measure")
    return list(json.loads(next(line for line in printed.splitlines() if line.startswith("["))))


def ours(model: str, batch: int, devices: int, flags: tuple[str, ...]) -> list[float]:
    """Samples a second of each of the first ten intervals of ten steps."""
    with tempfile.TemporaryDirectory() as folder:
        run(
            devices,
            "-m",
            "hpcbench.train",
            f"--results={folder}",
            f"--model={model}",
            f"--batch={batch}",
            f"--devices={devices}",
            f"--strategy={'horovod' if devices > 1 else 'single'}",
            "--cores-per-device=1",
            "--input=synthetic",
            "--optimizer=sgd",
            "--momentum=0",
            f"--learning-rate={RATE}",
            f"--warmup-steps={STEPS}",
            f"--interval-steps={STEPS}",
            "--no-exchange-intervals=0",
            "--seconds=1",
            *flags,
        )
        rows = pd.read_csv(next(Path(folder).rglob("throughput.csv")))
    return rows[rows["phase"] == "train"]["samples_per_second"].tolist()[:TIMES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    images = [spec.name for spec in MODELS if spec.kind == "images"]
    parser.add_argument("--model", choices=images, default="cnn-2")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    model, batch = arguments.model, arguments.batch
    if arguments.measure:
        measure(model, batch)
        return
    load = os.getloadavg()[0]
    found: dict[tuple[int, str], list[list[float]]] = defaultdict(list)
    for _ in range(arguments.rounds):
        for devices in DEVICES:
            found[devices, THEIRS].append(theirs(model, batch, devices))
            for side, flags in OURS.items():
                if devices > 1 or not flags:
                    found[devices, side].append(ours(model, batch, devices, flags))
    table = Table("devices", "side", "samples/s: first run", "median of runs", "side / theirs")
    for (devices, side), runs in found.items():
        means = [statistics.mean(rates) for rates in runs]
        base = [statistics.mean(rates) for rates in found[devices, THEIRS]]
        first = f"{means[0]:,.0f} ± {1.96 * statistics.pstdev(runs[0]):,.0f}"
        ratios = [a / b for a, b in zip(means, base, strict=True)]
        table.add_row(str(devices), side, first, spread(means, 0), spread(ratios, 2))
    console = Console(width=100, markup=False)
    console.print(
        f"{cpu_name()}, {len(available_cores())} cores; load {load:.2f} at the start; {model}, "
        f"batch {batch} a device; mean ± 1.96 standard deviations of {TIMES} times {STEPS} steps; "
        f"median [lowest, highest] of {arguments.rounds} runs"
    )
    console.print(table)


if __name__ == "__main__":
    main()
