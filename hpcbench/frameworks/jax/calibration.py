"""JAX's products of matrices and additions of arrays, one after the other."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from hpcbench.frameworks.jax.arithmetic import set_products

# Of the products in a precision; float32 in those that are not here.
KINDS = {"mixed_bfloat16": jnp.bfloat16, "float64": jnp.float64}


def _repeated(operation: Callable[[Any, Any], Any], left: Any, right: Any) -> Callable[[int], None]:
    compiled = jax.jit(operation)

    def work(count: int) -> None:
        out = left
        for _ in range(count):
            out = compiled(left, right)
        out.block_until_ready()

    return work


def multiplier(precision: str) -> Callable[[int], Callable[[int], None]]:
    """As :meth:`hpcbench.frameworks.Framework.multiplier`."""
    set_products(precision, jax.local_devices()[0])
    kind = KINDS.get(precision, jnp.float32)

    def of_side(side: int) -> Callable[[int], None]:
        keys = jax.random.split(jax.random.key(0))
        left, right = (jax.random.normal(key, (side, side), kind) for key in keys)
        return _repeated(jnp.matmul, left, right)

    return of_side


def adder(size: int) -> Callable[[int], None]:
    """As :meth:`hpcbench.frameworks.Framework.adder`."""
    left, right = (jnp.ones(size // 4, jnp.float32) for _ in range(2))
    return _repeated(jnp.add, left, right)
