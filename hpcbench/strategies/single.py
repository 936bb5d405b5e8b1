"""One process, one device: the best serial run that the others are held against."""

from hpcbench.cluster.launchers import Launch
from hpcbench.config import RunConfig
from hpcbench.errors import ConfigError
from hpcbench.strategies import STRATEGIES, JaxStrategy, TensorFlowStrategy, TorchStrategy


@STRATEGIES.register("single")
class Single(TensorFlowStrategy, TorchStrategy, JaxStrategy):
    name = "single"
    frameworks = None

    @classmethod
    def check(cls, config: RunConfig, launch: Launch, gpus: int, cores: int) -> int:
        if config.devices not in (None, 1):
            raise ConfigError(
                f"strategy single has one device, not {config.devices}; leave out --strategy, or "
                f"choose one for several"
            )
        return super().check(config, launch, gpus, cores)

    @classmethod
    def fits(cls, devices: int, devices_per_node: int) -> bool:
        return devices == 1

    def __init__(self, launch: Launch, devices: int, exchange: str) -> None:
        """Nothing to connect."""
