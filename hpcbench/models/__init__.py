"""The models. Each module registers a family; adding a model is adding one file.

A spec can be read without loading TensorFlow: only ``build`` imports Keras.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpcbench.registry import Registry

if TYPE_CHECKING:
    import keras
    import torch

    from hpcbench.models.normalization import BatchNormalizationFactory


@dataclass(frozen=True)
class BuildContext:
    """What a builder needs to know of the run.

    ``batch_normalization`` makes a batch normalization layer with the run's choice of local
    or synchronized statistics; ``seed`` seeds this process's random layers; ``logits_dtype`` is
    the type of the output, float32 unless all is float64; ``outputs`` how many numbers it has;
    ``words`` how many words a text's numbers stand for, 0 where it is no text; ``devices`` the
    names of those over which the network is split, one empty name where it is not.
    """

    input_shape: tuple[int, ...]
    outputs: int
    seed: int
    logits_dtype: str
    batch_normalization: "BatchNormalizationFactory"
    words: int = 0
    devices: tuple[str, ...] = ("",)


@dataclass(frozen=True)
class Workshop:
    """``epochs`` is the number of epochs behind ``accuracy``, the test accuracy of the workshop's
    score table; ``microseconds`` is the training time a sample that its slides print, for hardware
    that they do not name."""

    epochs: int
    accuracy: float
    microseconds: float


@dataclass(frozen=True)
class ModelSpec:
    """A model and how it is trained; every default can be overridden on the command line.

    It takes data sets of one ``kind``; ``datasets`` are those that ``auto`` looks for, in this
    order. ``parameters`` and ``trainable_parameters`` are counts for the first of them.
    ``lr_decay`` multiplies the learning rate after each epoch; ``image_size`` is the pixels a side
    to which images of any size are brought; ``devices_per_replica`` over how many devices one copy
    of the network can be split. ``workshop`` holds what the workshop printed of it, if it did;
    ``build_torch`` makes the same network for PyTorch.
    """

    name: str
    build: "Callable[[BuildContext], keras.Model]"
    optimizer: str
    learning_rate: float
    momentum: float
    batch: int
    epochs: int
    parameters: int
    trainable_parameters: int
    workshop: "Workshop | None" = None
    kind: str = "images"
    datasets: tuple[str, ...] = ("mnist", "fashion-mnist", "mnist-5k")
    lr_decay: float = 1.0
    image_size: int = 32
    devices_per_replica: tuple[int, ...] = (1,)
    build_torch: "Callable[[tuple[int, ...], int], torch.nn.Module] | None" = None

    @property
    def frameworks(self) -> tuple[str, ...]:
        """The frameworks that the model is written for."""
        return ("tensorflow", "torch") if self.build_torch else ("tensorflow",)


MODELS: Registry[ModelSpec] = Registry("model", __name__)
