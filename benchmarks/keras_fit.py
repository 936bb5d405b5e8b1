"""Plain Keras ``fit`` as the workshop writes it against this harness, on the same cores.

    python benchmarks/keras_fit.py [--models fc-64 ...] [--rounds 6]

A process a side; the sides take turns, an epoch each, after one that is not counted, and sleep
while another has its turn.
An epoch's time is the wall's, with all that happens between its steps, progress display
included; neither side evaluates within it. XLA is off in the harness; ``fit`` has Keras' default,
"auto", which leaves it off on a machine without an accelerator.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from typing import Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from harness_epochs import harness
from hpcbench.config import RunConfig
from hpcbench.devices.cores import available_cores, cpu_name
from hpcbench.models import MODELS
from spread import spread
from turns import Side, serve, take_turns

SIDES = FIT, OURS, BFLOAT16 = "keras fit", "hpcbench", "hpcbench, bfloat16"
SAMPLES = {"fc": 60_000, "cnn": 6_400}


def keras_fit(model_name: str, samples: int) -> Iterator[float]:
    """Seconds of one epoch after the other under ``compile`` and ``fit``."""
    import keras

    from hpcbench.datasets.sources import locate
    from hpcbench.models import BuildContext

    spec, source = MODELS[model_name], locate("auto")
    data = source.read().first(samples)
    keras.config.set_dtype_policy("float32")
    context = BuildContext(
        source.spec.input_shape, source.spec.outputs, 0, "float32", keras.layers.BatchNormalization
    )
    model = keras.Sequential([spec.builder("tensorflow")(context), keras.layers.Softmax()])
    optimizer = (
        keras.optimizers.Adam(spec.learning_rate)
        if spec.optimizer == "adam"
        else keras.optimizers.SGD(spec.learning_rate, spec.momentum)
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    images = np.asarray(data.train_inputs).astype("float32") / 255
    while True:
        start = time.perf_counter()
        model.fit(images, data.train_targets, batch_size=spec.batch, epochs=1)
        yield time.perf_counter() - start


def measure(model_name: str, side: str) -> None:
    """One side's process: an epoch for each line on standard input, its us a sample printed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # A side would otherwise take all memory of a GPU from the others.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    from hpcbench.frameworks import FRAMEWORKS

    samples = SAMPLES[model_name.split("-", maxsplit=1)[0]]
    if side == FIT:
        epochs = keras_fit(model_name, samples)
    else:
        FRAMEWORKS["tensorflow"].prepare(len(available_cores()), 1, 0)
        precision: Literal["float32", "mixed_bfloat16"] = (
            "float32" if side == OURS else "mixed_bfloat16"
        )
        epochs = harness(RunConfig(model=model_name, precision=precision, train_samples=samples))
    serve(epochs, samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    digits = [spec.name for spec in MODELS if spec.workshop]
    parser.add_argument("--models", nargs="+", choices=digits, default=digits)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--measure", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.models[0], arguments.measure)
        return
    table = Table("model", "batch", FIT, OURS, "ratio", BFLOAT16, "load")
    for name in arguments.models:
        load = os.getloadavg()[0]
        sides = {side: Side(__file__, "--models", name, "--measure", side) for side in SIDES}
        times = take_turns(sides, arguments.rounds)
        ratios = [a / b for a, b in zip(times[FIT], times[OURS], strict=True)]
        row = (
            name,
            str(MODELS[name].batch),
            spread(times[FIT], 1),
            spread(times[OURS], 1),
            spread(ratios, 2),
            spread(times[BFLOAT16], 1),
            f"{load:.2f}",
        )
        table.add_row(*row)
        print(*row, sep="   ", file=sys.stderr, flush=True)
    console = Console(width=130)
    console.print(f"{cpu_name()}, {len(available_cores())} cores; XLA off but in fit: auto")
    what = f"microseconds a sample: median [lowest, highest] of {arguments.rounds} epochs"
    console.print(what, markup=False)
    console.print(table)


if __name__ == "__main__":
    main()
