"""What is known of the process, whatever trains in it."""

import os
import platform
import sys

# Libraries, but those that are asked, by which processes may train together.
CONNECTING = (
    "mpi4py",
    "torch_xla",
    "byteps",
    "bagua",
    "cupy",
    "ray",
    "oneccl_bindings_for_pytorch",
)
# By launcher: rank and world size.
RANKS = (
    ("HOROVOD_RANK", "HOROVOD_SIZE"),
    ("RANK", "WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
)


def facts_of_process():
    facts = {
        "host": platform.node(),
        "pid": os.getpid(),
        "python": platform.python_version(),
        "command": list(getattr(sys, "argv", [])),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "replicas": 1,
        "packages": {},
    }
    try:
        facts["folder"] = os.getcwd()
    except OSError:
        # It is gone.
        pass
    for rank, size in RANKS:
        if rank in os.environ and size in os.environ:
            try:
                facts["rank"], facts["size"] = int(os.environ[rank]), int(os.environ[size])
            except ValueError:
                continue
            break
    for name in ("torch", "tensorflow", "keras", "jax", "horovod", "lightning", "transformers"):
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            facts["packages"][name] = version
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "")
    facts["restarts"] = int(restarts) if restarts.isdecimal() else 0
    return facts


def connected():
    """How many processes train together with this one, by the library that connects them; None
    where that may be one that is not known here."""
    torch = sys.modules.get("torch")
    distributed = getattr(torch, "distributed", None)
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    for name in ("torch", "tensorflow", "keras"):
        horovod = sys.modules.get("horovod." + name)
        if horovod is not None and horovod.is_initialized():
            return horovod.size()
    if any(name in sys.modules for name in CONNECTING) or "TF_CONFIG" in os.environ:
        return None
    return 1
