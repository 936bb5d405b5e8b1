"""The workshop's four convolutional networks, with softmax left to the loss (same function)."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hpcbench.models import MODELS, BuildContext, ModelSpec

if TYPE_CHECKING:
    import keras

# He et al., arXiv 1502.01852: weights as wide as layers followed by ReLU need them.
RELU = {"activation": "relu", "kernel_initializer": "he_uniform"}


def _cnn(
    name: str,
    parameters: int,
    trainable: int,
    workshop_epochs: int,
    accuracy: float,
    microseconds: float,
    body: Callable[[BuildContext, Any], list[Any]],
) -> None:
    def build(context: BuildContext) -> "keras.Model":
        from keras import Input, Sequential, layers

        return Sequential(
            [
                Input(context.input_shape),
                *body(context, layers),
                layers.Dense(context.classes, dtype=context.logits_dtype, name="logits"),
            ],
            name=name,
        )

    MODELS.add(
        name,
        ModelSpec(
            name=name,
            build=build,
            optimizer="sgd",
            learning_rate=0.01,
            momentum=0.9,
            batch=32,
            epochs=10,
            parameters=parameters,
            trainable_parameters=trainable,
            workshop_epochs=workshop_epochs,
            workshop_accuracy=accuracy,
            workshop_microseconds=microseconds,
        ),
    )


def _cnn_1(context: BuildContext, layers: Any) -> list[Any]:
    return [
        layers.Conv2D(32, 3, **RELU),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(100, **RELU),
    ]


def _cnn_2(context: BuildContext, layers: Any) -> list[Any]:
    return [
        layers.Conv2D(32, 3, **RELU),
        layers.Conv2D(64, 3, **RELU),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(128, **RELU),
    ]


def _cnn_dropout(context: BuildContext, layers: Any) -> list[Any]:
    return [
        layers.Conv2D(32, 3, **RELU),
        layers.Conv2D(64, 3, **RELU),
        layers.MaxPooling2D(2),
        layers.Dropout(0.25, seed=context.seed),
        layers.Flatten(),
        layers.Dense(128, **RELU),
        layers.Dropout(0.5, seed=context.seed + 1),
    ]


def _cnn_batchnorm(context: BuildContext, layers: Any) -> list[Any]:
    return [
        layers.Conv2D(32, 3, **RELU),
        context.batch_normalization(),
        layers.Conv2D(64, 3, **RELU),
        layers.MaxPooling2D(2),
        context.batch_normalization(),
        layers.Flatten(),
        layers.Dense(128, **RELU),
        context.batch_normalization(),
    ]


_cnn("cnn-1", 542_230, 542_230, 10, 0.9874, 198, _cnn_1)
_cnn("cnn-2", 1_199_882, 1_199_882, 15, 0.9903, 566, _cnn_2)
_cnn("cnn-dropout", 1_199_882, 1_199_882, 15, 0.9919, 667, _cnn_dropout)
_cnn("cnn-batchnorm", 1_200_778, 1_200_330, 15, 0.9891, 834, _cnn_batchnorm)
