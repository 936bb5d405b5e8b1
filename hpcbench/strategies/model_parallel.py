"""Model parallelism: one process, one copy of the network, its halves on two devices.

What AlexNet did with two GPUs. There are no gradients to exchange; what crosses between the devices
are activations, where the network lets its halves meet.
"""

from hpcbench.cluster.launchers import Launch
from hpcbench.config import RunConfig
from hpcbench.errors import ConfigError
from hpcbench.models import MODELS
from hpcbench.strategies import STRATEGIES, TensorFlowStrategy, devices_here
from hpcbench.strategies.tensors import logical_devices


@STRATEGIES.register("model-parallel")
class ModelParallel(TensorFlowStrategy):
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
        devices_here(wanted, config, gpus, cores)
        return 1

    @classmethod
    def fits(cls, devices: int, devices_per_node: int) -> bool:
        return devices == cls.devices_per_replica <= devices_per_node

    def __init__(self, launch: Launch, devices: int, exchange: str) -> None:
        self.replica_devices = logical_devices(self.devices_per_replica)
