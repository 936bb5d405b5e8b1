"""What a run comes to: batch, steps and learning rate."""

import math
from typing import get_args

from pydantic import BaseModel, ConfigDict

from hpcbench.config import Optimizer, RunConfig
from hpcbench.errors import ConfigError
from hpcbench.models import MODELS


class Schedule(BaseModel):
    """What a run comes to, once model, data and world size are known.

    ``batch_per_device`` times ``world_size`` is ``global_batch``; ``full_steps`` whole global
    batches an epoch, then one step with the ``remainder`` samples if there are any. After each of
    ``epochs`` it is evaluated; a run that is measured for some seconds has none unless asked for.
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

    @property
    def steps_per_epoch(self) -> int:
        return self.full_steps + (self.remainder > 0)


def batches(config: RunConfig, world_size: int) -> tuple[int, int]:
    """The batch of each device and the global batch, in samples.

    Raises ConfigError where a strong-scaling batch is not divisible by the world size.
    """
    batch = config.batch or MODELS[config.model].batch
    if config.scaling == "weak":
        return batch, batch * world_size
    if batch % world_size:
        raise ConfigError(
            f"under strong scaling the batch is shared: {batch} is not divisible by "
            f"{world_size} devices; choose a multiple of {world_size}"
        )
    return batch // world_size, batch


def make_schedule(config: RunConfig, world_size: int, samples: int) -> Schedule:
    """Work out batch, steps and learning rate of a run.

    Raises ConfigError where a strong-scaling batch is not divisible by the world size, a device's
    by the parts that it is computed in, a global batch is larger than the training set, or the
    model's optimizer is unknown.
    """
    spec = MODELS[config.model]
    per_device, global_batch = batches(config, world_size)
    if per_device % config.accumulate:
        raise ConfigError(
            f"--accumulate {config.accumulate}: a device's batch of {per_device} is not divisible "
            f"into so many equal parts"
        )
    if config.train_samples is not None and config.train_samples > samples:
        raise ConfigError(f"--train-samples {config.train_samples}: there are only {samples}")
    samples = config.train_samples or samples
    if global_batch > samples:
        raise ConfigError(
            f"a global batch of {global_batch} is larger than the {samples} training samples"
        )
    optimizer = config.optimizer or spec.optimizer
    if optimizer not in get_args(Optimizer):
        raise ConfigError(
            f"model {spec.name} is to be trained by {optimizer}; choose --optimizer "
            f"{' or '.join(get_args(Optimizer))}"
        )
    if config.target is not None and config.seconds and not config.epochs:
        raise ConfigError("--target with --seconds needs --epochs: else nothing is evaluated")
    epochs = config.epochs or (0 if config.seconds else spec.epochs)
    if config.epochs_rule == "horovod":
        epochs = math.ceil(epochs / world_size)
    rate = config.learning_rate or spec.learning_rate
    # The rate follows the global batch (Goyal et al., 2017, section 2.1): strong scaling keeps it.
    grown = world_size if config.scaling == "weak" else 1
    factor = {"none": 1.0, "linear": float(grown), "sqrt": math.sqrt(grown)}
    full_steps, remainder = divmod(samples, global_batch)
    return Schedule(
        world_size=world_size,
        samples=samples,
        batch_per_device=per_device,
        global_batch=global_batch,
        epochs=epochs,
        optimizer=optimizer,
        learning_rate=rate,
        scaled_learning_rate=rate * factor[config.lr_scaling],
        momentum=spec.momentum if config.momentum is None else config.momentum,
        lr_decay=spec.lr_decay if config.lr_decay is None else config.lr_decay,
        full_steps=full_steps,
        remainder=remainder,
    )
