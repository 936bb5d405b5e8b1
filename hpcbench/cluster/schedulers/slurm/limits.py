"""What Slurm says beyond its partitions: how jobs ask for GPUs, memory and MPI."""

import re
from collections.abc import Mapping
from dataclasses import replace

from hpcbench.cluster.schedulers.slurm import accounts
from hpcbench.cluster.schedulers.slurm.accounts import TIMEOUT, own_associations
from hpcbench.cluster.schedulers.slurm.partitions import all_partitions
from hpcbench.cluster.survey import UNLIMITED, Partition, Survey, UserLimits
from hpcbench.process import output_of


def survey() -> Survey | None:
    """The cluster that this machine is of; None where its controller does not answer."""
    known = all_partitions(TIMEOUT)
    if known is None:
        return None
    config = settings(output_of("scontrol", "show", "config", timeout=TIMEOUT) or "")
    if not config:
        return None
    rules = output_of("scontrol", "show", "partition", "--oneliner", timeout=TIMEOUT) or ""
    select = config.get("SelectType", "")
    by_node = select.endswith(("cons_tres", "cray_aries"))
    own = own_associations()
    with_memory = "MEMORY" in config.get("SelectTypeParameters", "").upper()
    return Survey(
        cluster=config.get("ClusterName", ""),
        scheduler="slurm",
        version=config.get("SLURM_VERSION", ""),
        partitions=with_rules(known, rules, with_memory),
        max_array_size=_number(config.get("MaxArraySize", "")),
        mpi=mpi_types(output_of("srun", "--mpi=list", timeout=TIMEOUT) or ""),
        gpu_requests=("per-node", "gres") if by_node else ("gres",),
        accounts=tuple(dict.fromkeys(one.account for one in own)),
        qos=tuple(dict.fromkeys(name for one in own for name in one.qos)),
        whole_nodes=select.endswith("linear"),
    )


def user_limits(account: str | None, qos: str | None, partition: str | None) -> UserLimits:
    """As :func:`hpcbench.cluster.schedulers.slurm.accounts.user_limits`, on ``partition`` or on the
    default one."""
    named = ("scontrol", "show", "partition", "--oneliner", *([partition] if partition else []))
    rules = rules_of(output_of(*named, timeout=TIMEOUT) or "")
    here = next((of for of in rules.values() if partition or of.get("Default") == "YES"), {})
    return accounts.user_limits(account, qos, _own_qos(here))


def settings(answer: str) -> dict[str, str]:
    """What ``scontrol show config`` prints, by name."""
    pairs = (line.partition("=") for line in answer.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def with_rules(known: list[Partition], answer: str, with_memory: bool) -> list[Partition]:
    """``known``, with what ``scontrol show partition --oneliner`` adds to each.

    ``with_memory``: whether the cluster hands out memory as it does cores.
    """
    rules = rules_of(answer)
    of_known = {each.name: rules.get(each.name, {}) for each in known}
    # Partitions are many, and most have no QoS of their own.
    limits = {
        qos: accounts.user_limits(None, None, qos) for qos in map(_own_qos, of_known.values())
    }
    return [
        replace(_with_rules(each, of, with_memory), limits=limits[_own_qos(of)])
        for each, of in zip(known, of_known.values(), strict=True)
    ]


def rules_of(answer: str) -> dict[str, Mapping[str, str]]:
    """What ``scontrol show partition --oneliner`` prints, by partition."""
    lines = (
        dict(word.split("=", 1) for word in line.split() if "=" in word)
        for line in answer.splitlines()
    )
    return {line.get("PartitionName", ""): line for line in lines}


def _own_qos(rules: Mapping[str, str]) -> str:
    """The QoS whose limits all jobs of a partition have."""
    name = rules.get("QoS", "N/A")
    return "" if name == "N/A" else name


def _with_rules(partition: Partition, rules: Mapping[str, str], with_memory: bool) -> Partition:
    least = rules.get("MinNodes", "")
    default = rules.get("DefMemPerNode") or rules.get("DefMemPerCPU") or ""
    return replace(
        partition,
        qos=_names(rules.get("AllowQos", "")),
        accounts=_names(rules.get("AllowAccounts", "")),
        cpus_of_job=_number(rules.get("MaxCPUsPerNode", "")) or UNLIMITED,
        all_memory=with_memory and default == "UNLIMITED",
        min_nodes=_number(least) or 1,
    )


def _names(listed: str) -> tuple[str, ...]:
    return () if listed in ("", "ALL", "N/A", "(null)") else tuple(listed.split(","))


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def mpi_types(answer: str) -> tuple[str, ...]:
    """The types in what ``srun --mpi=list`` prints: one a line, between sentences."""
    return tuple(re.findall(r"^(?:srun: )?\s*(\w+)$", answer, re.MULTILINE))


def max_array_size() -> int | None:
    """MaxArraySize, which caps an array's index; None where Slurm does not say."""
    answer = output_of("scontrol", "show", "config", timeout=2.0) or ""
    return _number(settings(answer).get("MaxArraySize", ""))
