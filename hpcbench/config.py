"""RunConfig: the one typed description of a run, checked once, hashed to its run id."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from hpcbench.errors import ConfigError, unknown_name
from hpcbench.models import MODELS, ModelSpec

# A name becomes a folder, and later part of a job script: nothing that a shell could read.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"

AUGMENTATIONS = frozenset({"rotate", "scale", "shift", "noise"})

DEFAULT_FRAMEWORK = "tensorflow"
SHORT_BENCHMARK_MODEL = "fc-64"
SHORT_BENCHMARK_EPOCHS = 5


class RunConfig(BaseModel):
    """One run, as asked for. What is None follows from the model or the machine."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False
    )

    model: str = Field(SHORT_BENCHMARK_MODEL, description="model to train")
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
    target: float | None = Field(
        None, description="end training when the test metric is at least as good as this"
    )
    epochs: int | None = Field(None, ge=1, description="epochs; default: the model's")
    epochs_rule: Literal["as-given", "horovod"] = Field(
        "as-given", description="horovod: epochs divided by the world size, rounded up"
    )
    train_samples: int | None = Field(
        None, ge=1, description="train on the first so many samples only; default: all"
    )
    optimizer: Literal["adam", "sgd", "larc", "adadelta"] | None = Field(
        None, description="default: the model's"
    )
    learning_rate: float | None = Field(None, gt=0, description="default: the model's")
    momentum: float | None = Field(
        None, ge=0, lt=1, description="of sgd and larc; default: the model's"
    )
    lr_scaling: Literal["none", "linear", "sqrt"] = Field(
        "none", description="learning rate times 1, the world size, or its square root"
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
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16", "float64"] = Field(
        "float32",
        description="of the arithmetic; mixed_float16 scales the loss; float64 is there to check "
        "that devices agree",
    )
    xla: bool = Field(False, description="compile forward and backward pass with XLA")
    input: Literal["resident", "stream", "synthetic"] = Field(
        "resident", description="data kept on the device, streamed from the host, or made up"
    )
    image_size: int | None = Field(
        None,
        ge=8,
        le=4096,
        description="pixels a side to which a folder's images are brought; default: the model's",
    )
    augment: str = Field(
        "none",
        description="change training images at random: any of rotate, scale, shift and noise, "
        "joined by +",
    )
    exchange: Literal["per-tensor", "grouped", "flat", "buckets"] | None = Field(
        None, description="how gradients travel; default: the strategy's"
    )
    seed: int | None = Field(
        None, ge=0, lt=2**31, description="of weights, order and dropout; default: the repeat"
    )
    repeat: int | None = Field(None, ge=0, description="which repeat; default: the first free")
    cores_per_device: int | None = Field(
        None, ge=1, description="CPU cores of a device; default: an equal share of those there are"
    )
    interval_steps: int | None = Field(
        None, ge=1, description="steps a timed interval; default: a tenth of an epoch"
    )
    no_exchange_intervals: int = Field(
        5,
        ge=0,
        description="intervals that several devices also run without exchanging gradients, after "
        "training: what is left is what communication costs",
    )
    warmup_steps: int = Field(10, ge=1, description="steps before the clock starts")
    checkpoint: bool = Field(False, description="write a checkpoint after every epoch")

    @field_validator("augment")
    @classmethod
    def _known_augmentations(cls, value: str) -> str:
        """In one order, so that the same augmentation is the same run."""
        kinds = set() if value == "none" else set(value.split("+"))
        if kinds - AUGMENTATIONS:
            raise ValueError(f"choose from {', '.join(sorted(AUGMENTATIONS))}, joined by +")
        return "+".join(sorted(kinds)) or "none"

    @property
    def augmentations(self) -> frozenset[str]:
        return frozenset() if self.augment == "none" else frozenset(self.augment.split("+"))

    @property
    def run_id(self) -> str:
        """Twelve hexadecimal digits that any change of the configuration changes."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]


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


def parse(model: type[BaseModel], values: dict[str, Any], flag: str = "--") -> Any:
    """``model(**values)``, with pydantic's report turned into one sentence.

    Names stand in it as flags, or as they are if ``flag`` is empty. Raises ConfigError.
    """
    try:
        return model(**values)
    except ValidationError as error:
        # A misspelt name is reported before the missing one that it was meant for.
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise unknown_name("setting", name, list(model.model_fields)) from error
        if first["type"] == "missing":
            raise ConfigError(f"{flag}{name} is missing") from error
        shown = f"{flag}{name.replace('_', '-')}" if flag else name
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{shown} {first['input']}: {message}") from error


class Schedule(BaseModel):
    """What a run comes to, once model, data and world size are known.

    ``batch_per_device`` times ``world_size`` is ``global_batch``; ``full_steps`` whole global
    batches an epoch, then one step with the ``remainder`` samples if there are any.
    """

    model_config = ConfigDict(frozen=True)

    world_size: int
    samples: int
    batch_per_device: int
    global_batch: int
    epochs: int
    optimizer: str
    learning_rate: float
    scaled_learning_rate: float
    momentum: float
    lr_decay: float
    full_steps: int
    remainder: int
    interval_steps: int

    @property
    def steps_per_epoch(self) -> int:
        return self.full_steps + (self.remainder > 0)


def schedule(config: RunConfig, world_size: int, samples: int) -> Schedule:
    """Work out batch, steps and learning rate of a run.

    Raises ConfigError where a strong-scaling batch is not divisible by the world size or a
    global batch is larger than the training set.
    """
    spec: ModelSpec = MODELS[config.model]
    batch = config.batch or spec.batch
    if config.scaling == "strong":
        if batch % world_size:
            raise ConfigError(
                f"under strong scaling the batch is shared: {batch} is not divisible by "
                f"{world_size} devices; choose a multiple of {world_size}"
            )
        per_device = batch // world_size
    else:
        per_device = batch
    global_batch = per_device * world_size
    if config.train_samples is not None and config.train_samples > samples:
        raise ConfigError(f"--train-samples {config.train_samples}: there are only {samples}")
    samples = config.train_samples or samples
    if global_batch > samples:
        raise ConfigError(
            f"a global batch of {global_batch} is larger than the {samples} training samples"
        )
    epochs = config.epochs or spec.epochs
    if config.epochs_rule == "horovod":
        epochs = math.ceil(epochs / world_size)
    rate = config.learning_rate or spec.learning_rate
    factor = {"none": 1.0, "linear": float(world_size), "sqrt": math.sqrt(world_size)}
    full_steps, remainder = divmod(samples, global_batch)
    return Schedule(
        world_size=world_size,
        samples=samples,
        batch_per_device=per_device,
        global_batch=global_batch,
        epochs=epochs,
        optimizer=config.optimizer or spec.optimizer,
        learning_rate=rate,
        scaled_learning_rate=rate * factor[config.lr_scaling],
        momentum=spec.momentum if config.momentum is None else config.momentum,
        lr_decay=spec.lr_decay if config.lr_decay is None else config.lr_decay,
        full_steps=full_steps,
        remainder=remainder,
        interval_steps=min(config.interval_steps or math.ceil(full_steps / 10), full_steps),
    )
