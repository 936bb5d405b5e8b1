"""AlexNet: Krizhevsky, Sutskever and Hinton, NIPS 2012, on one device or split over two.

The published network is two towers of half the channels each, which see each other's channels in
some layers only: the second and fifth convolution are grouped. So is the fourth in the paper, but
the workshop's count for it (1.3M) is that of an ungrouped one: ``alexnet`` is as the workshop
prints it, ``alexnet-grouped`` as published. Response normalization stays within a tower, as it has
to on two devices. Weights start He-uniform in the place of the paper's; there is no weight decay.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from hpcbench.models import MODELS, BuildContext, ModelSpec

if TYPE_CHECKING:
    import keras

TOWERS = 2


@dataclass(frozen=True)
class AlexNetSizes:
    """Channels of the five convolutions and the width of the two dense layers; size and stride of
    the first convolution, and of the pools."""

    channels: tuple[int, int, int, int, int]
    dense: int
    first_size: int
    first_stride: int
    pool: int
    first_padding: str = "valid"


IMAGENET = AlexNetSizes((96, 256, 384, 384, 256), 4096, first_size=11, first_stride=4, pool=3)
CIFAR = AlexNetSizes((48, 128, 192, 192, 128), 512, 5, 1, pool=2, first_padding="same")


def keras_network(
    shape: AlexNetSizes, grouped: frozenset[int], context: BuildContext
) -> "keras.Model":
    """The network on Keras; ``grouped`` are the convolutions, from 1, whose towers see their
    own channels alone."""
    import keras
    from keras import layers

    from hpcbench.layers.grouped_convolution import GroupedConv2D
    from hpcbench.layers.response_normalization import LocalResponseNormalization

    several = len(context.devices) > 1
    width = TOWERS if several else 1
    relu = {"activation": "relu", "kernel_initializer": "he_uniform"}

    def stage(
        name: str, make: Callable[[str], Sequence[Any]], values: list[Any], own: bool
    ) -> list[Any]:
        """The layers of ``make`` in each tower, on its own values or on all of them."""
        if not several:
            (value,) = values
            for layer in make(name):
                value = layer(value)
            return [value]
        # TensorFlow's alone, as is the only strategy with several.
        from hpcbench.layers.on_device import OnDevice

        joined = values if own else [layers.Concatenate(name=f"{name}_meet")(values)] * width
        if len(values) == 1:
            joined = values * width
        return [
            OnDevice(device, make(f"{name}_{place}"), name=f"{name}_on_{place}")(value)
            for place, (device, value) in enumerate(zip(context.devices, joined, strict=True))
        ]

    def convolution(number: int, size: int, name: str, **options: Any) -> Any:
        channels = shape.channels[number - 1] // width
        if number in grouped and not several:
            return GroupedConv2D(channels, size, groups=TOWERS, name=name, **relu, **options)
        return layers.Conv2D(channels, size, name=name, **relu, **options)

    def normalized(name: str, layer: Any) -> list[Any]:
        """The convolution, its normalization and its pool."""
        return [
            layer,
            LocalResponseNormalization(TOWERS // width, name=f"{name}_lrn"),
            layers.MaxPooling2D(shape.pool, 2, name=f"{name}_pool"),
        ]

    def plain(number: int, name: str) -> list[Any]:
        return [convolution(number, 3, name, padding="same")]

    def dense(name: str) -> list[Any]:
        seed = context.seed + sum(map(ord, name))
        units = shape.dense // width
        return [
            layers.Dense(units, name=name, **relu),
            layers.Dropout(0.5, seed=seed, name=f"{name}_dropout"),
        ]

    first = {"strides": shape.first_stride, "padding": shape.first_padding}
    image = keras.Input(context.input_shape)
    values = stage(
        "conv1",
        lambda n: normalized(n, convolution(1, shape.first_size, n, **first)),
        [image],
        True,
    )
    values = stage(
        "conv2", lambda n: normalized(n, convolution(2, 5, n, padding="same")), values, 2 in grouped
    )
    for number in (3, 4):
        alone = partial(plain, number)
        values = stage(f"conv{number}", alone, values, number in grouped)
    values = stage(
        "conv5",
        lambda n: [
            convolution(5, 3, n, padding="same"),
            layers.MaxPooling2D(shape.pool, 2, name=f"{n}_pool"),
        ],
        values,
        5 in grouped,
    )
    whole = layers.Concatenate(name="meet")(values) if several else values[0]
    values = [layers.Flatten(name="flatten")(whole)]
    values = stage("fc6", dense, values, False)
    values = stage("fc7", dense, values, False)
    whole = layers.Concatenate(name="meet_again")(values) if several else values[0]
    logits = layers.Dense(context.outputs, dtype=context.logits_dtype, name="logits")(whole)
    return keras.Model(image, logits)


def _add(
    name: str,
    shape: AlexNetSizes,
    side: int,
    grouped: set[int],
    parameters: int,
    datasets: tuple[str, ...],
) -> None:
    MODELS.add(
        name,
        ModelSpec(
            name=name,
            build=partial(keras_network, shape, frozenset(grouped)),
            optimizer="sgd",
            learning_rate=0.01,
            momentum=0.9,
            batch=128,
            epochs=90,
            parameters=parameters,
            trainable_parameters=parameters,
            datasets=datasets,
            image_size=side,
            devices_per_replica=(1, TOWERS),
        ),
    )


_add("alexnet", IMAGENET, 227, {2, 5}, 61_628_776, ("imagenet",))
_add("alexnet-grouped", IMAGENET, 227, {2, 4, 5}, 60_965_224, ("imagenet",))
_add("alexnet-cifar", CIFAR, 32, {2, 5}, 2_061_514, ("cifar10", "cifar100"))
