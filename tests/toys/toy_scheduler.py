"""A scheduler in one file: a queue that runs each job at once, and is empty after that."""

import os
import subprocess
import sys

from hpcbench.cluster.schedulers import SCHEDULERS, Allocation, Job, Scheduler


class ToyQueue(Scheduler):
    name = "toy-queue"

    def job(self, environment):
        number = environment.get("TOY_JOB")
        index = environment.get("TOY_INDEX", "")
        return number and Job(
            self.name,
            f"{number}.{index}",
            number,
            index,
            allocation=Allocation(1, os.cpu_count()),
            facts={"TOY_JOB_ID": number},
        )

    def is_here(self):
        return True

    def array_command(self, array):
        return ["array", str(array.tasks), str(array.record)]

    def analysis_command(self, jobs, folder, request, setup=None):
        return ["plot", str(folder)]

    def submit(self, command):
        job = str(os.getpid())
        if command[0] == "plot":
            program = [sys.executable, "-m", "hpcbench.plot", command[1]]
            subprocess.run([*program, "--output", f"{command[1]}/figures"], check=True)
            return job
        for index in range(int(command[1])):
            task = [sys.executable, "-m", "hpcbench.sweeps.task", f"--record={command[2]}"]
            here = {"TOY_JOB": job, "TOY_INDEX": str(index)}
            subprocess.run(task, env=os.environ | here, check=False)
        return job


SCHEDULERS.add(ToyQueue.name, ToyQueue())
