"""What Slurm's accounting lets this user's jobs have, where a cluster keeps one."""

import getpass
from collections.abc import Sequence
from dataclasses import dataclass

from hpcbench.cluster.survey import UNLIMITED, UserLimits, minutes
from hpcbench.process import output_of

# Large clusters answer slowly, and whoever asks waits for a file.
TIMEOUT = 20.0


@dataclass(frozen=True)
class Association:
    """This user's part in an account: the QoS that it may name, the one that it gets unnamed, and
    its limits as :class:`UserLimits` has them."""

    account: str
    qos: tuple[str, ...]
    default_qos: str
    minutes: float
    queued: float


def own_associations() -> tuple[Association, ...]:
    """Those of the caller; none where sacctmgr does not answer."""
    wanted = "account,qos,defaultqos,maxwall,maxsubmitjobs"
    rows = _table("associations", f"user={getpass.getuser()}", f"format={wanted}")
    return tuple(
        Association(
            account, tuple(filter(None, qos.split(","))), default, _minutes(wall), _limit(most)
        )
        for account, qos, default, wall, most in rows
    )


def user_limits(account: str | None, qos: str | None) -> UserLimits:
    """The tighter of those of the association and of its QoS, each by default what a job gets that
    names none; no limits where sacctmgr does not answer."""
    if account is None:
        default = _table("user", f"name={getpass.getuser()}", "format=defaultaccount")
        account = default[0][0] if default else None
    association = next((one for one in own_associations() if one.account == account), None)
    if association is None:
        return UserLimits()
    # A cluster's own is named so.
    name = qos or association.default_qos or "normal"
    found = UserLimits(name, association.minutes, association.queued)
    wanted = "name,maxwall,maxsubmitjobsperuser"
    for of_qos, wall, most in _table("qos", f"format={wanted}"):
        if of_qos == name:
            return UserLimits(
                name, min(found.minutes, _minutes(wall)), min(found.queued, _limit(most))
            )
    return found


def _table(*wanted: str) -> list[Sequence[str]]:
    answer = output_of("sacctmgr", "--noheader", "--parsable2", "show", *wanted, timeout=TIMEOUT)
    return [line.split("|") for line in (answer or "").splitlines() if line.strip()]


def _minutes(wall: str) -> float:
    return minutes(wall) if wall else UNLIMITED


def _limit(number: str) -> float:
    return float(number) if number.isdecimal() else UNLIMITED
