"""Small networks of a user's own, whose layers keep all kinds of state: moving statistics, and a
generator of random numbers whose seed is the framework's own choice."""

from pathlib import Path

SOURCE = """
def build(context):
    from keras import Input, Sequential, layers

    return Sequential(
        [
            Input(context.input_shape),
            layers.Flatten(),
            layers.Dense({width}, "relu"),
            context.batch_normalization(),
            layers.Dropout(0.2),
            layers.Dense(context.outputs, dtype=context.logits_dtype),
        ]
    )
"""

# Layers of its own, so that Keras is imported as the file loads; one that draws more than once for
# a batch, and is at work unless it is told that this is no training; and weights of which the
# initializer leaves mean and spread to the generator.
AUGMENTED = """
import keras


class Scaled(keras.layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(shape=shape[1:], initializer="ones")

    def call(self, inputs):
        return inputs * self.scale


def build(context):
    return keras.Sequential(
        [
            keras.Input(context.input_shape),
            keras.layers.RandomTranslation(0.3, 0.3),
            keras.layers.Flatten(),
            Scaled(),
            keras.layers.Dense(16, "relu", kernel_initializer="orthogonal"),
            keras.layers.Dense(context.outputs, dtype=context.logits_dtype),
        ]
    )
"""


SOURCE_OF_TORCH = """
from torch import nn

from hpcbench.models import MODELS, ModelSpec


def build(input_shape, outputs):
    normalized = (nn.Flatten(), nn.Linear(784, {width}), nn.BatchNorm1d({width}))
    return nn.Sequential(*normalized, nn.ReLU(), nn.Dropout(0.2), nn.Linear({width}, outputs))


MODELS.add("own", ModelSpec("own", builders={{"torch": build}}, epochs=1, learning_rate=0.01))
"""


def own_network(folder: Path, framework: str = "tensorflow", width: int = 16) -> Path:
    """A file of one in ``folder``."""
    file = folder / "own_network.py"
    source = SOURCE_OF_TORCH if framework == "torch" else SOURCE
    file.write_text(source.format(width=width))
    return file
