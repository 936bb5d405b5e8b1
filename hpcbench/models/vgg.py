"""VGG-16: Simonyan and Zisserman, ICLR 2015, table 1, configuration D.

Weights start He-uniform in the place of the paper's, which trained its deeper networks from the
shallower ones; there is no weight decay.
"""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from hpcbench.models import MODELS, BuildContext, ModelSpec

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class VggSizes:
    """Channels and convolutions of each stage, which ends with a pool; width of dense layers."""

    stages: tuple[tuple[int, int], ...]
    dense: int


VGG_16 = VggSizes(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), 4096)


def keras_network(sizes: VggSizes, context: BuildContext) -> "keras.Model":
    """The network on Keras, for any of its backends."""
    from keras import Input, Sequential, layers

    relu = {"activation": "relu", "kernel_initializer": "he_uniform"}
    model = Sequential([Input(context.input_shape)])
    for channels, convolutions in sizes.stages:
        for _ in range(convolutions):
            model.add(layers.Conv2D(channels, 3, padding="same", **relu))
        model.add(layers.MaxPooling2D(2))
    model.add(layers.Flatten())
    for number in range(2):
        model.add(layers.Dense(sizes.dense, **relu))
        model.add(layers.Dropout(0.5, seed=context.seed + number))
    model.add(layers.Dense(context.outputs, dtype=context.logits_dtype, name="logits"))
    return model


MODELS.add(
    "vgg-16",
    ModelSpec(
        name="vgg-16",
        build=partial(keras_network, VGG_16),
        optimizer="sgd",
        # Section 3.1.
        learning_rate=0.01,
        momentum=0.9,
        batch=256,
        epochs=74,
        parameters=138_357_544,
        trainable_parameters=138_357_544,
        datasets=("imagenet",),
        image_size=224,
    ),
)
