"""A network of PyTorch's, looked at before it trains."""

from typing import TYPE_CHECKING, Any

import torch

from hpcbench.errors import ConfigError, first_line
from hpcbench.frameworks.torch.flops import training_flops
from hpcbench.models import MODELS
from hpcbench.references import is_reference

if TYPE_CHECKING:
    from hpcbench.datasets import DatasetSpec


def build_model(
    name: str, spec: "DatasetSpec", device: torch.device, dtype: torch.dtype
) -> tuple[torch.nn.Module, int]:
    """The network called ``name`` with its weights, and the operations of a sample's training step.

    Raises ConfigError where it cannot be built for inputs of this shape, or is none."""
    wrong: list[str] = []

    def look_at(module: torch.nn.Module, inputs: Any, outputs: Any) -> torch.Tensor:
        wrong.extend(_wrong(outputs, (1, *spec.targets_shape, spec.outputs)))
        return torch.zeros((), requires_grad=True) if wrong else outputs

    try:
        model = MODELS[name].builder("torch")(spec.input_shape, spec.outputs)
        if not isinstance(model, torch.nn.Module):
            raise ConfigError(f"build of {name} returns no torch.nn.Module but {_kind(model)}")
        model = model.to(device, dtype)
        with model.register_forward_hook(look_at):
            operations = training_flops(model, spec.input_shape)
    except (ConfigError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if is_reference(name):
            # A user's own function may do anything.
            raise ConfigError(
                f"model {name} fails as it is built or on one sample: {_kind(error)}: "
                f"{first_line(error)}"
            ) from error
        if not isinstance(error, RuntimeError):
            raise
        shape = " x ".join(map(str, spec.input_shape))
        raise ConfigError(
            f"model {name} cannot be built for inputs of {shape}; choose other data"
        ) from error
    if wrong:
        raise ConfigError(f"model {name} gives {wrong[0]}")
    return model, operations


def _wrong(outputs: Any, expected: tuple[int, ...]) -> list[str]:
    if not isinstance(outputs, torch.Tensor):
        return [f"{_kind(outputs)} where it should give one tensor"]
    if tuple(outputs.shape) != expected:
        return [f"{tuple(outputs.shape)} of one sample where it should give {expected}"]
    return []


def _kind(value: Any) -> str:
    return type(value).__name__
