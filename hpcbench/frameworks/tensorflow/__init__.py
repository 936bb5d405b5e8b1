"""TensorFlow with Keras 3: its devices, its errors, its backend."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hpcbench.config import RunConfig
from hpcbench.devices.cores import instruction_set
from hpcbench.errors import (
    CommunicationFailed,
    EnvironmentLacks,
    HpcbenchError,
    OutOfMemory,
    first_line,
)
from hpcbench.frameworks import (
    FRAMEWORKS,
    CpuMath,
    Framework,
    Probe,
    SavedModel,
    before_it_computes,
)
from hpcbench.frameworks.keras_backend import choose_keras, load_keras
from hpcbench.packages import installation

if TYPE_CHECKING:
    from hpcbench.datasets import DatasetSpec
    from hpcbench.frameworks.backend import Backend, Workload
    from hpcbench.records.observer import Observer

# What an error of Horovod's or MPI's has in its text.
LOST_RANKS = ("HorovodInternalError", "Horovod", "MPI_ERR", "NCCL", "Connection closed by peer")


def _set_environment() -> None:
    """By itself TensorFlow takes oneDNN on some processors only."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    choose_keras("tensorflow")


def load() -> None:
    """Import TensorFlow and Keras with the environment that they read."""
    _set_environment()
    load_keras("tensorflow")


class TensorFlow(Framework):
    name = "tensorflow"
    module = "tensorflow"
    install = installation(module)
    over_processes = "horovod"
    over_devices = "mirrored"
    options = dict.fromkeys(
        (
            "optimizer",
            "momentum",
            "batchnorm",
            "precision",
            "xla",
            "input",
            "augment",
            "accumulate",
            "tensorboard",
        )
    )

    def set_environment(self) -> None:
        _set_environment()

    def prepare(self, cores: int, devices: int, local_rank: int) -> None:
        """Two operations at a time where there are two cores: a convolution's two gradients.

        GPU memory is taken as it is needed.
        """
        load()
        import tensorflow as tf

        with before_it_computes(self.name):
            tf.config.threading.set_intra_op_parallelism_threads(cores)
            tf.config.threading.set_inter_op_parallelism_threads(max(devices, min(cores, 2)))
        gpus = tf.config.list_physical_devices("GPU")
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
        if devices > 1 or not gpus:
            return
        # Where each process sees one GPU of its own already, as Slurm's --gpus-per-task=1 does
        # it, that one is taken.
        if len(gpus) > 1:
            if local_rank >= len(gpus):
                raise EnvironmentLacks(
                    f"local rank {local_rank} on {os.uname().nodename} finds only {len(gpus)} "
                    f"GPUs; start at most one process a GPU"
                )
            gpus = [gpus[local_rank]]
        tf.config.set_visible_devices(gpus, "GPU")

    def gpu_name(self) -> str | None:
        import tensorflow as tf

        gpus = tf.config.get_visible_devices("GPU")
        if not gpus:
            return None
        return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU"))

    def cpu_math(self) -> CpuMath:
        import tensorflow as tf

        from hpcbench.layers.dilated_convolution import one_dnn_is_on

        threads = tf.config.threading.get_intra_op_parallelism_threads()
        return CpuMath(one_dnn_is_on(), instruction_set(), threads)

    def probe(self) -> Probe:
        load()
        import tensorflow as tf

        details = tf.config.experimental.get_device_details
        gpus = tf.config.list_physical_devices("GPU")
        names = [str(details(gpu).get("device_name", gpu.name)) for gpu in gpus]
        return Probe(names, self.cpu_math().kernels)

    def translate(self, error: BaseException) -> HpcbenchError | None:
        import tensorflow as tf

        text = first_line(error)
        if isinstance(error, tf.errors.ResourceExhaustedError):
            return OutOfMemory(f"out of memory: {text}")
        gone = tf.errors.UnavailableError | tf.errors.AbortedError | tf.errors.CancelledError
        if isinstance(error, gone) or any(mark in repr(error) for mark in LOST_RANKS):
            return CommunicationFailed(f"the exchange between ranks failed: {text}")
        return None

    def gradient_sizes(self, model: str) -> list[int]:
        from hpcbench.frameworks.tensorflow.backend import gradient_sizes

        return gradient_sizes(model)

    def peak_memory(self) -> int:
        import tensorflow as tf

        if tf.config.get_visible_devices("GPU"):
            return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
        return super().peak_memory()

    def multiplier(self, precision: str) -> Callable[[int], Callable[[int], None]]:
        from hpcbench.frameworks.tensorflow.calibration import multiplier

        return multiplier(precision)

    def adder(self, size: int) -> Callable[[int], None]:
        from hpcbench.frameworks.tensorflow.calibration import adder

        return adder(size)

    def backend(self, workload: "Workload") -> "Backend":
        from hpcbench.frameworks.tensorflow.backend import TensorFlowBackend

        return TensorFlowBackend(workload)

    def saved_model(
        self, folder: Path, config: RunConfig, spec: "DatasetSpec"
    ) -> SavedModel | None:
        load()
        from hpcbench.frameworks.tensorflow.backend import MODEL_FILE
        from hpcbench.frameworks.tensorflow.saved_model import SavedKerasModel

        return SavedKerasModel(folder, config, spec) if (folder / MODEL_FILE).exists() else None

    def tensorboard(self, folder: Path, backend: "Backend", config: RunConfig) -> "Observer":
        from hpcbench.frameworks.tensorflow.backend import TensorFlowBackend
        from hpcbench.frameworks.tensorflow.tensorboard import Board

        trained = cast(TensorFlowBackend, backend)
        board = Board(folder, trained.named_weights)
        board.settings(config.model_dump(mode="json"), config.run_id)
        board.graph(trained.graph)
        return board


FRAMEWORKS.add(TensorFlow.name, TensorFlow())
