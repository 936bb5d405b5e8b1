"""mpiexec of MPICH and Intel MPI (Hydra): its ranks are recognized; it starts no runs here."""

from collections.abc import Mapping, Sequence

from hpcbench.cluster.launchers import LAUNCHERS, Launch, Launcher, Placement, launch_of
from hpcbench.errors import ConfigError


class Mpiexec(Launcher):
    name = "mpiexec"
    precedence = 10
    starts = False
    connects_mpi = True

    def detect(self, environment: Mapping[str, str]) -> Launch | None:
        return launch_of(
            self.name,
            environment,
            "PMI_RANK",
            "PMI_SIZE",
            "MPI_LOCALRANKID",
            "MPI_LOCALNRANKS",
        )

    def command(self, program: Sequence[str], placement: Placement) -> list[str]:
        raise ConfigError("mpiexec starts no runs here; choose mpirun or srun")


LAUNCHERS.add(Mpiexec.name, Mpiexec())
