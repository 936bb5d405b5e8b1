"""RunConfig: the one typed description of a run, checked once, hashed to its run id."""

import hashlib
import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from hpcbench.references import reference_name
from hpcbench.validation import NAME_PATTERN

Optimizer = Literal["adam", "sgd", "larc", "adadelta"]
AUGMENTATIONS = frozenset({"rotate", "scale", "shift", "noise"})

DEFAULT_FRAMEWORK = "tensorflow"
SHORT_BENCHMARK_MODEL = "fc-64"
SHORT_BENCHMARK_EPOCHS = 5

# Settings that came later than schema 1 of the results.
LATER_SETTINGS = (
    "model_digest",
    "test_samples",
    "seconds",
    "sequence_length",
    "accumulate",
    "compression",
)
# What every framework gets right, since it is worked out before a framework sees it. Any other
# setting has to be claimed by a framework, or is refused under it.
SETTINGS_OF_ALL_FRAMEWORKS = frozenset(
    {
        "model",
        "model_digest",
        "framework",
        "dataset",
        "strategy",
        "devices",
        "scaling",
        "batch",
        "target",
        "epochs",
        "epochs_rule",
        "seconds",
        "train_samples",
        "test_samples",
        "learning_rate",
        "lr_scaling",
        "lr_decay",
        "warmup_epochs",
        "image_size",
        "sequence_length",
        "exchange",
        "compression",
        "seed",
        "repeat",
        "cores_per_device",
        "interval_steps",
        "no_exchange_intervals",
        "warmup_steps",
        "checkpoint",
        "results",
        "sweep",
        "data_dir",
        "mllog",
        "resume",
    }
)


