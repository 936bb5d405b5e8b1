"""A site's file written from what its scheduler says, with comments where somebody has to look."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from hpcbench.cluster.site import Site
from hpcbench.cluster.survey import UNLIMITED, NodeKind, Partition, Survey
from hpcbench.errors import ConfigError
from hpcbench.validation import parse, setting

# How srun's ranks can find each other, best first; without one of these mpirun starts them.
MPI_OF_SRUN = ("pmix", "cray_shasta")
LONGEST_MINUTES = 60.0
# What a reader of the file wants to see even where it is as ever, in this order.
SHOWN = (
    *("name", "cluster", "scheduler", "launcher", "mpi", "device", "gpu_type", "gpu_request"),
    *("devices_per_node", "cores_per_device", "threads_per_core", "max_devices", "time"),
    *("max_array_size", "exclusive", "sbatch_options", "account", "min_devices"),
)


class SeveralFit(ConfigError):
    """Several ``choices``, sentences by name, fit for ``option``; only the user knows which."""

    def __init__(self, option: str, choices: Mapping[str, str], what: str) -> None:
        self.option, self.choices = option, choices
        super().__init__(f"{what}: {'; '.join(choices.values())}; name one with --{option}")


@dataclass(frozen=True)
class Draft:
    """A site, what is to be said of some settings, and questions that nobody answered."""

    site: Site
    remarks: Mapping[str, str]
    questions: Sequence[str]

    def toml(self, head: Sequence[str]) -> str:
        """The site's file, under ``head`` as comments."""
        return "\n".join([*(f"# {line}" for line in head), *self._lines()]) + "\n"

    def _lines(self) -> Iterator[str]:
        hidden = {"mpi"} if self.site.launcher != "srun" else set()
        hidden |= {"gpu_request"} if self.site.device == "cpu" else set()
        for name in (name for name in SHOWN if name not in hidden):
            if name in self.remarks:
                yield f"# {self.remarks[name]}"
            yield from _setting(self.site, name)
        yield from (f"# ? {question}" for question in self.questions)
        for partition in self.site.partitions:
            yield "\n[[partitions]]"
            for name in type(partition).model_fields:
                yield from _setting(partition, name)


def _setting(of: BaseModel, name: str) -> Iterator[str]:
    value = getattr(of, name, None)
    if value not in (None, []):
        yield setting(name, value)


@dataclass(frozen=True)
class _Devices:
    """What the devices of a site are, and of which nodes: ``gpu_type`` "" of GPUs without one, None
    where sockets of CPUs are the devices."""

    gpu_type: str | None

    def of(self, node: NodeKind) -> int:
        return node.sockets if self.gpu_type is None else node.gpus.get(self.gpu_type, 0)

    def nodes(self, partition: Partition) -> list[NodeKind]:
        return [node for node in partition.kinds if node.usable and self.of(node)]

    def typical(self, partitions: Sequence[Partition]) -> NodeKind:
        """The node of the layout that most devices are in."""
        layouts: Counter[tuple[int, int, int]] = Counter()
        node_of = {}
        for partition in partitions:
            for node in self.nodes(partition):
                layout = (self.of(node), node.cores, node.threads)
                layouts[layout] += node.count * self.of(node)
                node_of[layout] = node
        return node_of[layouts.most_common(1)[0][0]]


def draft(
    survey: Survey, name: str, partitions: Sequence[str] = (), gpu_type: str | None = None
) -> Draft:
    """The site ``name`` on ``partitions``, or on the only one that fits.

    Raises SeveralFit where more than one fits, ConfigError where none does.
    """
    chosen = _chosen(survey, partitions)
    devices = _Devices(_gpu_type(chosen, gpu_type))
    for partition in chosen:
        if not devices.nodes(partition):
            raise ConfigError(f"partition {partition.name} has no usable node with such GPUs")
    node = devices.typical(chosen)
    ends = (min(partition.minutes, partition.limits.minutes) for partition in chosen)
    minutes = min(LONGEST_MINUTES, *ends)
    mpi = next((known for known in MPI_OF_SRUN if known in survey.mpi), None)
    of_site, left_out = _partitions(chosen, devices, node)
    if not of_site:
        raise ConfigError("; ".join(left_out))
    values = {
        "name": name,
        "cluster": survey.cluster or None,
        "scheduler": survey.scheduler,
        "launcher": "srun" if mpi else "mpirun",
        "mpi": mpi or "pmix",
        "device": "cpu" if devices.gpu_type is None else "gpu",
        "gpu_type": devices.gpu_type or None,
        "gpu_request": survey.gpu_requests[0],
        "devices_per_node": devices.of(node),
        "cores_per_device": _cores(node, chosen) // devices.of(node) or 1,
        # Two devices never share a core.
        "threads_per_core": 1 if node.threads > 1 else None,
        "max_devices": of_site[-1]["max_devices"],
        "account": _only(survey.accounts),
        "time": f"{int(minutes) // 60:02}:{int(minutes) % 60:02}:00",
        "max_array_size": survey.max_array_size or 1001,
        "exclusive": True if survey.whole_nodes else None,
        "sbatch_options": _memory(survey, chosen, node),
        "partitions": of_site,
    }
    remarks = {
        "launcher": f"srun --mpi=list: {', '.join(survey.mpi) or 'nothing'}",
        "devices_per_node": f"nodes of {node.cores} cores"
        + (", a socket a device" if devices.gpu_type is None else ""),
    }
    questions = [*left_out, *_questions(survey, chosen)]
    return Draft(parse(Site, values, flag=""), remarks, questions)


