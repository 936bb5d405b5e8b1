"""How devices share the work: one file a strategy, all behind the class Strategy."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hpcbench.config import RunConfig
from hpcbench.errors import ConfigError, EnvironmentLacks
from hpcbench.frameworks import FRAMEWORKS
from hpcbench.launch import Launch
from hpcbench.registry import Registry

if TYPE_CHECKING:
    import tensorflow as tf


class Strategy(ABC):
    """A way to train on several devices at once, each with a copy of the model unless
    ``devices_per_replica`` share one.

    A strategy is made when the framework has this process' devices but has not used them yet;
    making it connects the ranks. ``rank`` and ``processes`` count processes;
    ``world_size`` counts devices; this process drives ``replicas`` of them, the first of which
    is device ``first_device``.
    """

    name: ClassVar[str]
    # The frameworks that it can train under.
    frameworks: ClassVar[tuple[str, ...]] = ("tensorflow",)
    # Ways to exchange gradients, the default first.
    exchanges: ClassVar[tuple[str, ...]] = ()
    # Whether the ranks are processes that a launcher starts.
    needs_launcher: ClassVar[bool] = False

    # Over how many devices each copy of the model is split.
    devices_per_replica: ClassVar[int] = 1
    # Their names; one empty name where the only device needs none.
    replica_devices: tuple[str, ...] = ("",)

    rank: int = 0
    processes: int = 1
    world_size: int = 1
    replicas: int = 1

    @classmethod
    def check(cls, config: RunConfig, launch: Launch, gpus: int, cores: int) -> int:
        """The world size of a run in copies of the model, without loading TensorFlow.

        Raises ConfigError where launcher and flags contradict each other, EnvironmentLacks
        where there are not devices enough.
        """
        if config.framework not in cls.frameworks:
            known = [kind.name for kind in STRATEGIES if config.framework in kind.frameworks]
            raise ConfigError(
                f"strategy {cls.name} is not for framework {config.framework}, which has "
                f"{', '.join(known)}"
            )
        if config.exchange and config.exchange not in cls.exchanges:
            raise ConfigError(
                f"strategy {cls.name} has no exchange {config.exchange!r}; "
                f"known: {', '.join(cls.exchanges) or 'none'}"
            )
        if not cls.needs_launcher and launch.size > 1:
            raise ConfigError(
                f"strategy {cls.name} is one process, but {launch.launcher} started "
                f"{launch.size}; choose horovod or mpi, or start it without {launch.launcher}"
            )
        starter = "torchrun --nproc-per-node" if config.framework == "torch" else "horovodrun -np"
        if cls.needs_launcher and launch.launcher == "none" and (config.devices or 1) > 1:
            raise ConfigError(
                f"strategy {cls.name} is a process a device; start {config.devices} with "
                f"{starter} {config.devices}"
            )
        if cls.needs_launcher and config.devices not in (None, launch.size):
            raise ConfigError(
                f"--devices {config.devices} contradicts {launch.launcher}, which started "
                f"{launch.size}; start {config.devices} with {starter} {config.devices}"
            )
        return launch.size

    @classmethod
    def default_exchange(cls) -> str | None:
        """How gradients travel unless asked otherwise; None where there is nothing to exchange."""
        return cls.exchanges[0] if cls.exchanges else None

    @classmethod
    def fits(cls, devices: int, devices_per_node: int) -> bool:
        """Whether a run on so many devices is possible where a node has ``devices_per_node``."""
        return cls.needs_launcher or devices <= devices_per_node

    @abstractmethod
    def __init__(self, launch: Launch, devices: int, exchange: str) -> None:
        """Connect the ranks."""

    @classmethod
    def devices_of_process(cls, world_size: int) -> int:
        """How many devices one process drives in a run of ``world_size`` replicas."""
        return cls.devices_per_replica * (1 if cls.needs_launcher else world_size)

    @property
    def first_device(self) -> int:
        return self.rank * self.replicas

    def scope(self) -> AbstractContextManager[Any]:
        """Variables of the model and the optimizer are made in here."""
        return nullcontext()

    def place(self, make: "Callable[[int], tf.Tensor]") -> Any:
        """``make(replica)`` on each replica's device, to be given to :meth:`run`."""
        return make(0)

    def run(self, step: Callable[..., Any], *args: Any) -> "list[tf.Tensor]":
        """Inside the compiled loop: ``step(replica, *args)`` on each replica of this process.

        ``step`` returns a tuple of tensors; the result is their sums over the replicas.
        """
        return list(step(0, *args))

    @abstractmethod
    def mean(self, tensors: "Sequence[tf.Tensor]") -> "list[tf.Tensor]":
        """Inside ``step``: the average of each tensor over all devices."""

    @abstractmethod
    def gather(self, values: Sequence[float]) -> NDArray[np.float64]:
        """Outside the loop: all processes' ``values``, shape (processes, len(values)).

        No process gets past it before all have reached it, so it serves as a barrier.
        """

    def broadcast(self, variables: "Sequence[tf.Variable]") -> None:
        """Give all processes rank 0's values; nothing to do in a single process."""


STRATEGIES: Registry[type[Strategy]] = Registry("strategy", __name__)


def choose(config: RunConfig, launch: Launch, gpus: int) -> type[Strategy]:
    """The strategy asked for; ``auto`` is Horovod (or DDP) where a launcher started several
    processes, mirrored where one process sees several devices, single otherwise."""
    if config.strategy != "auto":
        return STRATEGIES[config.strategy]
    framework = FRAMEWORKS[config.framework]
    if launch.size > 1:
        return STRATEGIES[framework.over_processes]
    several = gpus > 1 or (config.devices or 1) > 1
    return STRATEGIES[framework.over_devices if several else "single"]


def devices_of_process(wanted: int | None, config: RunConfig, gpus: int, cores: int) -> int:
    """How many devices one process drives: ``wanted``, or all there are.

    Raises EnvironmentLacks where there are fewer.
    """
    there = gpus or cores // (config.cores_per_device or 1)
    devices = wanted or there
    if devices > there:
        kind = "GPUs" if gpus else f"CPU devices ({cores} cores)"
        raise EnvironmentLacks(f"--devices {devices} but this machine has {there} {kind}")
    return devices


def logical_devices(count: int) -> tuple[str, ...]:
    """TensorFlow's names of ``count`` GPUs, or where there are none of as many parts of the CPU."""
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return tuple(f"/gpu:{index}" for index in range(count))
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration() for _ in range(count)],
    )
    return tuple(f"/cpu:{index}" for index in range(count))
