"""Prepares TensorFlow's devices for a process: threads, memory growth, pinning, names."""

import os

import tensorflow as tf

from hpcbench.errors import EnvironmentLacks
from hpcbench.provenance import cpu_name


def configure(cores: int, replicas: int = 1) -> None:
    """Threads for ``cores`` CPU cores and ``replicas`` devices; GPU memory as it is needed.

    Two operations at a time where there are two cores: a convolution's two gradients.
    """
    tf.config.threading.set_intra_op_parallelism_threads(cores)
    tf.config.threading.set_inter_op_parallelism_threads(max(replicas, min(cores, 2)))
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)


def pin_gpu(local_rank: int) -> None:
    """Leave this process the one GPU of its local rank; on a machine without GPUs, nothing.

    Where each process sees one GPU of its own already, as Slurm's ``--gpus-per-task=1`` does
    it, that one is taken.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return
    if len(gpus) > 1:
        if local_rank >= len(gpus):
            raise EnvironmentLacks(
                f"local rank {local_rank} on {os.uname().nodename} finds only {len(gpus)} GPUs; "
                f"start at most one process a GPU"
            )
        gpus = [gpus[local_rank]]
    tf.config.set_visible_devices(gpus, "GPU")


def device_kind(cores_per_device: int, processes_per_core: int) -> str:
    """The name of a device of this process, as it stands in every row.

    A CPU share is named with its size, since rates of shares of another size are not comparable.
    """
    gpus = tf.config.get_visible_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        return str(details.get("device_name", "GPU"))
    share = f"{cores_per_device} core{'s' * (cores_per_device > 1)}"
    if processes_per_core > 1:
        share = f"1/{processes_per_core} core"
    return f"{cpu_name()} ({share})"
