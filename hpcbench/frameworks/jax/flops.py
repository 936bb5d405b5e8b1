"""Floating-point operations of a training step, counted in what JAX traces of its forward pass."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend import core


def training_flops(
    forward: Callable[[list[jax.Array], jax.Array], jax.Array],
    weights: list[jax.Array],
    inputs: jax.Array,
) -> int:
    """Operations of ``forward(weights, inputs)`` and of its gradient by ``weights``: those of
    matrix products and convolutions, a multiplication and an addition counting as two.

    The gradient by each factor takes what the product took, and is taken only by what depends on
    weights: a first layer needs none by its inputs.
    """
    traced = jax.make_jaxpr(forward)(weights, inputs)
    count = len(traced.jaxpr.invars) - 1
    return _count(traced.jaxpr, [True] * count + [False])[0]


def _count(jaxpr: core.Jaxpr, depends: Sequence[bool]) -> tuple[int, list[bool]]:
    """Operations of ``jaxpr`` and of its gradient, of whose arguments some depend on weights; and
    which results do."""
    known = {var for var, by in zip(jaxpr.invars, depends, strict=True) if by}
    total = 0
    for equation in jaxpr.eqns:
        by = [not isinstance(var, core.Literal) and var in known for var in equation.invars]
        inner = _inner(equation)
        if inner is not None:
            operations, results = _count(inner, by)
            total += operations
            known |= {var for var, of in zip(equation.outvars, results, strict=True) if of}
            continue
        total += _forward(equation) * (1 + sum(by[:2]))
        if any(by):
            known |= set(equation.outvars)
    return total, [not isinstance(v, core.Literal) and v in known for v in jaxpr.outvars]


def _inner(equation: Any) -> core.Jaxpr | None:
    """What a call calls, with the same arguments; None for an operation."""
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        inner = equation.params.get(name)
        if inner is not None:
            found = getattr(inner, "jaxpr", inner)
            return found if len(found.invars) == len(equation.invars) else None
    return None


def _forward(equation: Any) -> int:
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        result = math.prod(equation.outvars[0].aval.shape)
        return int(2 * result * math.prod(shape[axis] for axis in contracted))
    if equation.primitive.name == "conv_general_dilated":
        images, kernel = (var.aval.shape for var in equation.invars)
        numbers = equation.params["dimension_numbers"]
        # Of a transposed convolution each position of the input meets the kernel.
        transposed = math.prod(equation.params["lhs_dilation"]) > 1
        shape = images if transposed else equation.outvars[0].aval.shape
        spec = numbers.lhs_spec if transposed else numbers.out_spec
        positions = shape[spec[0]] * math.prod(shape[axis] for axis in spec[2:])
        return int(2 * positions * math.prod(kernel))
    return 0
