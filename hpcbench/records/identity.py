"""What a row belongs to: the first columns of all files, made in one place from a configuration."""

from dataclasses import dataclass, fields

from hpcbench.config import RunConfig
from hpcbench.models import MODELS
from hpcbench.programs.config import ProgramConfig
from hpcbench.schedule import batches

# What a result does not say.
UNKNOWN = "unknown"
# What has no meaning for a run, such as how a CPU calculates for one on a GPU.
NONE = "none"
SYNTHETIC = "synthetic"
# The columns that tell one run from all others.
RUN = ["sweep", "run_id"]
# What a program of one's own does as it likes, and what it is as framework and strategy.
OWN, PROGRAM = "its own", "program"


@dataclass(frozen=True)
class Identity:
    """Says which run a row belongs to; the first columns of all files.

    ``dataset`` is the data set's title; ``cpu_math`` how a CPU calculates: library, instruction set
    and threads of a device. Those two, ``nodes`` and ``device_kind`` are known once a run has
    started, all others by its configuration.
    """

    run_id: str
    sweep: str
    model: str
    dataset: str
    framework: str
    strategy: str
    devices: int
    nodes: int
    device_kind: str
    cpu_math: str
    scaling: str
    batch_per_device: int
    global_batch: int
    precision: str
    xla: bool
    input: str
    exchange: str
    seed: int
    repeat: int

    @classmethod
    def of(
        cls,
        config: RunConfig,
        sweep: str,
        *,
        world_size: int | None = None,
        title: str = "",
        nodes: int = 0,
        device_kind: str = UNKNOWN,
        cpu_math: str = UNKNOWN,
    ) -> "Identity":
        """The identity of a run with this configuration; what is not given is not known yet.

        ``world_size`` is in copies of the model, by default as many as devices; ``title`` the data
        set's, by default its name. Raises ConfigError for a model that is not known here, or a
        batch that cannot be shared.
        """
        devices = config.devices or 1
        batch_per_device, global_batch = batches(config, world_size or devices)
        repeat = config.repeat or 0
        return cls(
            run_id=config.run_id,
            sweep=sweep,
            model=MODELS[config.model].name,
            dataset=SYNTHETIC if config.input == SYNTHETIC else title or config.dataset,
            framework=config.framework,
            strategy=config.strategy,
            devices=devices,
            nodes=nodes,
            device_kind=device_kind,
            cpu_math=cpu_math,
            scaling=config.scaling,
            batch_per_device=batch_per_device,
            global_batch=global_batch,
            precision=config.precision,
            xla=config.xla,
            input=config.input + ("" if config.augment == "none" else f", {config.augment}"),
            exchange=config.exchange or NONE,
            seed=repeat if config.seed is None else config.seed,
            repeat=repeat,
        )

    @classmethod
    def of_program(
        cls,
        config: ProgramConfig,
        sweep: str,
        *,
        nodes: int = 0,
        device_kind: str = UNKNOWN,
        precision: str = UNKNOWN,
        batch: int = 0,
    ) -> "Identity":
        """The identity of a run of a program of one's own; ``batch`` of a device, if that was seen,
        else what was asked for. Raises ConfigError for one that cannot be shared."""
        seen = batch, batch * config.devices
        per_device, of_all = seen if batch else config.batches or seen
        return cls(
            run_id=config.run_id,
            sweep=sweep,
            model=config.name,
            dataset=config.data,
            framework=PROGRAM,
            strategy=PROGRAM,
            devices=config.devices,
            nodes=nodes,
            device_kind=device_kind,
            cpu_math=UNKNOWN,
            scaling=config.scaling,
            batch_per_device=per_device,
            global_batch=of_all,
            precision=precision,
            xla=False,
            input=OWN,
            exchange=OWN,
            seed=config.seed if config.seed is not None else config.repeat or 0,
            repeat=config.repeat or 0,
        )


IDENTITY = tuple(field.name for field in fields(Identity))
