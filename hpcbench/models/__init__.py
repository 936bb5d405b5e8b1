"""The models. Each module registers a family; adding a model is adding one file.

A spec can be read without loading TensorFlow: only ``build`` imports Keras.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpcbench.registry import Registry

if TYPE_CHECKING:
    import keras

    from hpcbench.models.normalization import BatchNormalizationFactory


@dataclass(frozen=True)
class BuildContext:
    """What a builder needs to know of the run.

    ``batch_normalization`` makes a batch normalization layer with the run's choice of local
    or synchronized statistics; ``seed`` seeds this process's random layers; ``logits_dtype`` is
    the type of the output, float32 unless all is float64.
    """

    input_shape: tuple[int, ...]
    classes: int
    seed: int
    logits_dtype: str
    batch_normalization: "BatchNormalizationFactory"


@dataclass(frozen=True)
class ModelSpec:
    """A model as the workshop trained it; every default can be overridden on the command line.

    ``parameters`` and ``trainable_parameters`` are counts for 28 x 28 x 1 inputs and 10
    classes. ``workshop_epochs`` is the number of epochs behind ``workshop_accuracy``, the test
    accuracy of the workshop's score table; ``workshop_microseconds`` is the training time a
    sample that its slides print, for hardware that they do not name.
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
    workshop_epochs: int
    workshop_accuracy: float
    workshop_microseconds: float


MODELS: Registry[ModelSpec] = Registry("model", __name__)
