"""The frameworks that can train: one file each, all behind the class Framework.

A module here loads its framework only when it is used, so that names and checks cost nothing.
"""

from abc import ABC, abstractmethod
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar

from hpcbench.errors import ConfigError, EnvironmentLacks, HpcbenchError
from hpcbench.models import MODELS
from hpcbench.registry import Registry

if TYPE_CHECKING:
    from hpcbench.config import OutputConfig, RunConfig, Schedule
    from hpcbench.datasets import Arrays, DatasetSpec
    from hpcbench.engine.backend import Backend
    from hpcbench.strategies import Strategy


class Framework(ABC):
    """``module`` is what Python imports, ``install`` the command that brings it.

    ``over_processes`` and ``over_devices`` are the strategies that ``auto`` picks where a launcher
    started several processes, and where one process sees several devices.
    """

    name: ClassVar[str]
    module: ClassVar[str]
    install: ClassVar[str]
    over_processes: ClassVar[str]
    over_devices: ClassVar[str]

    def check(self, config: "RunConfig", output: "OutputConfig") -> None:
        """Without loading it, raise EnvironmentLacks where the framework is not installed, and
        ConfigError for an option that it does not have."""
        if find_spec(self.module) is None:
            raise EnvironmentLacks(f"framework {self.name} is not installed; run {self.install}")

    @abstractmethod
    def prepare(self, cores: int, devices: int, local_rank: int) -> None:
        """Load the framework with ``cores`` threads; leave a process of one device its one GPU.

        Raises EnvironmentLacks where ``local_rank`` has no GPU on a machine that has some.
        """

    @abstractmethod
    def gpu_name(self) -> str | None:
        """The name of this process' GPU; None where it has none."""

    @abstractmethod
    def translate(self, error: BaseException) -> HpcbenchError | None:
        """The harness' own error for one that the framework raised; None for any other."""

    @abstractmethod
    def backend(
        self,
        config: "RunConfig",
        plan: "Schedule",
        seed: int,
        spec: "DatasetSpec",
        data: "Arrays",
        strategy: "Strategy",
    ) -> "Backend":
        """The model of ``config``, ready to train on ``data`` under ``strategy``."""


FRAMEWORKS: Registry[Framework] = Registry("framework", __name__)


def check_framework(config: "RunConfig") -> Framework:
    """The framework of ``config``; ConfigError where its model is not written for it."""
    framework, model = FRAMEWORKS[config.framework], MODELS[config.model]
    if framework.name not in model.frameworks:
        raise ConfigError(
            f"model {model.name} is not written for {framework.name}; choose from "
            f"{', '.join(known.name for known in MODELS if framework.name in known.frameworks)}"
        )
    return framework
