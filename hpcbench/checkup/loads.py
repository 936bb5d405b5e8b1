"""Loads what a rank loads and prints what it found as JSON; a process of its own, since it may die.

Run by the doctor: python hpcbench/checkup/loads.py
"""

import json
import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _tensorflow() -> list[str]:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return [
        str(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name))
        for gpu in gpus
    ]


def _horovod() -> dict[str, bool]:
    import horovod.tensorflow as hvd

    return {
        "MPI": bool(hvd.mpi_built()), "Gloo": bool(hvd.gloo_built()),
        "NCCL": bool(hvd.nccl_built()),
    }  # fmt: skip


def _mpi() -> str:
    import mpi4py

    # Under an srun that does not start MPI's ranks, to start MPI is to be killed by it.
    mpi4py.rc.initialize = False
    from mpi4py import MPI

    return str(MPI.Get_library_version())


def main() -> None:
    found: dict[str, Any] = {"errors": {}}
    loaders: dict[str, Callable[[], Any]] = {
        "tensorflow": _tensorflow, "horovod": _horovod, "mpi": _mpi,
    }  # fmt: skip
    for name, load in loaders.items():
        try:
            found[name] = load()
        except ModuleNotFoundError as error:
            # That it is not installed was said already; that a part of it is missing was not.
            if error.name != name:
                found["errors"][name] = str(error)
        except Exception as error:
            found["errors"][name] = str(error).splitlines()[0][:300]
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
