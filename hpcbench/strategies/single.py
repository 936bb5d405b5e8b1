"""One process, one device: the best serial run that the others are held against."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hpcbench.config import RunConfig
from hpcbench.errors import ConfigError
from hpcbench.launch import Launch
from hpcbench.strategies import STRATEGIES, Strategy

if TYPE_CHECKING:
    import tensorflow as tf


@STRATEGIES.register("single")
class Single(Strategy):
    name = "single"
    frameworks = ("tensorflow", "torch")

    @classmethod
    def check(cls, config: RunConfig, launch: Launch, gpus: int, cores: int) -> int:
        if config.devices not in (None, 1):
            raise ConfigError(
                f"strategy single has one device, not {config.devices}; choose mirrored, "
                f"or start {config.devices} processes with horovodrun -np {config.devices}"
            )
        return super().check(config, launch, gpus, cores)

    @classmethod
    def fits(cls, devices: int, devices_per_node: int) -> bool:
        return devices == 1

    def __init__(self, launch: Launch, devices: int, exchange: str) -> None:
        """Nothing to connect."""

    def mean(self, tensors: "Sequence[tf.Tensor]") -> "list[tf.Tensor]":
        return list(tensors)

    def gather(self, values: Sequence[float]) -> NDArray[np.float64]:
        return np.array([values], np.float64)
