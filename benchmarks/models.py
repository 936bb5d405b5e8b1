"""Rate and memory of each model's training on one device.

    python benchmarks/models.py [--models fc-64 cnn-2] [--rounds 2] [--seconds 5]

A process a run, in rounds over all models, on made-up samples in the shape of the model's data at
the model's batch. A first short run of each tells how many steps fill the seconds. The memory is
the process' largest resident set; what TensorFlow itself and the samples take is in it.
"""

import argparse
import math
import os

from rich.console import Console
from rich.table import Table

from hpcbench.datasets.sources import locate_for
from hpcbench.devices.cores import cpu_name
from hpcbench.models import MODELS, ModelSpec
from runs import Trained, train
from spread import spread

# At their batches these want a GPU's memory.
LARGE = {
    *("resnet-50", "vgg-16", "inception-v3", "efficientnet-b0", "vit-b16", "unet"),
    *("gpt-124m", "bert-base"),
}
# Of the short run, and the least that a rate is taken from.
LEAST_STEPS = 2


def measure(model: ModelSpec, framework: str, steps: int) -> Trained:
    return train(
        f"--model={model.name}",
        f"--framework={framework}",
        "--input=synthetic",
        "--strategy=single",
        f"--train-samples={steps * model.batch}",
        "--warmup-steps=1",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = MODELS.names()
    usual = [name for name in names if name not in LARGE]
    parser.add_argument("--models", nargs="+", choices=names, default=usual)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5, help="of training, about, a run")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    steps: dict[tuple[str, str], int] = {}
    found: dict[tuple[str, str], list[Trained]] = {}
    for name in arguments.models:
        model = MODELS[name]
        most = locate_for(model, "auto", made_up=True).train_samples // model.batch
        for framework in model.frameworks:
            rate = measure(model, framework, LEAST_STEPS).rate
            wanted = math.ceil(arguments.seconds * rate / model.batch)
            steps[name, framework] = min(max(wanted, LEAST_STEPS), most)
    for _ in range(arguments.rounds):
        for (name, framework), count in steps.items():
            run = measure(MODELS[name], framework, count)
            found.setdefault((name, framework), []).append(run)
    table = Table("model", "framework", "parameters", "batch", "steps", "samples/s", "MiB")
    for (name, framework), runs in found.items():
        table.add_row(
            name,
            framework,
            f"{runs[0].document['parameters']:,}",
            str(MODELS[name].batch),
            str(steps[name, framework]),
            spread([run.rate for run in runs], 1),
            spread([run.memory for run in runs], 0),
        )
    console = Console(width=130, markup=False)
    console.print(
        f"{cpu_name()}, load {load:.2f} at the start; median [lowest, highest] of "
        f"{arguments.rounds} runs"
    )
    console.print(table)


if __name__ == "__main__":
    main()
