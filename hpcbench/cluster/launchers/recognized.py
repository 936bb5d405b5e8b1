"""Launchers whose ranks are recognized by the variables that they set; none starts runs here."""

from collections.abc import Mapping, Sequence

from hpcbench.cluster.launchers import LAUNCHERS, Launch, Launcher, Placement, launch_of
from hpcbench.errors import ConfigError


class Recognized(Launcher):
    """A launcher by its variables: of rank, world size, local rank and local size, those that it
    does not set being empty."""

    starts = False
    connects_mpi = True

    def __init__(self, name: str, precedence: int, *variables: str) -> None:
        self.name = name  # type: ignore[misc]
        self.precedence = precedence  # type: ignore[misc]
        self._variables = variables

    def detect(self, environment: Mapping[str, str]) -> Launch | None:
        rank, size, local_rank, local_size = self._variables
        if local_rank and local_rank not in environment:
            return None
        return launch_of(self.name, environment, rank, size, local_rank, local_size)

    def command(self, program: Sequence[str], placement: Placement) -> list[str]:
        raise ConfigError(f"{self.name} starts no runs here; choose mpirun or srun")


class OfPytorch(Recognized):
    """Whoever sets PyTorch's own variables, as schedulers of containers do; of one rank they say
    nothing."""

    connects_mpi = False

    def detect(self, environment: Mapping[str, str]) -> Launch | None:
        alone = environment.get("WORLD_SIZE", "1") == "1"
        return None if alone else super().detect(environment)


MV2, JSM = "MV2_COMM_WORLD_", "JSM_NAMESPACE_"
for launcher in (
    # Below their own names they set PMI's too. MPICH's and Intel MPI's Hydra starts its proxies by
    # srun in a Slurm job, whose variables the ranks inherit.
    Recognized("pals", 27, "PALS_RANKID", "PMI_SIZE", "PALS_LOCAL_RANKID", "PALS_LOCAL_SIZE"),
    Recognized("flux", 27, "FLUX_TASK_RANK", "FLUX_JOB_SIZE", "FLUX_TASK_LOCAL_ID", ""),
    Recognized("jsrun", 27, f"{JSM}RANK", f"{JSM}SIZE", f"{JSM}LOCAL_RANK", f"{JSM}LOCAL_SIZE"),
    Recognized("mvapich2", 26, f"{MV2}RANK", f"{MV2}SIZE", f"{MV2}LOCAL_RANK", f"{MV2}LOCAL_SIZE"),
    Recognized("mpiexec", 25, "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    # Whoever else speaks PMI, or PMIx, which tells of the rank alone.
    Recognized("pmi", 10, "PMI_RANK", "PMI_SIZE", "", ""),
    Recognized("pmi-port", 9, "PMI_ID", "PMI_SIZE", "", ""),
    Recognized("pmix", 5, "PMIX_RANK", "", "", ""),
    OfPytorch("environment", 1, "RANK", "WORLD_SIZE", "", ""),
):
    LAUNCHERS.add(launcher.name, launcher)
