"""How devices share the work: one file a strategy, all behind the class Strategy.

A strategy is both what ranks tell each other outside the training step (:class:`Communicator`) and
how gradients are averaged within it, in the terms of the framework that it is for. Adding one is
adding one file (or one module of another package, by an entry point of the group
``hpcbench.strategies``).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hpcbench.cluster.launchers import Launch
from hpcbench.cluster.patience import Address
from hpcbench.config import RunConfig
from hpcbench.errors import ConfigError, EnvironmentLacks
from hpcbench.registry import Registry

if TYPE_CHECKING:
    import jax
    import tensorflow as tf
    import torch


class Communicator:
    """What the processes of a run tell each other; here a single process, which is alone.

    ``rank`` and ``processes`` count processes; ``world_size`` counts devices (copies of the model);
    this process drives ``replicas`` of them, the first of which is device ``first_device``.
    """

    rank: int = 0
    processes: int = 1
    world_size: int = 1
    replicas: int = 1

    @property
    def first_device(self) -> int:
        return self.rank * self.replicas

    def all_gather(self, values: Sequence[float]) -> NDArray[np.float64]:
        """All processes' ``values``, shape (processes, len(values)), as float64.

        No process gets past it before all have reached it, so it serves as a barrier.
        """
        return np.array([values], np.float64)

    def broadcast(self, variables: Sequence[Any]) -> None:
        """Give all processes rank 0's values of the framework's own ``variables``."""


class Strategy(Communicator, ABC):
    """A way to train on several devices at once, each with a copy of the model unless
    ``devices_per_replica`` share one.

    An instance is made when the framework has this process's devices but has not used them yet;
    making it connects the ranks.
    """

    name: ClassVar[str]
    # The frameworks that it can train under; None for any.
    frameworks: ClassVar[tuple[str, ...] | None] = ("tensorflow",)
    # Ways to exchange gradients, the default first, and that on GPUs if it is another.
    exchanges: ClassVar[tuple[str, ...]] = ()
    exchange_on_gpus: ClassVar[str | None] = None
    # Of what gradients can be rounded to for the exchange.
    compressions: ClassVar[tuple[str, ...]] = ()
    # Whether the ranks are processes that a launcher starts, and how a user would start some.
    needs_launcher: ClassVar[bool] = False
    start_hint: ClassVar[str] = "horovodrun -np"

    # Whether steps can be timed without their exchange.
    steps_apart: ClassVar[bool] = True
    # Over how many devices each copy of the model is split.
    devices_per_replica: ClassVar[int] = 1
    # Their names; one empty name where the only device needs none.
    replica_devices: tuple[str, ...] = ("",)

    @classmethod
    def supports(cls, framework: str) -> bool:
        return cls.frameworks is None or framework in cls.frameworks

    @classmethod
    def check(cls, config: RunConfig, launch: Launch, gpus: int, cores: int) -> int:
        """The world size of a run in copies of the model, without loading a framework.

        Raises ConfigError where launcher and flags contradict each other, EnvironmentLacks
        where there are not devices enough.
        """
        if not cls.supports(config.framework):
            known = [kind.name for kind in STRATEGIES if kind.supports(config.framework)]
            raise ConfigError(
                f"strategy {cls.name} is not for framework {config.framework}, which has "
                f"{', '.join(known)}"
            )
        if config.exchange and config.exchange not in cls.exchanges:
            raise ConfigError(
                f"strategy {cls.name} has no exchange {config.exchange!r}; "
                f"known: {', '.join(cls.exchanges) or 'none'}"
            )
        if config.compression not in ("none", *cls.compressions):
            raise ConfigError(
                f"strategy {cls.name} has no compression to {config.compression}; "
                f"known: {', '.join(cls.compressions) or 'none'}"
            )
        if cls.needs_launcher:
            cls._check_launch(config, launch)
        elif launch.size > 1:
            over = [
                kind.name
                for kind in STRATEGIES
                if kind.needs_launcher and kind.supports(config.framework)
            ]
            raise ConfigError(
                f"strategy {cls.name} is one process, but {launch.launcher} started "
                f"{launch.size}; choose {' or '.join(over)}, or start it without {launch.launcher}"
            )
        return launch.size

    @classmethod
    def _check_launch(cls, config: RunConfig, launch: Launch) -> None:
        start = f"start it with {cls.start_hint} {config.devices}"
        if launch.launcher == "none" and (config.devices or 1) > 1:
            raise ConfigError(f"strategy {cls.name} needs one process per device: {start}")
        if config.devices not in (None, launch.size):
            raise ConfigError(
                f"--devices {config.devices} contradicts {launch.launcher}, which started "
                f"{launch.size}; {start}"
            )

    @classmethod
    def default_exchange(cls, gpus: bool) -> str | None:
        """How gradients travel unless asked otherwise; None where there is nothing to exchange."""
        if gpus and cls.exchange_on_gpus:
            return cls.exchange_on_gpus
        return cls.exchanges[0] if cls.exchanges else None

    @classmethod
    def fits(cls, devices: int, devices_per_node: int) -> bool:
        """Whether a run on so many devices is possible where a node has ``devices_per_node``."""
        return cls.needs_launcher or devices <= devices_per_node

    @classmethod
    def devices_of_process(cls, world_size: int) -> int:
        """How many devices one process drives in a run of ``world_size`` replicas."""
        return cls.devices_per_replica * (1 if cls.needs_launcher else world_size)

    @classmethod
    def meeting(cls, launch: Launch, environment: Mapping[str, str]) -> dict[int, Address]:
        """Where ranks listen while they wait for each other, as far as the harness chose it.

        Raises ConfigError where the ranks' hosts cannot be known.
        """
        return {}

    @classmethod
    def probe(cls) -> dict[str, Any]:
        """What the library that it needs tells of itself, once loaded; for the doctor, in a process
        of its own. Empty where it needs none or that is not installed."""
        return {}

    @abstractmethod
    def __init__(self, launch: Launch, devices: int, exchange: str) -> None:
        """Connect the ranks; ``devices`` is the world size. Raises HpcbenchError."""


class TensorFlowStrategy(Strategy):
    """How TensorFlow's compiled loop runs its steps and averages gradients."""

    def scope(self) -> AbstractContextManager[Any]:
        """Variables of the model and the optimizer are made in here."""
        return nullcontext()

    def copies(self, variable: "tf.Variable") -> "Sequence[tf.Variable]":
        """That of each replica of this process."""
        return (variable,)

    def place(self, make: "Callable[[int], tf.Tensor]") -> Any:
        """``make(replica)`` on each replica's device, to be given to :meth:`run`."""
        return make(0)

    def run(self, step: Callable[..., Any], *args: Any) -> "list[tf.Tensor]":
        """Inside the compiled loop: ``step(replica, *args)`` on each replica of this process.

        ``step`` returns a tuple of tensors; the result is their sums over the replicas.
        """
        return list(step(0, *args))

    def all_reduce_mean(self, tensors: "Sequence[tf.Tensor]") -> "list[tf.Tensor]":
        """Inside ``step``: the average of each tensor over all devices."""
        return list(tensors)


