"""A transformer's layer that normalizes first, in Keras and in PyTorch, for models made of it.

Attention (Vaswani et al., 2017, section 3.2) and a network of two dense layers, each added to what
came in (Radford et al., 2019, section 2.3).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LayerSizes:
    """Width of a token and of the network within, heads of attention, and layer normalization's
    epsilon. ``causal``: a token sees none after it, and GELU is the one by the hyperbolic tangent,
    as GPT-2 has both."""

    width: int
    inner: int
    heads: int
    epsilon: float
    causal: bool


def keras_layer(values: Any, name: str, sizes: LayerSizes, first: Any, last: Any) -> Any:
    """What comes out for ``values``, (n, tokens, width); kernels start as the initializers say,
    ``last`` being that of the last one."""
    from keras import layers

    from hpcbench.layers.tanh_gelu import tanh_gelu

    gelu = tanh_gelu if sizes.causal else "gelu"

    def normalized(values: Any, number: int) -> Any:
        layer = layers.LayerNormalization(epsilon=sizes.epsilon, name=f"{name}_norm{number}")
        return layer(values)

    attention = layers.MultiHeadAttention(
        sizes.heads,
        sizes.width // sizes.heads,
        kernel_initializer=first,
        name=f"{name}_attention",
    )
    inner = normalized(values, 1)
    values = layers.Add()([values, attention(inner, inner, use_causal_mask=sizes.causal)])
    widening = layers.Dense(sizes.inner, gelu, kernel_initializer=first, name=f"{name}_dense1")
    narrowing = layers.Dense(sizes.width, kernel_initializer=last, name=f"{name}_dense2")
    return layers.Add()([values, narrowing(widening(normalized(values, 2)))])


def torch_layer(sizes: LayerSizes) -> "torch.nn.Module":
    """The same function in PyTorch, its parts named as in Keras."""
    from torch import Tensor, nn
    from torch.nn.functional import gelu, scaled_dot_product_attention

    width = sizes.width

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1 = nn.LayerNorm(width, sizes.epsilon)
            self.query, self.key, self.value, self.output = (
                nn.Linear(width, width) for _ in range(4)
            )
            self.norm2 = nn.LayerNorm(width, sizes.epsilon)
            self.dense1 = nn.Linear(width, sizes.inner)
            self.dense2 = nn.Linear(sizes.inner, width)

        def forward(self, values: Tensor) -> Tensor:
            inner = self.norm1(values)
            query, key, value = (
                part(inner).unflatten(-1, (sizes.heads, -1)).transpose(1, 2)
                for part in (self.query, self.key, self.value)
            )
            attended = scaled_dot_product_attention(query, key, value, is_causal=sizes.causal)
            values = values + self.output(attended.transpose(1, 2).flatten(2))
            inner = self.dense1(self.norm2(values))
            inner = gelu(inner, approximate="tanh" if sizes.causal else "none")
            return values + self.dense2(inner)

    return Layer()
