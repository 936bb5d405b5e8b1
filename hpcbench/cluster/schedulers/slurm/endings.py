"""How Slurm says that a job or a step ended, by the job's state and by what it prints of a step."""

import re

from hpcbench.cluster.schedulers import Ending, Job
from hpcbench.process import output_of

# JobState of scontrol; of others nothing can be told.
STATES = {
    "CANCELLED": Ending("cancelled", "its job was cancelled"),
    "DEADLINE": Ending("timeout", "its job's deadline came"),
    "NODE_FAIL": Ending("node-lost", "a node of its job failed"),
    "OUT_OF_MEMORY": Ending("out-of-memory", "its job had more memory than Slurm gave it"),
    "PREEMPTED": Ending("preempted", "another job took its nodes"),
    "TIMEOUT": Ending("timeout", "its job's time limit came"),
}
# Reason of scontrol, of a job that is COMPLETING while what it started still ends.
REASONS = {
    "None": STATES["CANCELLED"],
    "NodeDown": STATES["NODE_FAIL"],
    "TimeLimit": STATES["TIMEOUT"],
}
# srun and slurmstepd. A step that is cancelled for no reason of these had a rank that died.
OOM = re.compile(
    r"Detected \d+ oom[-_]kill event|: Out Of Memory|Exceeded (?:job|step) memory limit"
)
NODE = re.compile(r"srun: error: Node failure on (\S+)|CANCELLED AT \S+ DUE TO NODE FAILURE")
LIMIT = re.compile(r"CANCELLED AT \S+ DUE TO TIME LIMIT")
PREEMPTED = re.compile(r"CANCELLED AT \S+ DUE TO PREEMPTION")


def ending(job: Job, printed: str) -> Ending | None:
    """By what was ``printed`` of a step of ``job``, else by the state of the job."""
    return of_step(printed) or (of_state(job.task) if job.task else None)


def of_step(printed: str) -> Ending | None:
    """What Slurm printed between a program's own lines."""
    if OOM.search(printed):
        return Ending("out-of-memory", "the system killed a rank that had more memory than allowed")
    if lost := NODE.search(printed):
        return Ending("node-lost", f"node {lost[1]} failed" if lost[1] else "a node failed")
    if LIMIT.search(printed):
        return STATES["TIMEOUT"]
    return STATES["PREEMPTED"] if PREEMPTED.search(printed) else None


def of_state(task: str) -> Ending | None:
    """What scontrol says of a job that is just ending; None while it runs, or without a word."""
    shown = output_of("scontrol", "show", "--oneliner", "job", task, timeout=5)
    found = re.search(r"\bJobState=([A-Z_]+)\S* Reason=(\S+)", shown or "")
    if found is None:
        return None
    return REASONS.get(found[2]) if found[1] == "COMPLETING" else STATES.get(found[1])
