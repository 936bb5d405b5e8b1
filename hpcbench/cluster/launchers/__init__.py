"""Who starts the ranks of a run: one file a launcher, all behind the class Launcher.

Adding a launcher is adding one file (or one module of another package, by an entry point of the
group ``hpcbench.launchers``).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from hpcbench.cluster.place import HOSTS, local_place, world_size
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

    @property
    def name(self) -> str:
        """This process in a sentence."""
        return f"rank {self.rank} of {self.size}"


@dataclass(frozen=True)
class Placement:
    """Where the ranks of a run go: ``per_node`` on each of ``nodes`` nodes, ``ranks`` in all.

    ``gpus``: each has ``gpus_per_rank`` GPUs, asked for as the site takes it. ``mpi`` is how a
    launcher that offers several ways connects MPI's ranks, empty to leave it to the launcher;
    ``options`` are the site's own for it. ``in_job``: inside a scheduler's job, which says on which
    nodes.
    """

    ranks: int
    per_node: int
    nodes: int = 1
    cores_per_rank: int = 1
    gpus: bool = False
    gpus_per_rank: int = 1
    gpu_request: str = "per-node"
    mpi: str = "pmix"
    options: Sequence[str] = ()
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
    # Whether it is the scheduler's own, which then knows where its ranks are.
    of_scheduler: ClassVar[bool] = False
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
    """The launch by the names of a launcher's variables; None where its rank is not set.

    A name that is empty or not set is made up for by what the ranks tell each other. Raises
    ConfigError where they cannot, and where the values are no rank and world size.
    """
    if rank not in environment:
        return None
    try:
        place, local = int(environment[rank]), environment.get(local_rank)
        world = int(environment.get(size) or world_size(rank, place, environment))
        if local is not None and local_size in environment:
            found = int(local), int(environment[local_size])
        else:
            found = local_place(launcher, place, world, environment)
            if local is not None and int(local) != found[0]:
                raise ConfigError(
                    f"{local_rank}={local} of rank {place} is another place on its host than "
                    f"{HOSTS} or MPI says, {found[0]} of {found[1]}"
                )
        if not (0 <= found[0] < found[1] <= world and found[0] <= place < world):
            raise ValueError
    except ValueError as error:
        values = (
            f"{n}={environment[n]!r}"
            for n in (rank, size, local_rank, local_size)
            if n in environment
        )
        raise ConfigError(
            f"{launcher}'s {', '.join(values)} are not a rank and a world size"
        ) from error
    return Launch(launcher, place, world, *found)
