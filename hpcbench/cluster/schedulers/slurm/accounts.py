"""What Slurm's accounting lets this user's jobs have, where a cluster keeps one."""

import getpass
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hpcbench.cluster.survey import UNLIMITED, UserLimits, minutes
from hpcbench.process import output_of

# Large clusters answer slowly, and whoever asks waits for a file.
TIMEOUT = 20.0


@dataclass(frozen=True)
class Association:
    """This user's part in an account: the QoS that it may name, the one that it gets unnamed, and
    its limits."""

    account: str
    qos: tuple[str, ...]
    default_qos: str
    limits: UserLimits


def own_associations() -> tuple[Association, ...]:
    """Those of the caller; none where sacctmgr does not answer."""
    wanted = "account,qos,defaultqos,maxwall,maxsubmitjobs,maxtres"
    rows = _table("associations", f"user={getpass.getuser()}", f"format={wanted}")
    return tuple(
        Association(
            account,
            tuple(filter(None, qos.split(","))),
            default,
            _of_resources(resources).tightened(
                UserLimits(minutes=_minutes(wall), queued=_limit(most))
            ),
        )
        for account, qos, default, wall, most, resources in rows
    )


def user_limits(account: str | None, qos: str | None, of_partition: str = "") -> UserLimits:
    """The tightest of those of the association, of its QoS, each by default what a job gets that
    names none, and of the QoS ``of_partition``; no limits where sacctmgr does not answer."""
    if account is None:
        default = _table("user", f"name={getpass.getuser()}", "format=defaultaccount")
        account = default[0][0] if default else None
    association = next((one for one in own_associations() if one.account == account), None)
    if association is None:
        return UserLimits()
    # A cluster's own is named so.
    name = qos or association.default_qos or "normal"
    found = replace(association.limits, qos=name)
    wanted = "name,maxwall,maxsubmitjobsperuser,maxtres,maxtresperuser,grptres"
    for of_qos, wall, most, *resources in _table("qos", f"format={wanted}"):
        if of_qos in (name, of_partition):
            found = found.tightened(UserLimits(of_qos, _minutes(wall), _limit(most)))
            for listed in resources:
                found = found.tightened(_of_resources(listed))
    return found


def _of_resources(listed: str) -> UserLimits:
    """Of one job, by what Slurm writes as ``cpu=4,gres/gpu=8,node=2``."""
    numbers = dict(each.partition("=")[::2] for each in listed.split(",") if each)
    nodes, cpus, gpus = (_limit(numbers.get(name, "")) for name in ("node", "cpu", "gres/gpu"))
    return UserLimits(nodes=nodes, cpus=cpus, gpus=gpus)


def _table(*wanted: str) -> list[Sequence[str]]:
    answer = output_of("sacctmgr", "--noheader", "--parsable2", "show", *wanted, timeout=TIMEOUT)
    return [line.split("|") for line in (answer or "").splitlines() if line.strip()]


def _minutes(wall: str) -> float:
    return minutes(wall) if wall else UNLIMITED


def _limit(number: str) -> float:
    return float(number) if number.isdecimal() else UNLIMITED
