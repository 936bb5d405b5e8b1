"""torchrun, PyTorch's launcher, on one node."""

from collections.abc import Mapping, Sequence

from hpcbench.cluster.launchers import LAUNCHERS, Launch, Launcher, Placement, launch_of
from hpcbench.errors import ConfigError
from hpcbench.process import program as path_of

# Scripts export RANK and WORLD_SIZE too; torchrun alone names its run.
RUN_ID = "TORCHELASTIC_RUN_ID"


class Torchrun(Launcher):
    name = "torchrun"
    precedence = 50

    def detect(self, environment: Mapping[str, str]) -> Launch | None:
        if RUN_ID not in environment:
            return None
        return launch_of(
            self.name, environment, "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"
        )

    def command(self, program: Sequence[str], placement: Placement) -> list[str]:
        if placement.nodes > 1:
            raise ConfigError(
                f"torchrun is started once a node, so {placement.ranks} devices on "
                f"{placement.nodes} nodes want launcher srun or mpirun"
            )
        torchrun = path_of(self.name) or self.name
        return [torchrun, f"--nproc-per-node={placement.ranks}", "--no-python", *program]

    def mark(self, environment: Mapping[str, str]) -> str:
        return environment.get(RUN_ID, "")


LAUNCHERS.add(Torchrun.name, Torchrun())
