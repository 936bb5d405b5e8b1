"""What is told once of a training in PyTorch."""

import sys

from hpcbench_probe.process import connected
from hpcbench_probe.pytorch.trained import parameters, trained
from hpcbench_probe.recording import recorder

# So many tensors, and of each so many numbers, tell whether ranks have the same.
COMPARED_TENSORS, COMPARED_NUMBERS = 16, 4096
# Libraries under which each rank has a part of the gradients.
SHARDING = ("deepspeed", "megatron", "colossalai", "fairscale", "torchrec")


def facts(optimizer):
    import torch

    those = parameters(optimizer)
    found = {
        "framework": "torch",
        "parameters": sum(p.numel() for p in those),
        "dtypes": sorted({str(p.dtype).replace("torch.", "") for p in those}),
        "threads": torch.get_num_threads(),
        "connected": connected(),
        "gradients": compared(optimizer, lambda p: p.grad),
    }
    trained.on_gpu = any(p.is_cuda for p in those)
    if trained.on_gpu:
        recorder.synchronize = _synchronize
        device = torch.cuda.get_device_properties(torch.cuda.current_device())
        found["device"] = device.name
        found["gpu"] = str(getattr(device, "uuid", torch.cuda.current_device()))
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        found["rank"], found["size"] = distributed.get_rank(), distributed.get_world_size()
        found["backend"] = distributed.get_backend()
    return found


def _synchronize():
    import torch

    # Which a graph that is being recorded would not survive.
    if not torch.cuda.is_current_stream_capturing():
        torch.cuda.synchronize()


def compared(optimizer, tensor_of):
    """Shape, sum and sum of magnitudes of some tensors, each of their first numbers, or None;
    None for all where ranks need not have the same, or that cannot be known."""
    try:
        return _compared(optimizer, tensor_of)
    except Exception:
        return None


def _compared(optimizer, tensor_of):
    if connected() == 1 or any(name in sys.modules for name in SHARDING):
        return None
    import torch

    those = parameters(optimizer)
    marks = ("_is_flat_param", "_fsdp_flattened")
    kinds = {type(p).__name__ for p in those}
    flat = any(hasattr(p, mark) for p in those for mark in marks)
    if flat or kinds & {"DTensor", "FlatParameter"}:
        return None
    chosen = those[:: max(1, len(those) // COMPARED_TENSORS)][:COMPARED_TENSORS]
    found = []
    with torch.no_grad():
        for parameter in chosen:
            tensor = tensor_of(parameter)
            if tensor is None or tensor.is_sparse:
                found.append(None)
                continue
            some = tensor.detach().reshape(-1)[:COMPARED_NUMBERS].double()
            found.append([list(tensor.shape), float(some.sum()), float(some.abs().sum())])
    return found
