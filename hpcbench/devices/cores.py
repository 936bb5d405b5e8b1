"""CPU cores: which this process may use, and its share of them, to which it is bound.

So that 1 -> 2 devices compares like with like.
"""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

from hpcbench.cluster.launchers import LAUNCHERS, Launch
from hpcbench.cluster.launchers.mpirun import YIELD_WHEN_IDLE
from hpcbench.cluster.place import start_mpi
from hpcbench.devices.gpus import chosen, list_gpus, visible_gpus
from hpcbench.devices.near import near_rank
from hpcbench.errors import EnvironmentLacks
from hpcbench.terminal import warn
from hpcbench.words import count

# Where the kernel says which hardware threads are of one core.
CPUS = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Cores:
    """This process's hardware threads (the kernel's CPUs, mostly a core each), of how many cores
    they are, and with how many processes it shares each of these."""

    threads: int
    cores: int
    processes_per_core: int = 1


def available_cores() -> list[int]:
    """The hardware threads that this process may run on now."""
    return sorted(os.sched_getaffinity(0))


def by_core(threads: Iterable[int], cpus: Path = CPUS) -> list[list[int]]:
    """``threads`` by the core that they are of; each a core where the kernel does not say."""
    cores: dict[str, list[int]] = {}
    for thread in threads:
        try:
            path = cpus / f"cpu{thread}" / "topology" / "thread_siblings_list"
            siblings = path.read_text(encoding="utf-8")
        except OSError:
            siblings = str(thread)
        cores.setdefault(siblings.strip(), []).append(thread)
    return list(cores.values())


def core_share(
    cores: list[list[int]], local_rank: int, local_size: int, wanted: int | None
) -> list[int]:
    """The hardware threads of local rank ``local_rank``, of those of ``cores``: ``wanted`` of
    them, each of another core where these suffice, or all of an equal share of cores.

    No two ranks have one core while there are enough; with more ranks than cores a rank gets one
    hardware thread, which it shares where there are more ranks than those.
    """
    if wanted and wanted * local_size <= len(cores):
        places = [core[0] for core in cores]
    elif wanted or local_size <= len(cores):
        places = list(chain.from_iterable(cores))
    else:
        # The first of each core, then the second.
        levels = chain.from_iterable(zip_longest(*cores))
        places = [thread for thread in levels if thread is not None]
    if not wanted and local_size <= len(cores):
        width = len(cores) // local_size
        mine = cores[local_rank * width : (local_rank + 1) * width]
        return sorted(chain.from_iterable(mine))
    width = min(wanted or 1, len(places))
    return [places[(local_rank * width + i) % len(places)] for i in range(width)]


