"""The workshop's convolutional networks, with softmax left to the loss (the same function)."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hpcbench.models import MODELS, BuildContext, ModelSpec, Workshop

if TYPE_CHECKING:
    import keras

# He et al., arXiv 1502.01852: weights as wide as layers followed by ReLU need them.
GROUPS = 8
RELU = {"activation": "relu", "kernel_initializer": "he_uniform"}


def _cnn(
    name: str,
    parameters: int,
    trainable: int,
    body: Callable[[BuildContext, Any], list[Any]],
    workshop: Workshop | None = None,
) -> None:
    def build(context: BuildContext) -> "keras.Model":
        from keras import Input, Sequential, layers

        return Sequential(
            [
                Input(context.input_shape),
                *body(context, layers),
                layers.Dense(context.outputs, dtype=context.logits_dtype, name="logits"),
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
            workshop=workshop,
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


def _cnn_bn_relu(context: BuildContext, layers: Any) -> list[Any]:
    """``cnn-batchnorm`` with each normalization before its activation, so that it needs no bias."""

    def block(layer: Any) -> list[Any]:
        return [layer, context.batch_normalization(), layers.ReLU()]

    plain = {"use_bias": False, "kernel_initializer": "he_uniform"}
    return [
        *block(layers.Conv2D(32, 3, **plain)),
        *block(layers.Conv2D(64, 3, **plain)),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        *block(layers.Dense(128, **plain)),
    ]


def _cnn_strided_bn(context: BuildContext, layers: Any) -> list[Any]:
    """Strided convolutions in the place of pools, LeakyReLU, then batch normalization."""

    def block(layer: Any) -> list[Any]:
        return [layer, layers.LeakyReLU(0.2), context.batch_normalization(momentum=0.8)]

    plain = {"kernel_initializer": "he_uniform"}
    return [
        *block(layers.Conv2D(64, 3, strides=2, padding="same", **plain)),
        *block(layers.Conv2D(64, 3, strides=2, padding="same", **plain)),
        layers.Flatten(),
        *block(layers.Dense(128, **plain)),
    ]


def _normalized(normalization: Callable[[Any], Any]) -> Callable[[BuildContext, Any], list[Any]]:
    """``cnn-batchnorm`` with a normalization that looks at each sample by itself."""

    def body(context: BuildContext, layers: Any) -> list[Any]:
        return [
            layers.Conv2D(32, 3, **RELU),
            normalization(layers),
            layers.Conv2D(64, 3, **RELU),
            layers.MaxPooling2D(2),
            normalization(layers),
            layers.Flatten(),
            layers.Dense(128, **RELU),
            layers.LayerNormalization(),
        ]

    return body


_cnn("cnn-1", 542_230, 542_230, _cnn_1, Workshop(10, 0.9874, 198))
_cnn("cnn-2", 1_199_882, 1_199_882, _cnn_2, Workshop(15, 0.9903, 566))
_cnn("cnn-dropout", 1_199_882, 1_199_882, _cnn_dropout, Workshop(15, 0.9919, 667))
_cnn("cnn-batchnorm", 1_200_778, 1_200_330, _cnn_batchnorm, Workshop(15, 0.9891, 834))
_cnn("cnn-bn-relu", 1_200_554, 1_200_106, _cnn_bn_relu)
_cnn("cnn-strided-bn", 441_418, 440_906, _cnn_strided_bn)
_cnn("cnn-layernorm", 1_200_330, 1_200_330, _normalized(lambda layers: layers.LayerNormalization()))
_cnn(
    "cnn-groupnorm",
    1_200_330,
    1_200_330,
    _normalized(lambda layers: layers.GroupNormalization(GROUPS)),
)