def _chosen(survey: Survey, names: Sequence[str]) -> list[Partition]:
    """The partitions of ``names``, else the only one with GPUs, else the only one."""
    known = {partition.name: partition for partition in survey.partitions}
    usable = [p for p in known.values() if p.state == "up" and any(k.usable for k in p.kinds)]
    for name in names:
        if name not in known:
            raise ConfigError(f"there is no partition {name}; choose from {', '.join(known)}")
        if known[name] not in usable:
            raise ConfigError(f"partition {name} is {known[name].state} and has no usable node")
    if names:
        return [known[name] for name in names]
    with_gpus = [p for p in usable if any(kind.usable and kind.gpus for kind in p.kinds)]
    fit = with_gpus or usable
    if not fit:
        raise ConfigError(f"no partition can be used now, of {', '.join(known) or 'none'}")
    if len(fit) > 1:
        what = f"several partitions {'have GPUs' if with_gpus else 'take jobs'}"
        raise SeveralFit("partition", {p.name: str(p) for p in fit}, what)
    return fit


def _gpu_type(chosen: Sequence[Partition], wanted: str | None) -> str | None:
    """The type of the GPUs of usable nodes, "" of those without one; None without GPUs."""
    types = sorted({t for p in chosen for kind in p.kinds if kind.usable for t in kind.gpus})
    if wanted is not None and wanted not in types:
        known = ", ".join(filter(None, types)) or "no type"
        raise ConfigError(f"no usable node has GPUs of type {wanted}; there are {known}")
    if wanted is None and len(types) > 1:
        raise SeveralFit(
            "gpu-type", {t: t or "no type" for t in types}, "the GPUs are of several types"
        )
    return wanted if wanted is not None else next(iter(types), None)


def _cores(node: NodeKind, chosen: Sequence[Partition]) -> int:
    """How many cores of such a node a job may have on any of the partitions."""
    return int(min(node.cores, *(p.cpus_of_job / node.threads for p in chosen)))


def _memory(survey: Survey, chosen: Sequence[Partition], node: NodeKind) -> list[str]:
    """A share of memory with each CPU, where a job would else hold its node's whole memory."""
    if survey.whole_nodes or not any(partition.all_memory for partition in chosen):
        return []
    return [f"--mem-per-cpu={node.megabytes // node.cpus}M"]


def _only(names: Sequence[str]) -> str | None:
    return names[0] if len(names) == 1 else None


def _partitions(
    chosen: Sequence[Partition], devices: _Devices, node: NodeKind
) -> tuple[list[dict[str, Any]], list[str]]:
    """The site's partitions, each for the counts that those before it do not take; and those that
    are left with none."""
    found: list[dict[str, Any]] = []
    idle = []
    a_node = devices.of(node)
    cores = _cores(node, chosen) // a_node * node.threads
    sizes = {}
    for each in chosen:
        there = min(sum(n.count for n in devices.nodes(each)), each.max_nodes, each.limits.nodes)
        gpus = each.limits.gpus if devices.gpu_type is not None else UNLIMITED
        sizes[each.name] = int(min(there * a_node, each.limits.cpus // max(cores, 1), gpus))
    for partition in sorted(chosen, key=lambda partition: sizes[partition.name]):
        largest = sizes[partition.name]
        smallest = max(
            found[-1]["max_devices"] + 1 if found else 1,
            (partition.min_nodes - 1) * a_node + 1,
        )
        if largest < smallest:
            idle.append(
                f"{partition.name} takes no more devices than those before it: left out"
                if found
                else f"{partition.name} takes {smallest} devices at least, and of yours {largest} "
                f"at most: left out"
            )
            continue
        found.append(
            {
                "name": partition.name,
                "min_devices": smallest,
                "max_devices": largest,
                "account": _only(partition.accounts),
                "qos": _only(partition.qos),
                "exclusive": _exclusive(partition, node),
            }
        )
    return found, idle


def _exclusive(partition: Partition, node: NodeKind) -> bool | None:
    """Whether its jobs hold whole nodes, where that is not for the job to say."""
    if partition.whole_nodes:
        return True
    # --exclusive would ask for more of a node than a job may have.
    return False if partition.cpus_of_job < node.cpus else None


def _questions(survey: Survey, chosen: Sequence[Partition]) -> Iterator[str]:
    for wanted, names in (("account", survey.accounts), ("qos", survey.qos)):
        if len(names) > 1:
            yield f"{wanted} = one of {', '.join(names)}"
    for partition in chosen:
        for wanted, names in (("account", partition.accounts), ("qos", partition.qos)):
            if len(names) > 1:
                yield f"{wanted} of {partition.name} = one of {', '.join(names)}"
        away = sum(node.count for node in partition.kinds if not node.usable)
        if away:
            yield f"{partition.name}: not counted are {away} nodes that cannot be used now"
    yield 'setup = what a job has to read first, as ["module load openmpi"]'
