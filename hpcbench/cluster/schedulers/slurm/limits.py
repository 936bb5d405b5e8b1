"""What Slurm says beyond its partitions: how jobs ask for GPUs, memory and MPI."""

import re
from collections.abc import Mapping
from dataclasses import replace

from hpcbench.cluster.schedulers.slurm.accounts import TIMEOUT, own_associations
from hpcbench.cluster.schedulers.slurm.partitions import all_partitions
from hpcbench.cluster.survey import UNLIMITED, Partition, Survey
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


def settings(answer: str) -> dict[str, str]:
    """What ``scontrol show config`` prints, by name."""
    pairs = (line.partition("=") for line in answer.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def with_rules(known: list[Partition], answer: str, with_memory: bool) -> list[Partition]:
    """``known``, with what ``scontrol show partition --oneliner`` adds to each.

    ``with_memory``: whether the cluster hands out memory as it does cores.
    """
    lines = (
        dict(word.split("=", 1) for word in line.split() if "=" in word)
        for line in answer.splitlines()
    )
    rules: dict[str, Mapping[str, str]] = {line.get("PartitionName", ""): line for line in lines}
    return [
        _with_rules(partition, rules.get(partition.name, {}), with_memory) for partition in known
    ]


def _with_rules(partition: Partition, rules: Mapping[str, str], with_memory: bool) -> Partition:
    default = rules.get("DefMemPerNode") or rules.get("DefMemPerCPU") or ""
    return replace(
        partition,
        qos=_names(rules.get("AllowQos", "")),
        accounts=_names(rules.get("AllowAccounts", "")),
        cpus_of_job=_number(rules.get("MaxCPUsPerNode", "")) or UNLIMITED,
        all_memory=with_memory and default == "UNLIMITED",
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
