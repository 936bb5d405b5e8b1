"""srun, Slurm's own launcher."""

import re
from collections.abc import Mapping, Sequence

from hpcbench.cluster.launchers import LAUNCHERS, Launch, Launcher, Placement
from hpcbench.cluster.schedulers.slurm.environment import STEP_SIZE, is_bound, step
from hpcbench.errors import ConfigError
from hpcbench.process import output_of


class Srun(Launcher):
    name = "srun"
    precedence = 20
    of_scheduler = True

    def detect(self, environment: Mapping[str, str]) -> Launch | None:
        inner, size = (environment.get(n, "") for n in ("PMI_SIZE", STEP_SIZE))
        several = "PMI_RANK" in environment and inner.isdigit() and size.isdigit()
        if several and int(inner) > int(size):
            # Another launcher started more within this step, whose variables they inherit. Fewer
            # are those of a step around this one.
            return None
        try:
            found = step(environment)
        except ValueError as error:
            raise ConfigError(
                f"srun's variables are not a rank and a world size: {error}"
            ) from error
        if found is None:
            return None
        return Launch(self.name, found.rank, found.size, found.local_rank, found.local_size)

    def command(self, program: Sequence[str], placement: Placement) -> list[str]:
        a_node = placement.per_node * placement.gpus_per_rank
        ways = {
            "gres": f"--gres=gpu:{a_node}",
            "per-task": f"--gpus-per-task={placement.gpus_per_rank}",
        }
        per_node = f"--gpus-per-node={a_node}"
        gpus = [ways.get(placement.gpu_request, per_node)] if placement.gpus else []
        mpi = [f"--mpi={placement.mpi}"] if placement.mpi else []
        return [
            # Whatever the job itself was given of its submitter's environment (sbatch --export).
            *("srun", "--export=ALL", *mpi, f"--nodes={placement.nodes}"),
            *(f"--ntasks={placement.ranks}", f"--ntasks-per-node={placement.per_node}"),
            *(f"--cpus-per-task={placement.cores_per_rank}", *gpus, "--kill-on-bad-exit=1"),
            *(*placement.options, *program),
        ]

    def refusal(self, library: str, mpi: str) -> str | None:
        plugins = output_of("srun", "--mpi=list") or ""
        if re.search(rf"\b{re.escape(mpi)}(_v\d+)?\b", plugins):
            return None
        return (
            f"this Slurm starts no ranks by {mpi} (srun --mpi=list), which the image's {library} "
            f"wants; choose another mpi or launcher"
        )

    def binds(self, environment: Mapping[str, str], cores: int) -> bool:
        return is_bound(environment, cores)


LAUNCHERS.add(Srun.name, Srun())
