"""U-Net: Ronneberger, Fischer and Brox, MICCAI 2015, figure 1, here a class for every pixel.

As is usual since, convolutions are padded, so that what comes out is as large as what went in; the
paper's are not, and its output is smaller than its input. Half the values at the bottom are dropped
out (the paper drops some there, and does not say how many).
"""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from hpcbench.models import MODELS, BuildContext, ModelSpec

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class UnetSizes:
    """Channels of the first stage, of which each deeper one has twice as many, and how often the
    resolution is halved."""

    channels: int
    depth: int


UNET = UnetSizes(64, 4)


def keras_network(sizes: UnetSizes, context: BuildContext) -> "keras.Model":
    """The network on Keras; ValueError for sides that cannot be halved so often."""
    from keras import Input, Model, layers

    smallest = 2**sizes.depth
    if any(side % smallest for side in context.input_shape[:2]):
        raise ValueError(f"sides have to be multiples of {smallest}")
    drawn = {"padding": "same", "kernel_initializer": "he_normal"}

    def convolved(values: Any, channels: int) -> Any:
        for _ in range(2):
            values = layers.Conv2D(channels, 3, activation="relu", **drawn)(values)
        return values

    fields = Input(context.input_shape)
    values, across = fields, []
    for stage in range(sizes.depth):
        values = convolved(values, sizes.channels * 2**stage)
        across.append(values)
        values = layers.MaxPooling2D(2)(values)
    values = convolved(values, sizes.channels * smallest)
    values = layers.Dropout(0.5, seed=context.seed)(values)
    for stage in reversed(range(sizes.depth)):
        channels = sizes.channels * 2**stage
        values = layers.Conv2DTranspose(channels, 2, 2, **drawn)(values)
        values = convolved(layers.Concatenate()([across[stage], values]), channels)
    return Model(fields, layers.Conv2D(context.outputs, 1, dtype=context.logits_dtype)(values))


MODELS.add(
    "unet",
    ModelSpec(
        name="unet",
        build=partial(keras_network, UNET),
        optimizer="adam",
        learning_rate=1e-4,
        batch=2,
        epochs=10,
        parameters=31_039_363,
        trainable_parameters=31_039_363,
        kind="fields",
        datasets=("synthetic-storms",),
        image_size=256,
    ),
)
