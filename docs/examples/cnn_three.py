"""Three convolutions on digits: an example of a model of one's own."""

from typing import TYPE_CHECKING

from hpcbench.models import MODELS, BuildContext, ModelSpec

if TYPE_CHECKING:
    import keras


def build(context: BuildContext) -> "keras.Model":
    """The network, inputs of ``context.input_shape`` to ``context.outputs`` numbers."""
    from keras import Input, Sequential, layers

    return Sequential(
        [
            Input(context.input_shape),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(context.outputs, dtype=context.logits_dtype, name="logits"),
        ],
        name="cnn-three",
    )


MODELS.add(
    "cnn-three",
    ModelSpec(
        name="cnn-three",
        build=build,
        optimizer="adam",
        learning_rate=0.001,
        momentum=0.0,
        batch=128,
        epochs=10,
        parameters=16_938,
        trainable_parameters=16_938,
    ),
)