class RunConfig(BaseModel):
    """One run, as asked for. What is None follows from the model or the machine."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False
    )

    model: str = Field(
        SHORT_BENCHMARK_MODEL,
        description="model to train: a name, a file of your own, or package.module:build",
    )
    framework: str = Field(DEFAULT_FRAMEWORK, description="what trains it")
    dataset: str = Field("auto", description="data set; auto: MNIST, Fashion-MNIST or 5,000 digits")
    strategy: str = Field("auto", description="how devices exchange gradients")
    devices: int | None = Field(
        None, ge=1, description="world size; default: what the launcher started, else 1"
    )
    scaling: Literal["weak", "strong"] = Field(
        "weak", description="weak: --batch is per device; strong: --batch is over all devices"
    )
    batch: int | None = Field(None, ge=1, description="samples a step; default: the model's")
    accumulate: int = Field(
        1,
        ge=1,
        description="parts of a device's batch, one after the other, whose gradients are added up "
        "before they are exchanged: each takes the memory of one part",
    )
    target: float | None = Field(
        None, description="end training when the test metric is at least as good as this"
    )
    epochs: int | None = Field(
        None, ge=1, description="epochs; default: the model's, and with --seconds none"
    )
    seconds: float | None = Field(
        None,
        gt=0,
        description="train on until so many seconds, and ten intervals, are measured; without "
        "--epochs nothing is evaluated",
    )
    epochs_rule: Literal["as-given", "horovod"] = Field(
        "as-given", description="horovod: epochs divided by the world size, rounded up"
    )
    train_samples: int | None = Field(
        None, ge=1, description="train on the first so many samples only; default: all"
    )
    test_samples: int | None = Field(
        None, ge=1, description="evaluate on the first so many test samples only; default: all"
    )
    optimizer: Optimizer | None = Field(None, description="default: the model's")
    learning_rate: float | None = Field(None, gt=0, description="default: the model's")
    momentum: float | None = Field(
        None, ge=0, lt=1, description="of sgd and larc; default: the model's"
    )
    lr_scaling: Literal["none", "linear", "sqrt"] = Field(
        "none",
        description="learning rate times 1, the growth of the global batch (the world size under "
        "weak scaling, 1 under strong), or its square root",
    )
    lr_decay: float | None = Field(
        None,
        gt=0,
        le=1,
        description="learning rate times this after each epoch; default: the model's",
    )
    warmup_epochs: float = Field(
        0.0, ge=0, description="epochs over which a scaled learning rate rises from the unscaled"
    )
    batchnorm: Literal["local", "sync"] = Field(
        "local", description="batch normalization over each device's share or the global batch"
    )
    precision: Literal["float32", "tf32", "mixed_bfloat16", "mixed_float16", "float64"] = Field(
        "float32",
        description="arithmetic precision; tf32: float32 whose products GPUs round to 10 bits; "
        "mixed_float16 scales the loss; float64 is there to check that devices agree",
    )
    xla: bool = Field(False, description="compile forward and backward pass with XLA")
    input: Literal["resident", "stream", "synthetic"] = Field(
        "resident", description="data kept on the device, streamed from the host, or made up"
    )
    image_size: int | None = Field(
        None,
        ge=8,
        le=4096,
        description="pixels per side to which a folder's images are brought; default: the model's",
    )
    sequence_length: int | None = Field(
        None, ge=2, le=2**20, description="tokens of a sample; default: the model's"
    )
    augment: str = Field(
        "none",
        description="change training images at random: any of rotate, scale, shift and noise, "
        "joined by +",
    )
    exchange: Literal["per-tensor", "grouped", "flat", "buckets", "reduce-scatter"] | None = Field(
        None, description="how gradients travel; default: the strategy's"
    )
    compression: Literal["none", "fp16", "bf16"] = Field(
        "none", description="gradients are rounded to so many bits for the exchange"
    )
    seed: int | None = Field(
        None,
        ge=0,
        lt=2**31,
        description="random seed of weights, order and dropout; default: the repeat's number",
    )
    repeat: int | None = Field(None, ge=0, description="which repeat; default: the first free")
    cores_per_device: int | None = Field(
        None, ge=1, description="CPU cores of a device; default: an equal share of those there are"
    )
    interval_steps: int | None = Field(
        None,
        ge=1,
        description="steps per timed interval, which an epoch's evaluation ends; default: half a "
        "second of them",
    )
    no_exchange_intervals: int = Field(
        5,
        ge=0,
        description="rounds, at most, in which the parts of a step are timed between intervals: "
        "without the exchange, on one batch, with ranks that only synchronize, alone; 0: none",
    )
    warmup_steps: int = Field(10, ge=1, description="steps before the clock starts, at least")
    checkpoint: bool = Field(False, description="write a checkpoint after every epoch")
    model_digest: str | None = Field(
        None,
        description="digest of the file that defines --model, which is refused if it has changed",
    )

    @field_validator("augment")
    @classmethod
    def _known_augmentations(cls, value: str) -> str:
        """In one order, so that the same augmentation is the same run."""
        kinds = set() if value == "none" else set(value.split("+"))
        if kinds - AUGMENTATIONS:
            raise ValueError(f"choose from {', '.join(sorted(AUGMENTATIONS))}, joined by +")
        return "+".join(sorted(kinds)) or "none"

    @property
    def sample_size(self) -> int | None:
        """What samples of any size are brought to: pixels a side, or tokens."""
        return self.image_size or self.sequence_length

    @property
    def augmentations(self) -> frozenset[str]:
        return frozenset() if self.augment == "none" else frozenset(self.augment.split("+"))

    @property
    def run_id(self) -> str:
        """Twelve hexadecimal digits that any change of what is measured changes.

        A setting that came later than schema 1 counts only where it is not its default, so that
        the runs of before keep their ids. A model from a file counts by its name and content.
        """
        content = self.model_dump(mode="json")
        for name in LATER_SETTINGS:
            if content[name] == type(self).model_fields[name].default:
                del content[name]
        if self.lr_scaling != "none" and self.scaling == "strong":
            # Until version 0.2 the rate grew with the world size there too.
            content["lr_scaling"] += " of the global batch"
        if self.model_digest:
            content["model"] = reference_name(self.model)
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


class OutputConfig(BaseModel):
    """Where a run reads and writes; none of it changes what is measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    results: Path = Field(Path("results"), description="folder of all results")
    sweep: str = Field(
        "adhoc",
        pattern=NAME_PATTERN,
        description="folder below it, and the sweep's name in every row",
    )
    data_dir: Path | None = Field(None, description="folder that holds the data set")
    tensorboard: bool = Field(
        False, description="write what TensorBoard shows into the run's folder, off the clock"
    )
    mllog: bool = Field(
        False, description="write MLPerf's log into the run's folder; with --target"
    )
    resume: bool = Field(False, description="go on from the run's checkpoint if there is one")
