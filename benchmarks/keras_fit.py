"""Plain Keras ``fit`` as the workshop writes it against this harness, on the same cores.

    python benchmarks/keras_fit.py [--models fc-64 ...] [--rounds 6]

A process a model. In it the sides take turns, an epoch each, after one that is not counted.
An epoch's time is the wall's, with all that happens between its steps; neither side evaluates
within it. XLA is off on both: Keras' default, "auto", leaves it off on a machine without an
accelerator.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.table import Table

from hpcbench.launch import available_cores
from hpcbench.models import MODELS
from hpcbench.provenance import cpu_name
from spread import spread

FIT, OURS, BFLOAT16 = "keras fit", "hpcbench", "hpcbench, bfloat16"
SAMPLES = {"fc": 60_000, "cnn": 6_400}


def keras_fit(model_name: str, samples: int) -> Iterator[float]:
    """Seconds of one epoch after the other under ``compile`` and ``fit``."""
    import keras

    from hpcbench.datasets.sources import locate
    from hpcbench.models import BuildContext

    spec, source = MODELS[model_name], locate("auto")
    data = source.spec.read(source.files).first(samples)
    keras.config.set_dtype_policy("float32")
    context = BuildContext(
        source.spec.input_shape, source.spec.classes, 0, "float32", keras.layers.BatchNormalization
    )
    model = keras.Sequential([spec.build(context), keras.layers.Softmax()])
    optimizer = (
        keras.optimizers.Adam(spec.learning_rate)
        if spec.optimizer == "adam"
        else keras.optimizers.SGD(spec.learning_rate, spec.momentum)
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    images = data.train_images.astype("float32") / 255
    while True:
        start = time.perf_counter()
        model.fit(images, data.train_labels, batch_size=spec.batch, epochs=1, verbose=0)
        yield time.perf_counter() - start


def harness(model_name: str, samples: int, precision: str, epochs: int) -> Iterator[float]:
    """Seconds of one epoch after the other under this harness."""
    from hpcbench.config import RunConfig, schedule
    from hpcbench.datasets.sources import locate
    from hpcbench.engine.checkpoint import Progress
    from hpcbench.engine.training import Training
    from hpcbench.records.schema import AccuracyRow
    from hpcbench.strategies.single import Single

    class Prepared(Single):
        """The process' devices are configured already."""

        def __init__(self) -> None:
            pass

    source = locate("auto")
    config = RunConfig(model=model_name, epochs=epochs, precision=precision, train_samples=samples)
    plan = schedule(config, 1, source.spec.train_samples)
    data = source.spec.read(source.files).first(samples)
    training = Training(config, plan, 0, source.spec, data, Prepared(), lambda: False)
    training.warm_up()
    last = start = time.perf_counter()
    for row, _ in training.run(Progress()):
        if isinstance(row, AccuracyRow):
            yield last - start
            start = time.perf_counter()
        else:
            last = time.perf_counter()


def measure(model_name: str, rounds: int) -> None:
    """Print, a line a side and round, the side and microseconds a sample."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from hpcbench.devices import configure

    configure(len(available_cores()))
    samples = SAMPLES[model_name.split("-", maxsplit=1)[0]]
    sides: dict[str, Callable[[], Iterator[float]]] = {
        FIT: lambda: keras_fit(model_name, samples),
        OURS: lambda: harness(model_name, samples, "float32", rounds + 1),
        BFLOAT16: lambda: harness(model_name, samples, "mixed_bfloat16", rounds + 1),
    }
    # Each is built by its first epoch, so that its precision holds for it alone.
    epochs = {name: make() for name, make in sides.items()}
    for epoch in epochs.values():
        next(epoch)
    for _ in range(rounds):
        for name, epoch in epochs.items():
            print(f"{name}\t{next(epoch) / samples * 1e6}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS.names(), default=MODELS.names())
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure, arguments.rounds)
        return
    table = Table("model", "batch", FIT, OURS, "ratio", BFLOAT16, "load")
    for name in arguments.models:
        load = os.getloadavg()[0]
        command = [sys.executable, __file__, "--measure", name, "--rounds", str(arguments.rounds)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        times: dict[str, list[float]] = {}
        for line in output.splitlines():
            side, value = line.split("\t")
            times.setdefault(side, []).append(float(value))
        ratios = [a / b for a, b in zip(times[FIT], times[OURS], strict=True)]
        table.add_row(
            name, str(MODELS[name].batch), spread(times[FIT], 1), spread(times[OURS], 1),
            spread(ratios, 2), spread(times[BFLOAT16], 1), f"{load:.2f}",
        )  # fmt: skip
        print(f"{name} done", file=sys.stderr, flush=True)
    console = Console(width=130)
    console.print(f"{cpu_name()}, {len(available_cores())} cores; XLA off on all sides")
    what = f"microseconds a sample: median [lowest, highest] of {arguments.rounds} epochs"
    console.print(what, markup=False)
    console.print(table)


if __name__ == "__main__":
    main()
