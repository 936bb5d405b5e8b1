"""ViT-B/16, in Keras and in PyTorch: Dosovitskiy et al., ICLR 2021, table 1 (Base), patches of 16.

Without dropout, as torchvision has it; all weights but the class token's start truncated normal,
with deviation 0.02. There is no weight decay, and no warm-up unless asked for.
"""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from hpcbench.models import MODELS, BuildContext, ModelSpec

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


VIT_B16 = VitSizes(16, 12, 768, 3072, 12)


def keras_network(sizes: VitSizes, context: BuildContext) -> "keras.Model":
    """The network on Keras, for any of its backends."""
    from keras import Input, Model, initializers, layers

    from hpcbench.layers.class_token import ClassTokenAndPositions

    def drawn() -> dict[str, Any]:
        return {"kernel_initializer": initializers.TruncatedNormal(stddev=DEVIATION_OF_WEIGHTS)}

    def normalized(values: Any, name: str) -> Any:
        return layers.LayerNormalization(epsilon=EPSILON, name=name)(values)

    image = Input(context.input_shape)
    # Pixels from -1 to 1.
    values = layers.Rescaling(2.0, offset=-1.0)(image)
    options: dict[str, Any] = {"name": "patches"} | drawn()
    values = layers.Conv2D(sizes.width, sizes.patch, sizes.patch, **options)(values)
    values = layers.Reshape((-1, sizes.width))(values)
    values = ClassTokenAndPositions(DEVIATION_OF_WEIGHTS, name="tokens")(values)
    for layer in range(sizes.layers):
        name = f"layer{layer}"
        inner = normalized(values, f"{name}_norm1")
        attention = layers.MultiHeadAttention(
            sizes.heads, sizes.width // sizes.heads, name=f"{name}_attention", **drawn()
        )
        values = layers.Add()([values, attention(inner, inner)])
        inner = normalized(values, f"{name}_norm2")
        inner = layers.Dense(sizes.inner, "gelu", name=f"{name}_dense1", **drawn())(inner)
        inner = layers.Dense(sizes.width, name=f"{name}_dense2", **drawn())(inner)
        values = layers.Add()([values, inner])
    first = normalized(values, "norm")[:, 0]
    logits = layers.Dense(context.outputs, dtype=context.logits_dtype, name="logits")(first)
    return Model(image, logits)


def torch_network(sizes: VitSizes, input_shape: tuple[int, ...], outputs: int) -> "torch.nn.Module":
    """The same function in PyTorch, its layers named as those in Keras."""
    import torch
    from torch import Tensor, nn
    from torch.nn.functional import gelu, scaled_dot_product_attention

    height, width, channels = input_shape
    patches = (height // sizes.patch) * (width // sizes.patch)

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1 = nn.LayerNorm(sizes.width, EPSILON)
            self.query, self.key, self.value, self.output = (
                nn.Linear(sizes.width, sizes.width) for _ in range(4)
            )
            self.norm2 = nn.LayerNorm(sizes.width, EPSILON)
            self.dense1 = nn.Linear(sizes.width, sizes.inner)
            self.dense2 = nn.Linear(sizes.inner, sizes.width)

        def forward(self, values: Tensor) -> Tensor:
            inner = self.norm1(values)
            of_heads = (
                part(inner).unflatten(-1, (sizes.heads, -1)).transpose(1, 2)
                for part in (self.query, self.key, self.value)
            )
            attended = scaled_dot_product_attention(*of_heads).transpose(1, 2).flatten(2)
            values = values + self.output(attended)
            return values + self.dense2(gelu(self.dense1(self.norm2(values))))

    class Vit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(channels, sizes.width, sizes.patch, sizes.patch)
            self.token = nn.Parameter(torch.zeros(1, 1, sizes.width))
            self.positions = nn.Parameter(torch.zeros(1, patches + 1, sizes.width))
            self.layers = nn.ModuleList(Layer() for _ in range(sizes.layers))
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
