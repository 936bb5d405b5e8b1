"""The frameworks that can train: one folder each, all behind the class Framework.

A framework is imported only inside its folder and only when it is used, so that names and checks
cost nothing. Adding one is adding one folder or file (or one module of another package, by an entry
point of the group ``hpcbench.frameworks``).
"""

import resource
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

from hpcbench.config import SETTINGS_OF_ALL_FRAMEWORKS, OutputConfig, RunConfig
from hpcbench.errors import ConfigError, EnvironmentLacks, HpcbenchError
from hpcbench.models import MODELS
from hpcbench.registry import Registry
from hpcbench.words import count

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hpcbench.datasets import DatasetSpec
    from hpcbench.frameworks.backend import Backend, Workload
    from hpcbench.records.observer import Observer


@dataclass(frozen=True)
class CpuMath:
    """How a framework calculates on CPUs: whether with oneDNN, which of the processor's instruction
    sets that uses (by oneDNN's names), and threads of this process."""

    one_dnn: bool
    instruction_set: str
    threads: int

    @property
    def kernels(self) -> str:
        """What calculates, in words."""
        return f"{'oneDNN' if self.one_dnn else 'no oneDNN'} {self.instruction_set}"

    def of_device(self, devices: int) -> str:
        """As it stands in every row, of one of this process's ``devices``."""
        threads = max(1, self.threads // devices)
        return f"{self.kernels} ({count(threads, 'thread')})"

    def facts(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Probe:
    """What a framework sees when it is loaded: accelerators by name, and how it calculates on CPUs,
    in words."""

    accelerators: list[str]
    cpu_math: str


@contextmanager
def before_it_computes(framework: str) -> Iterator[None]:
    """What fails within it does so because the framework has computed already."""
    try:
        yield
    except RuntimeError as error:
        raise ConfigError(
            f"{framework} had computed before it was told its cores and devices, as where the file "
            f"of a model computes while it loads: move that into a function"
        ) from error


class SavedModel(ABC):
    """A trained model as a run kept it."""

    @abstractmethod
    def guesses(self, inputs: "NDArray[Any]") -> "NDArray[np.int64]":
        """The class of each of ``inputs``, shape (n,), or of each of their pixels, (n, height,
        width); images are bytes (n, height, width, channels), fields float32."""

    @abstractmethod
    def first_kernel(self) -> "NDArray[np.float32]":
        """The weights from the inputs to the first layer's outputs, which come last."""


class Framework(ABC):
    """``module`` is what Python imports, ``install`` the command that brings it.

    ``over_processes`` and ``over_devices`` are the strategies that ``auto`` picks where a launcher
    started several processes, and where one process sees several devices. ``options`` are the
    settings that it takes beyond those of all frameworks: their values, or None for any.
    """

    name: ClassVar[str]
    module: ClassVar[str]
    install: ClassVar[str]
    over_processes: ClassVar[str]
    over_devices: ClassVar[str]
    options: ClassVar[Mapping[str, Collection[Any] | None]] = MappingProxyType({})

    def check(self, config: RunConfig, output: OutputConfig) -> None:
        """Without loading it, raise EnvironmentLacks where the framework is not installed, and
        ConfigError for a model that is not written for it or a setting that it does not have."""
        self.check_model(config.model)
        self.check_installed()
        self.supports(config)
        self.supports(output)

    def check_installed(self) -> None:
        """Raise EnvironmentLacks where it is not installed; nothing is loaded."""
        if find_spec(self.module) is None:
            raise EnvironmentLacks(f"framework {self.name} is not installed; run {self.install}")

    def check_model(self, name: str) -> None:
        """Raise ConfigError where the model ``name`` is not written for this framework."""
        model = MODELS[name]
        if self.name not in model.frameworks:
            known = [other.name for other in MODELS if self.name in other.frameworks]
            raise ConfigError(
                f"model {model.name} is not written for {self.name}; choose from {', '.join(known)}"
            )

    def supports(self, settings: BaseModel) -> None:
        """Raise ConfigError for a setting that is not its default and not this framework's.

        What a framework does not claim it does not have, so that a new setting is not ignored.
        """
        for name, field in type(settings).model_fields.items():
            value = getattr(settings, name)
            if value == field.default or name in SETTINGS_OF_ALL_FRAMEWORKS:
                continue
            values = self.options.get(name, ())
            if values is not None and value not in values:
                flag = f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}")
                raise ConfigError(f"{flag} is not supported with framework {self.name}")

    def set_environment(self) -> None:
        """Set what it and Keras read as they are imported, which may be by a model's own file."""

    @abstractmethod
    def prepare(self, cores: int, devices: int, local_rank: int) -> None:
        """Load the framework with ``cores`` threads; leave a process of one device its one GPU.

        Raises EnvironmentLacks where ``local_rank`` has no GPU on a machine that has some.
        """

    @abstractmethod
    def gpu_name(self) -> str | None:
        """The name of this process's GPU; None where it has none."""

    @abstractmethod
    def cpu_math(self) -> CpuMath:
        """How it calculates on this process's cores, by its own word as far as it has one."""

    @abstractmethod
    def probe(self) -> Probe:
        """Load it and look around; for the doctor, in a process of its own."""

    @abstractmethod
    def translate(self, error: BaseException) -> HpcbenchError | None:
        """The harness's own error for one that the framework raised; None for any other."""

    @abstractmethod
    def backend(self, workload: "Workload") -> "Backend":
        """The model of ``workload``, ready to train on its data under its strategy."""

    def peak_memory(self) -> int:
        """The most bytes that this process had: of its GPU's memory what the framework allocated;
        without one all that was resident."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def multiplier(self, precision: str) -> Callable[[int], Callable[[int], None]]:
        """Of the side of two square matrices: what multiplies them so many times as ``precision``
        has it, and returns when that is done. Raises EnvironmentLacks where the device cannot, and
        ConfigError where the framework cannot be calibrated; it is prepared."""
        raise ConfigError(f"framework {self.name} cannot be calibrated")

    def adder(self, size: int) -> Callable[[int], None]:
        """What adds two float32 arrays of so many bytes into a third, so many times."""
        raise ConfigError(f"framework {self.name} cannot be calibrated")

    def gradient_sizes(self, model: str) -> list[int]:
        """How many elements each gradient of ``model`` has, on its first data set; the framework is
        prepared. Raises ConfigError where it does not tell."""
        raise ConfigError(f"framework {self.name} does not tell the gradients of {model}")

    def saved_model(
        self, folder: Path, config: RunConfig, spec: "DatasetSpec"
    ) -> SavedModel | None:
        """The model that a run kept in ``folder``; None where it kept none, or none that can be
        looked at. Raises DataError where it does not fit data of ``spec``."""
        return None

    def tensorboard(self, folder: Path, backend: "Backend", config: RunConfig) -> "Observer":
        """What writes TensorBoard's files below ``folder``; only where ``--tensorboard`` is an
        option."""
        raise ConfigError(f"--tensorboard is not supported with framework {self.name}")


FRAMEWORKS: Registry[Framework] = Registry("framework", __name__)
