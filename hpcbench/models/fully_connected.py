"""The workshop's fully connected networks: 784 inputs, ReLU layers, 10 classes."""

from typing import TYPE_CHECKING

from hpcbench.models import MODELS, BuildContext, ModelSpec, Workshop

if TYPE_CHECKING:
    import keras


def _register(
    name: str,
    widths: tuple[int, ...],
    epochs: int,
    parameters: int,
    accuracy: float,
    microseconds: float,
) -> None:
    def build(context: BuildContext) -> "keras.Model":
        from keras import Input, Sequential, layers

        return Sequential(
            [
                Input(context.input_shape),
                layers.Flatten(),
                *(layers.Dense(width, activation="relu") for width in widths),
                layers.Dense(context.outputs, dtype=context.logits_dtype, name="logits"),
            ],
            name=name,
        )

    MODELS.add(
        name,
        ModelSpec(
            name=name,
            build=build,
            optimizer="adam",
            learning_rate=0.001,
            momentum=0.0,
            batch=128,
            epochs=epochs,
            parameters=parameters,
            trainable_parameters=parameters,
            workshop=Workshop(epochs, accuracy, microseconds),
        ),
    )


_register("fc-64", (64, 64), 40, 55_050, 0.9755, 10)
_register("fc-512", (512, 512), 30, 669_706, 0.9821, 32)
_register("fc-512x3", (512, 512, 512), 30, 932_362, 0.9800, 45)