class TorchStrategy(Strategy):
    """How PyTorch's loop averages gradients, and who has which part of a tensor."""

    # Whether a device has but a part of weights, gradients and optimizer.
    shards: ClassVar[bool] = False

    def parallel(self, module: "torch.nn.Module", compression: str) -> "torch.nn.Module":
        """``module`` so that its backward pass averages gradients over all devices, rounded for
        that if ``compression`` is not none."""
        return module

    def all_reduce_mean_(self, tensor: "torch.Tensor") -> None:
        """Replace ``tensor`` by its average over all devices."""

    def unsynchronized(self, module: "torch.nn.Module") -> AbstractContextManager[Any]:
        """In here the backward pass of what :meth:`parallel` made averages nothing."""
        return nullcontext()

    def forget_others(self, module: "torch.nn.Module") -> None:
        """After passes that no backward pass follows: weights that others hold are theirs alone
        again."""

    def part(self, tensor: "torch.Tensor") -> "torch.Tensor":
        """What this device has of ``tensor``, in the same memory."""
        return tensor.detach()

    def whole(self, tensor: "torch.Tensor") -> "torch.Tensor":
        """All of ``tensor``; all devices have to ask for it."""
        return tensor.detach()

    def scatter(
        self, tensors: "Sequence[torch.Tensor]", values: Sequence[NDArray[Any]] | None
    ) -> None:
        """Give each device its part of rank 0's ``values``; only where devices have parts."""


class JaxStrategy(Strategy):
    """Over which devices JAX's compiled loop is sharded, and how it averages gradients along the
    axis ``devices`` of the mesh."""

    exchange: str = ""
    # Whether a device has but a part of the optimizer's state.
    shards_optimizer: ClassVar[bool] = False

    @property
    def mesh(self) -> "jax.sharding.Mesh":
        """All devices of the run, in the order of ranks."""
        import jax

        every = jax.devices() if self.processes > 1 else jax.local_devices()
        return jax.sharding.Mesh(every[: self.world_size], ("devices",))

    @property
    def local_mesh(self) -> "jax.sharding.Mesh":
        """This process's devices."""
        import jax

        return jax.sharding.Mesh(jax.local_devices()[: self.replicas], ("devices",))

    def all_reduce_mean(self, tensors: "Sequence[jax.Array]") -> "list[jax.Array]":
        """Inside the loop: the average of each of ``tensors``, of one type, over all devices."""
        import jax
        import jax.numpy as jnp

        if self.exchange != "flat":
            return [jax.lax.pmean(tensor, "devices") for tensor in tensors]
        flat = jax.lax.pmean(jnp.concatenate([tensor.ravel() for tensor in tensors]), "devices")
        ends = np.cumsum([tensor.size for tensor in tensors])[:-1]
        parts = jnp.split(flat, ends)
        return [part.reshape(like.shape) for part, like in zip(parts, tensors, strict=True)]


STRATEGIES: Registry[type[Strategy]] = Registry("strategy", __name__)


def devices_here(wanted: int | None, config: RunConfig, gpus: int, cores: int) -> int:
    """How many devices one process drives: ``wanted``, or all there are.

    Raises EnvironmentLacks where there are fewer.
    """
    there = gpus or cores // (config.cores_per_device or 1)
    devices = wanted or there
    if devices > there:
        kind = "GPUs" if gpus else f"CPU devices ({cores} cores)"
        raise EnvironmentLacks(f"--devices {devices} but this machine has {there} {kind}")
    return devices
