"""GPT-2 with 124 million parameters, in Keras and in PyTorch: Radford et al., 2019, section 2.3 and
table 2, the smallest; without dropout, as nanoGPT trains it (karpathy/nanoGPT).

Each token is told from those before it. Embeddings are the output's weights too. Weights start
normal with deviation 0.02, those that end in the residual stream with that over the root of their
number; of attention Keras has one way to start for all four of its products, so there it is 0.02.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from hpcbench.models import MODELS, BuildContext, ModelSpec

if TYPE_CHECKING:
    import keras
    import torch

EPSILON = 1e-5
DEVIATION = 0.02
# The network within a layer is so many times as wide.
EXPANSION = 4


@dataclass(frozen=True)
class GptSizes:
    """Layers, width of a token, and heads of attention."""

    layers: int
    width: int
    heads: int

    @property
    def last_deviation(self) -> float:
        """Of weights that a residual stream ends in, of which a layer has two."""
        return DEVIATION / math.sqrt(2 * self.layers)


GPT_124M = GptSizes(12, 768, 12)


def keras_network(sizes: GptSizes, context: BuildContext) -> "keras.Model":
    """The network on Keras, for any of its backends."""
    from keras import Input, Model, initializers, layers

    from hpcbench.layers.token_embedding import Positions, TokenEmbedding

    def drawn(deviation: float = DEVIATION) -> Any:
        return initializers.RandomNormal(stddev=deviation)

    def normalized(values: Any, name: str) -> Any:
        return layers.LayerNormalization(epsilon=EPSILON, name=name)(values)

    embedding = TokenEmbedding(
        context.words, sizes.width, embeddings_initializer=drawn(), name="tokens"
    )
    tokens = Input(context.input_shape, dtype="int32")
    values = Positions(DEVIATION, name="positions")(embedding(tokens))
    last = sizes.last_deviation
    for layer in range(sizes.layers):
        name = f"layer{layer}"
        inner = normalized(values, f"{name}_norm1")
        attention = layers.MultiHeadAttention(
            sizes.heads,
            sizes.width // sizes.heads,
            kernel_initializer=drawn(),
            name=f"{name}_attention",
        )
        values = layers.Add()([values, attention(inner, inner, use_causal_mask=True)])
        inner = normalized(values, f"{name}_norm2")
        inner = layers.Dense(
            EXPANSION * sizes.width, kernel_initializer=drawn(), name=f"{name}_dense1"
        )(inner)
        inner = layers.Activation(_gelu)(inner)
        inner = layers.Dense(sizes.width, kernel_initializer=drawn(last), name=f"{name}_dense2")(
            inner
        )
        values = layers.Add()([values, inner])
    logits = embedding(normalized(values, "norm"), reverse=True)
    return Model(tokens, layers.Activation("linear", dtype=context.logits_dtype)(logits))


def _gelu(values: Any) -> Any:
    """By the hyperbolic tangent, as GPT-2 has it."""
    import keras

    return keras.ops.gelu(values, approximate=True)


def torch_network(sizes: GptSizes, input_shape: tuple[int, ...], outputs: int) -> "torch.nn.Module":
    """The same function in PyTorch, its layers named as those in Keras."""
    import torch
    from torch import Tensor, nn
    from torch.nn.functional import gelu, linear, scaled_dot_product_attention

    width = sizes.width

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1 = nn.LayerNorm(width, EPSILON)
            self.query, self.key, self.value, self.output = (
                nn.Linear(width, width) for _ in range(4)
            )
            self.norm2 = nn.LayerNorm(width, EPSILON)
            self.dense1 = nn.Linear(width, EXPANSION * width)
            self.dense2 = nn.Linear(EXPANSION * width, width)

        def forward(self, values: Tensor) -> Tensor:
            inner = self.norm1(values)
            query, key, value = (
                part(inner).unflatten(-1, (sizes.heads, -1)).transpose(1, 2)
                for part in (self.query, self.key, self.value)
            )
            attended = scaled_dot_product_attention(query, key, value, is_causal=True)
            values = values + self.output(attended.transpose(1, 2).flatten(2))
            inner = gelu(self.dense1(self.norm2(values)), approximate="tanh")
            return values + self.dense2(inner)

    class Gpt(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(outputs, width)
            self.positions = nn.Parameter(torch.zeros(input_shape[0], width))
            self.layers = nn.ModuleList(Layer() for _ in range(sizes.layers))
            self.norm = nn.LayerNorm(width, EPSILON)
            for name, weight in self.named_parameters():
                ends = name.endswith("dense2.weight")
                if weight.dim() > 1:
                    nn.init.normal_(weight, std=sizes.last_deviation if ends else DEVIATION)
                elif name.endswith("bias"):
                    nn.init.zeros_(weight)

        def forward(self, tokens: Tensor) -> Tensor:
            values = self.tokens(tokens) + self.positions
            for layer in self.layers:
                values = layer(values)
            return linear(self.norm(values), self.tokens.weight)

    return Gpt()


MODELS.add(
    "gpt-124m",
    ModelSpec(
        name="gpt-124m",
        build=partial(keras_network, GPT_124M),
        builders={"torch": partial(torch_network, GPT_124M)},
        optimizer="adam",
        learning_rate=6e-4,
        batch=8,
        epochs=1,
        parameters=124_439_808,
        trainable_parameters=124_439_808,
        kind="tokens",
        datasets=("tokens",),
        image_size=1024,
    ),
)
