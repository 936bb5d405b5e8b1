"""JAX's sharding of one process's devices: several GPUs, or several devices of a CPU."""

from hpcbench.cluster.launchers import Launch
from hpcbench.config import RunConfig
from hpcbench.strategies import STRATEGIES, JaxStrategy, devices_here


@STRATEGIES.register("sharded")
class Sharded(JaxStrategy):
    name = "sharded"
    frameworks = ("jax",)
    exchanges = ("flat", "per-tensor")
    compressions = ("fp16", "bf16")

    @classmethod
    def check(cls, config: RunConfig, launch: Launch, gpus: int, cores: int) -> int:
        super().check(config, launch, gpus, cores)
        return devices_here(config.devices, config, gpus, cores)

    def __init__(self, launch: Launch, devices: int, exchange: str) -> None:
        self.world_size = self.replicas = devices
        self.exchange = exchange
