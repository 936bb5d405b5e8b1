"""horovodrun over Gloo, on one node; over MPI it calls mpirun, and its ranks are mpirun's."""

from collections.abc import Mapping, Sequence

from hpcbench.cluster.launchers import LAUNCHERS, Launch, Launcher, Placement, launch_of
from hpcbench.errors import ConfigError
from hpcbench.process import program as path_of


class Horovodrun(Launcher):
    name = "horovodrun"
    precedence = 30

    def detect(self, environment: Mapping[str, str]) -> Launch | None:
        return launch_of(
            self.name,
            environment,
            "HOROVOD_RANK",
            "HOROVOD_SIZE",
            "HOROVOD_LOCAL_RANK",
            "HOROVOD_LOCAL_SIZE",
        )

    def command(self, program: Sequence[str], placement: Placement) -> list[str]:
        if placement.nodes > 1:
            raise ConfigError(
                f"horovodrun starts ranks on other nodes by ssh, so {placement.ranks} devices on "
                f"{placement.nodes} nodes want launcher srun or mpirun"
            )
        # On a machine without MPI it has to be told that there is Gloo.
        gloo = [] if path_of("mpirun") else ["--gloo"]
        horovodrun = path_of(self.name) or self.name
        return [horovodrun, *gloo, "-np", str(placement.ranks), *program]

    def mark(self, environment: Mapping[str, str]) -> str:
        return environment.get("HOROVOD_GLOO_RENDEZVOUS_PORT", "")


LAUNCHERS.add(Horovodrun.name, Horovodrun())
