"""Who starts the ranks of a run: one file a launcher, all behind the class Launcher.

Adding a launcher is adding one file (or one module of another package, by an entry point of the
group ``hpcbench.launchers``).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from hpcbench.errors import ConfigError
from hpcbench.registry import Registry


@dataclass(frozen=True)
class Launch:
    """A process's place among those that were started together; alone where no launcher is seen."""

    launcher: str = "none"
    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1


@dataclass(frozen=True)
class Placement:
    """Where the ranks of a run go: ``per_node`` on each of ``nodes`` nodes, ``ranks`` in all.

    ``gpus``: each has a GPU. ``mpi`` is how a launcher that offers several ways connects MPI's
    ranks. ``in_job``: inside a scheduler's job, which says on which nodes.
    """

    ranks: int
    per_node: int
    nodes: int = 1
    cores_per_rank: int = 1
    gpus: bool = False
    mpi: str = "pmix"
    in_job: bool = False


class Launcher(ABC):
    """Something that starts a program several times, and tells each which rank it is.

    Several launchers' variables can be seen at once, since ``mpirun`` inside a Slurm step leaves
    ``srun``'s: the one of the highest ``precedence`` started this process.
    """

    name: ClassVar[str]
    precedence: ClassVar[int]
    # Whether it can start runs; some are only recognized.
    starts: ClassVar[bool] = True
    # Whether all its ranks can speak MPI.
    connects_mpi: ClassVar[bool] = False

    @abstractmethod
    def detect(self, environment: Mapping[str, str]) -> Launch | None:
        """The launch that the environment tells of, None where it is not this launcher's.

        Raises ConfigError where its variables are set but are not numbers.
        """

    @abstractmethod
    def command(self, program: Sequence[str], placement: Placement) -> list[str]:
        """The command line that starts ``program`` so; ConfigError where it cannot."""

    def binds(self, environment: Mapping[str, str], cores: int) -> bool:
        """Whether it gave this rank cores of its own, as far as the environment says; ``cores`` are
        those that this process may run on."""
        return False

    def refusal(self, library: str, mpi: str) -> str | None:
        """Why it cannot start ranks of an MPI that calls itself ``library`` (by way of ``mpi``);
        None where nothing speaks against it. The sentence ends with what to choose instead."""
        return None

    def mark(self, environment: Mapping[str, str]) -> str:
        """What all ranks of a launch have in common, and those of another have not."""
        return ""


LAUNCHERS: Registry[Launcher] = Registry("launcher", __name__)


def detect(environment: Mapping[str, str]) -> Launch:
    """The launch that this process belongs to."""
    for launcher in sorted(LAUNCHERS, key=lambda known: known.precedence, reverse=True):
        if launch := launcher.detect(environment):
            return launch
    return Launch()


def launch_of(
    launcher: str,
    environment: Mapping[str, str],
    rank: str,
    size: str,
    local_rank: str,
    local_size: str,
) -> Launch | None:
    """The launch by the names of a launcher's variables; None where they are not set.

    Where it does not set the local ones, all ranks are taken to be on one host. Raises ConfigError
    where they are not numbers.
    """
    if rank not in environment or size not in environment:
        return None
    try:
        world = int(environment[size])
        return Launch(
            launcher,
            int(environment[rank]),
            world,
            int(environment.get(local_rank, environment[rank])),
            int(environment.get(local_size, world)),
        )
    except ValueError as error:
        raise ConfigError(
            f"{launcher}'s {rank}={environment[rank]!r} and {size}={environment[size]!r} are not a "
            f"rank and a world size"
        ) from error
