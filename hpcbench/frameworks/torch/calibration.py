"""PyTorch's products of matrices and additions of arrays, one after the other."""

from collections.abc import Callable

import torch

from hpcbench.frameworks.torch.backend import set_arithmetic

# Of the products in a precision; float32 in those that are not here.
KINDS = {"mixed_bfloat16": torch.bfloat16, "float64": torch.float64}


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def finish() -> None:
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def multiplier(precision: str) -> Callable[[int], Callable[[int], None]]:
    """As :meth:`hpcbench.frameworks.Framework.multiplier`."""
    where = device()
    set_arithmetic(precision, where)
    kind = KINDS.get(precision, torch.float32)

    def of_side(side: int) -> Callable[[int], None]:
        left, right = (torch.randn(side, side, device=where, dtype=kind) for _ in range(2))
        out = torch.empty_like(left)

        def multiply(count: int) -> None:
            for _ in range(count):
                torch.matmul(left, right, out=out)
            finish()

        return multiply

    return of_side


def adder(size: int) -> Callable[[int], None]:
    """As :meth:`hpcbench.frameworks.Framework.adder`."""
    left, right = (torch.ones(size // 4, device=device()) for _ in range(2))
    out = torch.empty_like(left)

    def add(count: int) -> None:
        for _ in range(count):
            torch.add(left, right, out=out)
        finish()

    return add
