"""Storms in climate fields: Kurth et al., "Exascale Deep Learning for Climate Analytics", SC'18.

An encoder and decoder in the style of DeepLabv3+ (Chen et al., ECCV 2018) with the paper's decoder
to full resolution: residual stages, the last of them dilated; atrous spatial pyramid pooling;
transposed convolutions, with what the first stages saw beside them. ``climate`` has ResNet-50's
stages, ``climate-tiny`` a few channels for small fields. The decoder's channel counts are ours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from hpcbench.models import MODELS, BuildContext, ModelSpec

if TYPE_CHECKING:
    import keras

# Outputs of a bottleneck block are so many times its inner channels (He et al., CVPR 2016).
EXPANSION = 4


@dataclass(frozen=True)
class ClimateSizes:
    """Channels of the stem, the pyramid and the decoder; inner channels and blocks of the stages.

    The second and third stage halve the resolution; the last is dilated by 2. ``dilations`` are
    the pyramid's.
    """

    stem: int
    stages: tuple[tuple[int, int], ...]
    pyramid: int
    decoder: int
    dilations: tuple[int, int, int]


FULL = ClimateSizes(64, ((64, 3), (128, 4), (256, 6), (512, 3)), 256, 64, (6, 12, 18))
TINY = ClimateSizes(16, ((8, 1), (12, 1), (16, 1), (16, 1)), 32, 16, (1, 2, 3))


def keras_network(shape: ClimateSizes, context: BuildContext) -> "keras.Model":
    """The network on Keras."""
    from keras import Input, Model, layers

    from hpcbench.layers.dilated_convolution import DilatedConv2D

    initializer = "he_normal"

    def normalized(values: Any, layer: "Callable[..., Any]", *sizes: int, **options: Any) -> Any:
        """A convolution without bias, and batch normalization."""
        convolution = layer(
            *sizes, padding="same", use_bias=False, kernel_initializer=initializer, **options
        )
        return context.batch_normalization()(convolution(values))

    def convolved(values: Any, *sizes: int, layer: Any = layers.Conv2D, **options: Any) -> Any:
        return layers.Activation("relu")(normalized(values, layer, *sizes, **options))

    def bottleneck(values: Any, channels: int, strides: int, dilation: int) -> Any:
        outputs = EXPANSION * channels
        inner = convolved(values, channels, 1)
        inner = (
            convolved(inner, channels, 3, layer=DilatedConv2D, dilation_rate=dilation)
            if dilation > 1
            else convolved(inner, channels, 3, strides=strides)
        )
        inner = normalized(inner, layers.Conv2D, outputs, 1)
        if values.shape[-1] != outputs or strides > 1:
            values = normalized(values, layers.Conv2D, outputs, 1, strides=strides)
        return layers.Activation("relu")(layers.Add()([inner, values]))

    fields = Input(context.input_shape)
    half = convolved(fields, shape.stem, 7, strides=2)
    values = layers.MaxPooling2D(3, 2, padding="same")(half)
    quarter = None
    for number, (channels, blocks) in enumerate(shape.stages):
        for block in range(blocks):
            # Dilated convolutions have no stride.
            strides = 2 if number in (1, 2) and block == 0 else 1
            values = bottleneck(values, channels, strides, 2 if number == 3 else 1)
        quarter = values if number == 0 else quarter

    pooled = layers.GlobalAveragePooling2D(keepdims=True)(values)
    pooled = layers.Conv2D(shape.pyramid, 1, activation="relu", kernel_initializer=initializer)(
        pooled
    )
    branches = [
        convolved(values, shape.pyramid, 1),
        *(
            convolved(values, shape.pyramid, 3, layer=DilatedConv2D, dilation_rate=d)
            for d in shape.dilations
        ),
        layers.UpSampling2D(values.shape[1:3])(pooled),
    ]
    values = convolved(layers.Concatenate()(branches), shape.pyramid, 1)

    def enlarged(values: Any, channels: int) -> Any:
        return convolved(values, channels, 2, strides=2, layer=layers.Conv2DTranspose)

    values = enlarged(enlarged(values, shape.pyramid), shape.pyramid)
    values = layers.Concatenate()([values, convolved(quarter, shape.decoder, 1)])
    values = convolved(values, shape.pyramid, 3)
    values = layers.Concatenate()([enlarged(values, shape.decoder), half])
    values = enlarged(convolved(values, shape.decoder, 3), shape.decoder)
    values = convolved(values, shape.decoder, 3)
    logits = layers.Conv2D(context.outputs, 1, dtype=context.logits_dtype)(values)
    return Model(fields, logits)


def _add(
    name: str,
    shape: ClimateSizes,
    side: int,
    batch: int,
    counts: tuple[int, int],
    datasets: tuple[str, ...],
) -> None:
    MODELS.add(
        name,
        ModelSpec(
            name=name,
            build=partial(keras_network, shape),
            optimizer="larc",
            learning_rate=0.1,
            momentum=0.9,
            batch=batch,
            epochs=10,
            parameters=counts[0],
            trainable_parameters=counts[1],
            kind="fields",
            datasets=datasets,
            image_size=side,
        ),
    )


STORMS = "synthetic-storms"
_add("climate", FULL, 768, 2, (40_614_339, 40_556_483), ("deepcam", STORMS))
_add("climate-tiny", TINY, 64, 16, (129_667, 128_051), (STORMS,))
