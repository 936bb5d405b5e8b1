"""PyTorch's optimizers with Keras' constants, and LARC."""

from collections.abc import Sequence
from typing import Any

import torch

from hpcbench.frameworks.optimizers import ADADELTA_RHO, EPSILON, LARC_TRUST
from hpcbench.schedule import Schedule


class Larc(torch.optim.SGD):
    """As ``hpcbench.frameworks.optimizers`` has it."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for weight in group["params"]:
                norm, slope = map(torch.linalg.vector_norm, (weight, weight.grad))
                own = (LARC_TRUST * norm / (slope * group["lr"])).clamp(max=1)
                weight.grad *= torch.where((norm > 0) & (slope > 0), own, 1)
        return super().step(closure)


def make_optimizer(
    schedule: Schedule, weights: Sequence[torch.nn.Parameter]
) -> torch.optim.Optimizer:
    """The optimizer of ``schedule``."""
    rate = schedule.scaled_learning_rate
    if schedule.optimizer in ("sgd", "larc"):
        kind = {"sgd": torch.optim.SGD, "larc": Larc}[schedule.optimizer]
        return kind(weights, rate, schedule.momentum)
    if schedule.optimizer == "adam":
        return torch.optim.Adam(weights, rate, eps=EPSILON)
    return torch.optim.Adadelta(weights, rate, rho=ADADELTA_RHO, eps=EPSILON)
