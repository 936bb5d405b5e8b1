"""One sensible baseline for each of the exercises: photographs, house prices, texts."""

from typing import TYPE_CHECKING

from hpcbench.models import MODELS, BuildContext, ModelSpec

if TYPE_CHECKING:
    import keras

RELU = {"activation": "relu", "kernel_initializer": "he_uniform"}


def _output(context: BuildContext) -> "keras.layers.Layer":
    from keras import layers

    return layers.Dense(context.outputs, dtype=context.logits_dtype, name="outputs")


def _photographs(context: BuildContext) -> "keras.Model":
    """Three convolutions and two pools, as small networks for CIFAR are."""
    from keras import Input, Sequential, layers

    return Sequential(
        [
            Input(context.input_shape),
            layers.Conv2D(32, 3, **RELU),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, **RELU),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, **RELU),
            layers.Flatten(),
            layers.Dense(64, **RELU),
            _output(context),
        ]
    )


def _prices(context: BuildContext) -> "keras.Model":
    from keras import Input, Sequential, layers

    return Sequential(
        [
            Input(context.input_shape),
            layers.Dense(64, **RELU),
            layers.Dense(64, **RELU),
            _output(context),
        ]
    )


def _texts(context: BuildContext) -> "keras.Model":
    """The average of a text's word vectors, then one hidden layer; what fills up is left out."""
    from keras import Input, Sequential, layers

    return Sequential(
        [
            Input(context.input_shape, dtype="int32"),
            layers.Embedding(context.words, 32, mask_zero=True),
            layers.GlobalAveragePooling1D(),
            layers.Dense(64, **RELU),
            _output(context),
        ]
    )


MODELS.add(
    "cnn-cifar",
    ModelSpec(
        name="cnn-cifar",
        build=_photographs,
        optimizer="adam",
        learning_rate=0.001,
        momentum=0.0,
        batch=64,
        epochs=10,
        parameters=122_570,
        trainable_parameters=122_570,
        datasets=("cifar10", "cifar100"),
    ),
)
MODELS.add(
    "mlp-boston",
    ModelSpec(
        name="mlp-boston",
        build=_prices,
        optimizer="adam",
        learning_rate=0.001,
        momentum=0.0,
        batch=16,
        epochs=100,
        parameters=5_121,
        trainable_parameters=5_121,
        kind="tables",
        datasets=("boston-housing",),
    ),
)
MODELS.add(
    "text-average",
    ModelSpec(
        name="text-average",
        build=_texts,
        optimizer="adam",
        learning_rate=0.001,
        momentum=0.0,
        batch=128,
        epochs=10,
        parameters=322_177,
        trainable_parameters=322_177,
        kind="texts",
        datasets=("imdb", "reuters"),
    ),
)
