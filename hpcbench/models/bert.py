"""BERT-Base in Keras and in PyTorch: Devlin et al., NAACL 2019, section 3, uncased.

It tells tokens that are masked from all others. In it are the embeddings of tokens, segments and
positions, the encoder, and the head that tells tokens: 109,514,298 parameters. The pooler and the
head that tells whether one sentence follows another (592,130 more) are not, for nothing here trains
them. Logits are those of every position, also of those that no loss looks at.

Without dropout; GELU by the error function. All kernels and embeddings start truncated normal with
deviation 0.02. Samples are one segment each and have no padding, so attention has no mask.
"""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from hpcbench.errors import ConfigError
from hpcbench.models import MASKED_TOKENS, MODELS, BuildContext, ModelSpec
from hpcbench.models.transformer import LayerSizes, keras_layer, torch_layer

if TYPE_CHECKING:
    import keras
    import torch

EPSILON = 1e-12
DEVIATION = 0.02
# The first and the second sentence, of which samples here have the first alone.
SEGMENTS = 2


@dataclass(frozen=True)
class BertSizes:
    """Layers, width of a token and of the network within a layer, heads of attention, and how many
    positions have an embedding."""

    layers: int
    width: int
    inner: int
    heads: int
    positions: int

    @property
    def of_layer(self) -> LayerSizes:
        return LayerSizes(
            self.width, self.inner, self.heads, EPSILON, causal=False, normalized_sums=True
        )

    def check(self, length: int) -> None:
        """Raise ConfigError where samples of ``length`` tokens have more than it has positions."""
        if length > self.positions:
            raise ConfigError(
                f"--sequence-length {length}: BERT has {self.positions} positions, and no more"
            )


BERT_BASE = BertSizes(12, 768, 3072, 12, 512)


def keras_network(sizes: BertSizes, context: BuildContext) -> "keras.Model":
    """The network on Keras, for any of its backends."""
    from keras import Input, Model, initializers, layers, ops

    from hpcbench.layers.token_embedding import Bias, Positions, TokenEmbedding

    sizes.check(context.input_shape[0])

    def drawn() -> Any:
        return initializers.TruncatedNormal(stddev=DEVIATION)

    def normalized(values: Any, name: str) -> Any:
        return layers.LayerNormalization(epsilon=EPSILON, name=name)(values)

    embedding = TokenEmbedding(
        context.words, sizes.width, embeddings_initializer=drawn(), name="tokens"
    )
    segments = layers.Embedding(
        SEGMENTS, sizes.width, embeddings_initializer=drawn(), name="segments"
    )
    tokens = Input(context.input_shape, dtype="int32")
    values = layers.Add()([embedding(tokens), segments(ops.zeros_like(tokens))])
    values = Positions(drawn(), sizes.positions, name="positions")(values)
    values = normalized(values, "norm")
    for layer in range(sizes.layers):
        values = keras_layer(values, f"layer{layer}", sizes.of_layer, drawn(), drawn())
    values = layers.Dense(sizes.width, "gelu", kernel_initializer=drawn(), name="dense")(values)
    logits = embedding(normalized(values, "dense_norm"), reverse=True)
    logits = Bias(name="logits")(logits)
    return Model(tokens, layers.Activation("linear", dtype=context.logits_dtype)(logits))


def torch_network(
    sizes: BertSizes, input_shape: tuple[int, ...], outputs: int
) -> "torch.nn.Module":
    """The same function in PyTorch, its layers named as those in Keras."""
    import torch
    from torch import Tensor, nn
    from torch.nn.functional import gelu, linear

    sizes.check(input_shape[0])
    width = sizes.width

    class Bert(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(outputs, width)
            self.segments = nn.Embedding(SEGMENTS, width)
            self.positions = nn.Parameter(torch.zeros(sizes.positions, width))
            self.norm = nn.LayerNorm(width, EPSILON)
            self.layers = nn.ModuleList(torch_layer(sizes.of_layer) for _ in range(sizes.layers))
            self.dense = nn.Linear(width, width)
            self.dense_norm = nn.LayerNorm(width, EPSILON)
            self.logits_bias = nn.Parameter(torch.zeros(outputs))
            for name, weight in self.named_parameters():
                if weight.dim() > 1:
                    nn.init.trunc_normal_(weight, std=DEVIATION, a=-2 * DEVIATION, b=2 * DEVIATION)
                elif name.endswith("bias"):
                    nn.init.zeros_(weight)

        def forward(self, tokens: Tensor) -> Tensor:
            values = self.tokens(tokens) + self.segments(torch.zeros_like(tokens))
            values = self.norm(values + self.positions[: tokens.shape[1]])
            for layer in self.layers:
                values = layer(values)
            values = self.dense_norm(gelu(self.dense(values)))
            return linear(values, self.tokens.weight, self.logits_bias)

    return Bert()


MODELS.add(
    "bert-base",
    ModelSpec(
        name="bert-base",
        build=partial(keras_network, BERT_BASE),
        builders={"torch": partial(torch_network, BERT_BASE)},
        optimizer="adam",
        learning_rate=1e-4,
        batch=32,
        epochs=1,
        parameters=109_514_298,
        trainable_parameters=109_514_298,
        kind=MASKED_TOKENS,
        datasets=("masked-tokens",),
        image_size=128,
    ),
)
