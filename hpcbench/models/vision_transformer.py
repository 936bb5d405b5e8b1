"""ViT-B/16, in Keras and in PyTorch: Dosovitskiy et al., ICLR 2021, table 1 (Base), patches of 16.

Without dropout, as torchvision has it; all weights but the class token's start truncated normal,
with deviation 0.02. There is no weight decay, and no warm-up unless asked for.
"""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from hpcbench.models import MODELS, BuildContext, ModelSpec
from hpcbench.models.transformer import LayerSizes, keras_layer, torch_layer

if TYPE_CHECKING:
    import keras
    import torch

# As the paper's code has it for layer normalization.
EPSILON = 1e-6
DEVIATION_OF_WEIGHTS = 0.02


@dataclass(frozen=True)
class VitSizes:
    """Pixels a side of a patch, layers, width of a token and of the network within a layer, heads
    of attention."""

    patch: int
    layers: int
    width: int
    inner: int
    heads: int

    @property
    def of_layer(self) -> LayerSizes:
        return LayerSizes(self.width, self.inner, self.heads, EPSILON, causal=False)


VIT_B16 = VitSizes(16, 12, 768, 3072, 12)


def keras_network(sizes: VitSizes, context: BuildContext) -> "keras.Model":
    """The network on Keras, for any of its backends."""
    from keras import Input, Model, initializers, layers

    from hpcbench.layers.class_token import ClassTokenAndPositions

    def drawn() -> Any:
        return initializers.TruncatedNormal(stddev=DEVIATION_OF_WEIGHTS)

    image = Input(context.input_shape)
    # Pixels from -1 to 1.
    values = layers.Rescaling(2.0, offset=-1.0)(image)
    values = layers.Conv2D(
        sizes.width, sizes.patch, sizes.patch, kernel_initializer=drawn(), name="patches"
    )(values)
    values = layers.Reshape((-1, sizes.width))(values)
    values = ClassTokenAndPositions(DEVIATION_OF_WEIGHTS, name="tokens")(values)
    for layer in range(sizes.layers):
        values = keras_layer(values, f"layer{layer}", sizes.of_layer, drawn(), drawn())
    first = layers.LayerNormalization(epsilon=EPSILON, name="norm")(values)[:, 0]
    logits = layers.Dense(context.outputs, dtype=context.logits_dtype, name="logits")(first)
    return Model(image, logits)


def torch_network(sizes: VitSizes, input_shape: tuple[int, ...], outputs: int) -> "torch.nn.Module":
    """The same function in PyTorch, its layers named as those in Keras."""
    import torch
    from torch import Tensor, nn

    height, width, channels = input_shape
    patches = (height // sizes.patch) * (width // sizes.patch)

    class Vit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(channels, sizes.width, sizes.patch, sizes.patch)
            self.token = nn.Parameter(torch.zeros(1, 1, sizes.width))
            self.positions = nn.Parameter(torch.zeros(1, patches + 1, sizes.width))
            self.layers = nn.ModuleList(torch_layer(sizes.of_layer) for _ in range(sizes.layers))
            self.norm = nn.LayerNorm(sizes.width, EPSILON)
            self.logits = nn.Linear(sizes.width, outputs)
            for name, weight in self.named_parameters():
                if weight.dim() > 1 and name != "token":
                    nn.init.trunc_normal_(weight, std=DEVIATION_OF_WEIGHTS)
                elif name.endswith("bias"):
                    nn.init.zeros_(weight)

        def forward(self, images: Tensor) -> Tensor:
            values = self.patches(images * 2 - 1).flatten(2).transpose(1, 2)
            token = self.token.expand(len(values), -1, -1)
            values = torch.cat([token, values], 1) + self.positions
            for layer in self.layers:
                values = layer(values)
            return self.logits(self.norm(values)[:, 0])

    return Vit()


MODELS.add(
    "vit-b16",
    ModelSpec(
        name="vit-b16",
        build=partial(keras_network, VIT_B16),
        builders={"torch": partial(torch_network, VIT_B16)},
        optimizer="adam",
        learning_rate=1e-4,
        batch=64,
        epochs=300,
        parameters=86_567_656,
        trainable_parameters=86_567_656,
        datasets=("imagenet",),
        image_size=224,
    ),
)
