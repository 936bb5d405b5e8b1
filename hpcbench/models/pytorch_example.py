"""The network of PyTorch's own MNIST example, in Keras and in PyTorch.

The same layers, the same way to draw the first weights, the same optimizer and decay, so that
``--framework tensorflow`` and ``--framework torch`` differ in nothing but the framework. One thing
is not as in the example: Adadelta has Keras' constants (rho 0.95, epsilon 1e-7), where PyTorch's
own are 0.9 and 1e-6.
"""

from typing import TYPE_CHECKING, Any

from hpcbench.models import MODELS, BuildContext, ModelSpec

if TYPE_CHECKING:
    import keras
    import torch

# Of MNIST's training pixels, as the example has them.
MEAN, DEVIATION = 0.1307, 0.3081


def _keras(context: BuildContext) -> "keras.Model":
    from keras import Input, Sequential, initializers, layers

    def drawn(fan_in: int) -> dict[str, Any]:
        """Weights and biases uniform within 1 / sqrt(fan in), as PyTorch's layers start."""
        bound = fan_in**-0.5
        return {
            "kernel_initializer": initializers.RandomUniform(-bound, bound),
            "bias_initializer": initializers.RandomUniform(-bound, bound),
        }

    height, width, channels = context.input_shape
    flat = ((height - 4) // 2) * ((width - 4) // 2) * 64
    return Sequential(
        [
            Input(context.input_shape),
            layers.Rescaling(1 / DEVIATION, offset=-MEAN / DEVIATION),
            layers.Conv2D(32, 3, activation="relu", **drawn(9 * channels)),
            layers.Conv2D(64, 3, activation="relu", **drawn(9 * 32)),
            layers.MaxPooling2D(2),
            layers.Dropout(0.25, seed=context.seed),
            layers.Flatten(),
            layers.Dense(128, activation="relu", **drawn(flat)),
            layers.Dropout(0.5, seed=context.seed + 1),
            layers.Dense(context.outputs, dtype=context.logits_dtype, name="logits", **drawn(128)),
        ],
        name="cnn-pytorch",
    )


def _torch(input_shape: tuple[int, ...], outputs: int) -> "torch.nn.Module":
    from torch import nn

    class Normalized(nn.Module):
        def forward(self, images: "torch.Tensor") -> "torch.Tensor":
            return (images - MEAN) / DEVIATION

    height, width, channels = input_shape
    return nn.Sequential(
        Normalized(),
        nn.Conv2d(channels, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(((height - 4) // 2) * ((width - 4) // 2) * 64, 128),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, outputs),
    )


MODELS.add(
    "cnn-pytorch",
    ModelSpec(
        name="cnn-pytorch",
        build=_keras,
        builders={"torch": _torch},
        optimizer="adadelta",
        learning_rate=1.0,
        momentum=0.0,
        lr_decay=0.7,
        batch=64,
        epochs=14,
        parameters=1_199_882,
        trainable_parameters=1_199_882,
    ),
)
