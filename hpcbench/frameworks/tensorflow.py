"""TensorFlow with Keras 3: its devices, its errors, its backend."""

import os
from typing import TYPE_CHECKING

from hpcbench.errors import CommunicationFailed, EnvironmentLacks, HpcbenchError, OutOfMemory
from hpcbench.frameworks import FRAMEWORKS, Framework

if TYPE_CHECKING:
    from hpcbench.config import RunConfig, Schedule
    from hpcbench.datasets import Arrays, DatasetSpec
    from hpcbench.engine.backend import Backend
    from hpcbench.strategies import Strategy


class TensorFlow(Framework):
    name = "tensorflow"
    module = "tensorflow"
    install = "make setup"
    over_processes = "horovod"
    over_devices = "mirrored"

    def prepare(self, cores: int, devices: int, local_rank: int) -> None:
        """Two operations at a time where there are two cores: a convolution's two gradients.

        GPU memory is taken as it is needed.
        """
        # TensorFlow reads these as it loads.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        os.environ["KERAS_BACKEND"] = "tensorflow"
        import tensorflow as tf

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

    def translate(self, error: BaseException) -> HpcbenchError | None:
        import tensorflow as tf

        text = str(error).split("\n")[0][:300]
        if isinstance(error, tf.errors.ResourceExhaustedError):
            return OutOfMemory(f"out of memory: {text}; lower --batch")
        lost = tf.errors.UnavailableError | tf.errors.AbortedError | tf.errors.CancelledError
        if isinstance(error, lost):
            return CommunicationFailed(f"the exchange between ranks failed: {text}")
        return None

    def backend(
        self,
        config: "RunConfig",
        plan: "Schedule",
        seed: int,
        spec: "DatasetSpec",
        data: "Arrays",
        strategy: "Strategy",
    ) -> "Backend":
        from hpcbench.engine.tensorflow_backend import TensorFlowBackend

        return TensorFlowBackend(config, plan, seed, spec, data, strategy)


FRAMEWORKS.add(TensorFlow.name, TensorFlow())
