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

from hpcbench.models import MODELS, TOKENS, BuildContext, ModelSpec
from hpcbench.models.transformer import LayerSizes, keras_layer, torch_layer

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
    def of_layer(self) -> LayerSizes:
        return LayerSizes(self.width, EXPANSION * self.width, self.heads, EPSILON, causal=True)

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

    embedding = TokenEmbedding(
        context.words, sizes.width, embeddings_initializer=drawn(), name="tokens"
    )
    tokens = Input(context.input_shape, dtype="int32")
    values = Positions(drawn(), name="positions")(embedding(tokens))
    for layer in range(sizes.layers):
        last = drawn(sizes.last_deviation)
        values = keras_layer(values, f"layer{layer}", sizes.of_layer, drawn(), last)
    values = layers.LayerNormalization(epsilon=EPSILON, name="norm")(values)
    logits = embedding(values, reverse=True)
    return Model(tokens, layers.Activation("linear", dtype=context.logits_dtype)(logits))


def torch_network(sizes: GptSizes, input_shape: tuple[int, ...], outputs: int) -> "torch.nn.Module":
    """The same function in PyTorch, its layers named as those in Keras."""
    import torch
    from torch import Tensor, nn
    from torch.nn.functional import linear

    width = sizes.width

    class Gpt(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(outputs, width)
            self.positions = nn.Parameter(torch.zeros(input_shape[0], width))
            self.layers = nn.ModuleList(torch_layer(sizes.of_layer) for _ in range(sizes.layers))
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
        kind=TOKENS,
        datasets=("tokens",),
        image_size=1024,
    ),
)
