"""mpirun of Open MPI, which horovodrun calls too where Horovod runs over MPI."""

import os
import re
from collections.abc import Mapping, Sequence

from hpcbench.cluster.launchers import LAUNCHERS, Launch, Launcher, Placement, launch_of
from hpcbench.process import output_of
from hpcbench.process import program as path_of

# Open MPI's own names: what it is told, and what it tells its ranks.
YIELD_WHEN_IDLE = "OMPI_MCA_mpi_yield_when_idle"
BOUND_AT_LAUNCH = "OMPI_MCA_orte_bound_at_launch"
BINDING_POLICY = "OMPI_MCA_hwloc_base_binding_policy"

# Two numbers of a version have to agree; Open MPI promises no more between releases.
MPI_VERSION = re.compile(r"(Open MPI|MPICH|Intel\S* MPI)\D*(\d+\.\d+)")


def mpi_version(text: str) -> tuple[str, ...] | None:
    """MPI's name and version in what a launcher or a library says of itself."""
    match = MPI_VERSION.search(text)
    return match.groups() if match else None


class Mpirun(Launcher):
    name = "mpirun"
    precedence = 40
    connects_mpi = True

    def detect(self, environment: Mapping[str, str]) -> Launch | None:
        world, local = "OMPI_COMM_WORLD_", "OMPI_COMM_WORLD_LOCAL_"
        return launch_of(
            self.name,
            environment,
            f"{world}RANK",
            f"{world}SIZE",
            f"{local}RANK",
            f"{local}SIZE",
        )

    def command(self, program: Sequence[str], placement: Placement) -> list[str]:
        """Ranks bind themselves, since mpirun's own binding knows nothing of devices."""
        mapping = ["--map-by", f"ppr:{placement.per_node}:node"] if placement.in_job else []
        mpirun = path_of(self.name) or self.name
        return [
            *(mpirun, "-np", str(placement.ranks), *mapping),
            *("--bind-to", "none", "--oversubscribe", *program),
        ]

    def binds(self, environment: Mapping[str, str], cores: int) -> bool:
        return (
            BOUND_AT_LAUNCH in environment
            and environment.get(BINDING_POLICY) != "none"
            and cores < (os.cpu_count() or 1)
        )

    def refusal(self, library: str, mpi: str) -> str | None:
        ours = output_of(path_of(self.name) or self.name, "--version") or "no mpirun"
        if mpi_version(ours) == mpi_version(library):
            return None
        return (
            f"the host's {ours.splitlines()[0]} does not fit the image's {library}: each rank "
            f"would believe that it is alone; load the module of the same version, or use launcher "
            f"srun"
        )

    def mark(self, environment: Mapping[str, str]) -> str:
        return environment.get("OMPI_MCA_ess_base_jobid", "")


LAUNCHERS.add(Mpirun.name, Mpirun())
