"""Whether the system killed processes because memory ran out."""

import re
from pathlib import Path, PurePosixPath

# Files that count it: the machine's, and in version 2 each control group's own.
MACHINE = Path("/proc/vmstat")
CGROUPS, MINE = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def oom_kills(machine: Path = MACHINE, cgroups: Path = CGROUPS, mine: Path = MINE) -> int:
    """How many it has killed so far of this job, or of this session where there is none; on this
    machine, whoever's they were, where control groups do not count. 0 where nothing does."""
    for counted in (cgroups / _job(_text(mine)) / "memory.events", machine):
        found = re.search(r"^oom_kill (\d+)", _text(counted), re.MULTILINE)
        if found:
            return int(found[1])
    return 0


def _job(memberships: str) -> str:
    """The control group of this process's job, by the kernel's list of those it is in: the one
    that Slurm names so, of which a step's and a task's are parts; else its own."""
    version_2 = re.search(r"^0::/(.+)$", memberships, re.MULTILINE)
    group = PurePosixPath(version_2[1] if version_2 else "nowhere")
    jobs = (outer for outer in group.parents if re.fullmatch(r"job_\d+", outer.name))
    return str(next(jobs, group))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