def bind_cores(
    launch: Launch,
    cores_per_device: int | None,
    devices: int,
    process_per_device: bool,
    environment: Mapping[str, str] = os.environ,
) -> Cores:
    """Bind this process to the cores of its ``devices``, unless the launcher did.

    Has to come before the framework computes, whose threads inherit the binding, and before MPI
    starts.
    Where a host's ranks want more cores than there are, each has an equal share. Ranks on GPUs have
    cores near theirs.
    """
    threads = available_cores()
    cores = by_core(threads)
    processes_per_core = 1
    if process_per_device:
        local_rank, local_size = launch.local_rank, launch.local_size
        bound = launch.launcher in LAUNCHERS and LAUNCHERS[launch.launcher].binds(
            environment, len(threads)
        )
        if local_size > len(cores) and not bound:
            # Open MPI spins while it waits; with several ranks to a core that starves the others.
            processes_per_core = -(-local_size // len(cores))
            os.environ[YIELD_WHEN_IDLE] = "1"
            if launch.rank == 0:
                warn(
                    f"{local_size} ranks share {len(cores)} cores of this machine: such numbers "
                    f"show how ranks get in each other's way, not how training scales"
                )
        elif local_size > 1 and (
            _sets_differ(launch, threads) if launch.launcher == "mpirun" else bound
        ):
            local_rank, local_size = 0, 1
        wanted = cores_per_device
        if wanted and wanted * local_size > len(threads):
            wanted = None
            share = count(max(1, len(cores) // local_size), "core")
            if launch.rank == 0 and processes_per_core == 1:
                warn(
                    f"--cores-per-device {cores_per_device} on {count(local_size, 'rank')} of this "
                    f"host are more than the {len(threads)} that there are: each has {share}"
                )
        near = None
        if local_size > 1 and processes_per_core == 1:
            near = _near_gpu(local_rank, local_size, threads, environment)
        if near:
            threads, local_rank, local_size = near
            cores = by_core(threads)
            wanted = wanted if wanted and wanted * local_size <= len(threads) else None
        threads = core_share(cores, local_rank, local_size, wanted)
    elif cores_per_device:
        threads = core_share(cores, 0, 1, cores_per_device * devices)
    for thread in _own_threads():
        with suppress(ProcessLookupError):
            os.sched_setaffinity(thread, threads)
    os.environ.setdefault("OMP_NUM_THREADS", str(len(threads)))
    return Cores(len(threads), len(by_core(threads)), processes_per_core)


def _own_threads() -> list[int]:
    """Those that this process has: numerical libraries start some as they are imported."""
    return [int(thread) for thread in os.listdir("/proc/self/task")]


def _near_gpu(
    local_rank: int, local_size: int, threads: list[int], environment: Mapping[str, str]
) -> tuple[list[int], int, int] | None:
    """As :func:`near_rank`; None without a GPU, or where its driver does not answer."""
    if visible_gpus(environment) == 0:
        return None
    try:
        every = list_gpus()
    except EnvironmentLacks:
        return None
    return near_rank(chosen(every, environment), every, local_rank, local_size, threads)


def _sets_differ(launch: Launch, threads: list[int]) -> bool:
    """Whether MPI's ranks of this node came with different cores: its own word for what it bound
    them to may be a socket that all of them share."""
    mpi = start_mpi(launch.name)
    if mpi is None:
        return False
    node = mpi.COMM_WORLD.Split_type(mpi.COMM_TYPE_SHARED)
    sets = node.allgather(tuple(threads))
    node.Free()
    return len(set(sets)) > 1


def cpu_name() -> str:
    """The processor's name as the kernel gives it."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return os.uname().machine


def cpu_share(cores: Cores, devices: int = 1) -> str:
    """The name of a CPU device of this process with so many, as it stands in every row.

    It says the share's size, since rates of shares of another size are not comparable.
    """
    threads, whole = cores.threads // devices, max(1, cores.cores // devices)
    share = count(whole, "core")
    if cores.processes_per_core > 1:
        share = f"1/{cores.processes_per_core} core"
    elif threads > whole:
        share = f"{count(threads, 'thread')} of {share}"
    return f"{cpu_name()} ({share})"


# oneDNN's names of instruction sets, each wider than the last, by the flags of the kernel that it
# wants beside those before (oneDNN, "CPU Dispatcher Control").
_INSTRUCTIONS = (
    ("SSE41", {"sse4_1"}),
    ("AVX", {"avx"}),
    ("AVX2", {"avx2"}),
    ("AVX512_CORE", {"avx512f", "avx512bw", "avx512vl", "avx512dq"}),
    ("AVX512_CORE_VNNI", {"avx512_vnni"}),
    ("AVX512_CORE_BF16", {"avx512_bf16"}),
    ("AVX512_CORE_FP16", {"avx512_fp16", "avx_vnni"}),
    ("AVX512_CORE_AMX", {"amx_tile", "amx_int8", "amx_bf16"}),
)
# What limits it to less than the processor has.
INSTRUCTION_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")


def instruction_set(environment: Mapping[str, str] = os.environ, flags: str | None = None) -> str:
    """The widest instruction set that oneDNN uses here, by its name; the machine's where it is not
    an x86 processor. ``flags`` are the processor's, as the kernel writes them."""
    known = _cpu_flags() if flags is None else set(flags.split())
    widest = ""
    for name, wanted in _INSTRUCTIONS:
        if not wanted <= known:
            break
        widest = name
        if any(environment.get(limit, "").upper() == name for limit in INSTRUCTION_LIMITS):
            break
    return widest or os.uname().machine


def _cpu_flags() -> set[str]:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("flags"):
            return set(line.split(":", 1)[1].split())
    return set()
