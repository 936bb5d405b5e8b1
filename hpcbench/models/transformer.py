"""A transformer's layer, in Keras and in PyTorch, for models made of it.

Attention (Vaswani et al., 2017, section 3.2) and a network of two dense layers, each added to what
came in. Normalized is what goes into each (Radford et al., 2019, section 2.3), or the sum, as
Vaswani et al. and BERT have it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LayerSizes:
    """Width of a token and of the network within, heads of attention, and layer normalization's
    epsilon. ``causal``: a token sees none after it, and GELU is the one by the hyperbolic tangent,
    as GPT-2 has both. ``normalized_sums``: normalization comes after each sum, not before."""

    width: int
    inner: int
    heads: int
    epsilon: float
    causal: bool
    normalized_sums: bool = False


def keras_layer(values: Any, name: str, sizes: LayerSizes, first: Any, last: Any) -> Any:
    """What comes out for ``values``, (n, tokens, width); kernels start as the initializers say,
    ``last`` being that of the last one."""
    from keras import layers

    from hpcbench.layers.tanh_gelu import tanh_gelu

    gelu = tanh_gelu if sizes.causal else "gelu"

    def added(values: Any, number: int, part: Callable[[Any], Any]) -> Any:
        norm = layers.LayerNormalization(epsilon=sizes.epsilon, name=f"{name}_norm{number}")
        if sizes.normalized_sums:
            return norm(layers.Add()([values, part(values)]))
        return layers.Add()([values, part(norm(values))])

    attention = layers.MultiHeadAttention(
        sizes.heads,
        sizes.width // sizes.heads,
        kernel_initializer=first,
        name=f"{name}_attention",
    )
    widening = layers.Dense(sizes.inner, gelu, kernel_initializer=first, name=f"{name}_dense1")
    narrowing = layers.Dense(sizes.width, kernel_initializer=last, name=f"{name}_dense2")
    values = added(values, 1, lambda of: attention(of, of, use_causal_mask=sizes.causal))
    return added(values, 2, lambda of: narrowing(widening(of)))


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
            if sizes.normalized_sums:
                values = self.norm1(values + self._attended(values))
                return self.norm2(values + self._widened(values))
            values = values + self._attended(self.norm1(values))
            return values + self._widened(self.norm2(values))

        def _attended(self, values: Tensor) -> Tensor:
            query, key, value = (
                part(values).unflatten(-1, (sizes.heads, -1)).transpose(1, 2)
                for part in (self.query, self.key, self.value)
            )
            attended = scaled_dot_product_attention(query, key, value, is_causal=sizes.causal)
            return self.output(attended.transpose(1, 2).flatten(2))

        def _widened(self, values: Tensor) -> Tensor:
            inner = gelu(self.dense1(values), approximate="tanh" if sizes.causal else "none")
            return self.dense2(inner)

    return Layer()
