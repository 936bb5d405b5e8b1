"""Slurm: sbatch, squeue, scontrol, sinfo and srun; never sacct, which many sites switch off."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from hpcbench.cluster.schedulers import (
    SCHEDULERS,
    ArrayJob,
    Ending,
    Job,
    Request,
    Scheduler,
)
from hpcbench.cluster.schedulers.slurm import (
    commands,
    endings,
    environment,
    limits,
    partitions,
)
from hpcbench.cluster.survey import Partition, Survey, UserLimits


class Slurm(Scheduler):
    name = "slurm"

    def job(self, environment_: Mapping[str, str]) -> Job | None:
        return environment.job(environment_)

    def is_here(self) -> bool:
        return shutil.which("sinfo") is not None

    def array_command(self, array: ArrayJob) -> list[str]:
        return commands.array_command(array)

    def analysis_command(
        self,
        jobs: Sequence[str],
        folder: Path,
        request: Request | None,
        setup: Path | None = None,
    ) -> list[str]:
        return commands.analysis_command(jobs, folder, request, setup)

    def submit(self, command: Sequence[str]) -> str:
        return commands.submit(command)

    def queue(self) -> dict[str, str]:
        return commands.queue()

    def signal_ranks(self, job: Job, name: str) -> None:
        commands.signal_ranks(job, name)

    def ending(self, job: Job, printed: str = "") -> Ending | None:
        return endings.ending(job, printed)

    def has_whole_nodes(self, job: Job) -> bool | None:
        return commands.has_whole_nodes(job)

    def nodes(self, environment_: Mapping[str, str]) -> list[str]:
        return environment.nodes(environment_)

    def rank_hosts(self, environment_: Mapping[str, str]) -> list[str]:
        return environment.rank_hosts(environment_)

    def partitions(self) -> list[Partition] | None:
        return partitions.all_partitions()

    def max_array_size(self) -> int | None:
        return limits.max_array_size()

    def survey(self) -> Survey | None:
        return limits.survey()

    def user_limits(
        self, account: str | None, qos: str | None, partition: str | None
    ) -> UserLimits:
        return limits.user_limits(account, qos, partition)

    def refusal(self, command: Sequence[str]) -> str | None:
        return commands.refusal(command)

    def output_of_each_node(self, program: Sequence[str], nodes: int) -> str | None:
        return commands.output_of_each_node(program, nodes)


SCHEDULERS.add(Slurm.name, Slurm())
