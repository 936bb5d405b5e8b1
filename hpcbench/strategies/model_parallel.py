"""Model parallelism: one process, one copy of the network, its halves on two devices.

What AlexNet did with two GPUs. There are no gradients to exchange; what crosses between the devices
are activations, where the network lets its halves meet.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hpcbench.config import RunConfig
from hpcbench.errors import ConfigError
from hpcbench.launch import Launch
from hpcbench.models import MODELS
from hpcbench.strategies import STRATEGIES, Strategy, devices_of_process, logical_devices

if TYPE_CHECKING:
    import tensorflow as tf


@STRATEGIES.register("model-parallel")
class ModelParallel(Strategy):
    name = "model-parallel"
    devices_per_replica = 2

    @classmethod
    def check(cls, config: RunConfig, launch: Launch, gpus: int, cores: int) -> int:
        super().check(config, launch, gpus, cores)
        wanted = cls.devices_per_replica
        if wanted not in MODELS[config.model].devices_per_replica:
            known = [model.name for model in MODELS if wanted in model.devices_per_replica]
            raise ConfigError(
                f"model {config.model} cannot be split over {wanted} devices; choose from "
                f"{', '.join(known)}"
            )
        if config.devices not in (None, wanted):
            raise ConfigError(f"strategy {cls.name} has {wanted} devices, not {config.devices}")
        devices_of_process(wanted, config, gpus, cores)
        return 1

    @classmethod
    def fits(cls, devices: int, devices_per_node: int) -> bool:
        return devices == cls.devices_per_replica <= devices_per_node

    def __init__(self, launch: Launch, devices: int, exchange: str) -> None:
        self.replica_devices = logical_devices(self.devices_per_replica)

    def mean(self, tensors: "Sequence[tf.Tensor]") -> "list[tf.Tensor]":
        return list(tensors)

    def gather(self, values: Sequence[float]) -> NDArray[np.float64]:
        return np.array([values], np.float64)
