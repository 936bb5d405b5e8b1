"""PyTorch's FullyShardedDataParallel, its second form (``fully_shard``): one process a device, each
with a part of the weights, gradients and optimizer, by NCCL on GPUs and Gloo on CPUs.

Rajbhandari et al., ZeRO (SC 2020), stage 3: weights are gathered before each layer's forward and
backward pass, gradients reduced and scattered after it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hpcbench.strategies import STRATEGIES
from hpcbench.strategies.ddp import Ddp

if TYPE_CHECKING:
    import torch


@STRATEGIES.register("fsdp")
class Fsdp(Ddp):
    name = "fsdp"
    exchanges = ("reduce-scatter",)
    compressions = ()
    # No step can be taken without weights that the others have.
    steps_apart = False
    shards = True

    def parallel(self, module: "torch.nn.Module", compression: str) -> "torch.nn.Module":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(self._device, (self.processes,))
        for layer in _layers(module):
            fully_shard(layer, mesh=mesh)
        return fully_shard(module, mesh=mesh)

    @contextmanager
    def unsynchronized(self, module: Any) -> Iterator[None]:
        module.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            module.set_requires_gradient_sync(True)

    def forget_others(self, module: "torch.nn.Module") -> None:
        from torch.distributed.fsdp import FSDPModule

        # The whole's would be used by the next pass as they were, whatever has changed since.
        for layer in module.modules():
            if isinstance(layer, FSDPModule):
                layer.reshard()

    def part(self, tensor: "torch.Tensor") -> "torch.Tensor":
        from torch.distributed.tensor import DTensor

        tensor = tensor.detach()
        return tensor.to_local() if isinstance(tensor, DTensor) else tensor

    def whole(self, tensor: "torch.Tensor") -> "torch.Tensor":
        from torch.distributed.tensor import DTensor

        tensor = tensor.detach()
        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def scatter(
        self, tensors: "Sequence[torch.Tensor]", values: Sequence[NDArray[Any]] | None
    ) -> None:
        import torch
        from torch import distributed
        from torch.distributed.tensor import DTensor, distribute_tensor

        for place, tensor in enumerate(tensors):
            whole = torch.empty(tensor.shape, dtype=tensor.dtype, device=self._device)
            if values is not None:
                whole.copy_(torch.from_numpy(np.asarray(values[place])))
            if isinstance(tensor, DTensor):
                parts = distribute_tensor(whole, tensor.device_mesh, tensor.placements)
                self.part(tensor).copy_(parts.to_local())
            else:
                distributed.broadcast(whole, src=0)
                tensor.copy_(whole)


def _layers(module: "torch.nn.Module") -> "Iterator[torch.nn.Module]":
    """What is gathered by itself: members of its lists of layers. All else is gathered with the
    whole, as a matrix of words that is used at both ends has to be."""
    from torch.nn import ModuleList, Sequential

    for child in module.children():
        if isinstance(child, ModuleList | Sequential):
            yield from _members(child)


def _members(layers: "torch.nn.Module") -> "Iterator[torch.nn.Module]":
    """Those with weights, and those of lists in a list."""
    from torch.nn import ModuleList, Sequential

    for member in layers.children():
        if isinstance(member, ModuleList | Sequential):
            yield from _members(member)
        elif next(member.parameters(), None) is not None:
            yield member
