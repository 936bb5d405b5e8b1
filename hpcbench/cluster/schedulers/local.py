"""No scheduler: this machine alone, on which runs are started one after the other."""

from collections.abc import Mapping

from hpcbench.cluster.schedulers import SCHEDULERS, Job, Scheduler


class Local(Scheduler):
    name = "local"
    queues = False

    def job(self, environment: Mapping[str, str]) -> Job | None:
        return None


SCHEDULERS.add(Local.name, Local())
