"""Which cores a rank has: whole ones, as many as the others, and those of nobody else."""

import math
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbench.cluster.site import Site
from hpcbench.devices.background import BackgroundThreads
from hpcbench.devices.cores import Cores, available_cores, by_core, core_share, cpu_share
from hpcbench.devices.gpus import Gpu
from hpcbench.devices.near import near_rank, numbers
from hpcbench.devices.taken import CoresTaken, processor_seconds
from hpcbench.sweeps import task
from support import only_run, run, train


@st.composite
def machines(draw):
    """Hardware threads by core, numbered as kernels do: siblings side by side, or the first of
    each core and then the second."""
    cores, threads = draw(st.integers(1, 64)), draw(st.integers(1, 2))
    if draw(st.booleans()):
        return [[core + cores * thread for thread in range(threads)] for core in range(cores)]
    return [[core * threads + thread for thread in range(threads)] for core in range(cores)]


@given(machines(), st.integers(1, 80), st.none() | st.integers(1, 8))
def test_shares_are_equal_and_of_other_cores_while_there_are_enough(cores, ranks, wanted):
    shares = [core_share(cores, rank, ranks, wanted) for rank in range(ranks)]
    assert len({len(share) for share in shares}) == 1
    assert all(share for share in shares)
    used = [thread for share in shares for thread in share]
    if len(used) <= len([thread for core in cores for thread in core]):
        assert len(set(used)) == len(used), "no thread twice"
    if ranks * (wanted or 1) <= len(cores):
        of_core = {thread: number for number, core in enumerate(cores) for thread in core}
        owned = [{of_core[thread] for thread in share} for share in shares]
        assert sum(map(len, owned)) == len(set().union(*owned)), "no core has two ranks"
        if wanted:
            assert all(len(of_rank) == wanted for of_rank in owned), "a thread a core"


def test_threads_of_one_core_are_found_as_the_kernel_tells(tmp_path):
    for thread, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        folder = tmp_path / f"cpu{thread}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{siblings}\n")
    assert by_core(range(4), tmp_path) == [[0, 2], [1, 3]]
    assert by_core([1, 2, 3], tmp_path) == [[1, 3], [2]]
    assert by_core([7, 8], tmp_path) == [[7], [8]]
    # CPU, CORE of this very machine.
    listed = subprocess.run(["lscpu", "-p=CPU,CORE"], capture_output=True, text=True, check=True)
    cores = dict(line.split(",") for line in listed.stdout.splitlines() if line[0] != "#")
    here = available_cores()
    assert len(by_core(here)) == len({cores[str(thread)] for thread in here})


def test_a_device_says_what_it_is_of():
    for cores, devices, says in (
        (Cores(8, 8), 1, "(8 cores)"),
        (Cores(8, 8), 2, "(4 cores)"),
        (Cores(8, 4), 1, "(8 threads of 4 cores)"),
        (Cores(2, 1), 1, "(2 threads of 1 core)"),
        (Cores(1, 1, 4), 1, "(1/4 core)"),
    ):
        assert cpu_share(cores, devices).endswith(says)


def test_ranks_that_want_more_cores_than_there_are_share_them_equally():
    """Two ranks of two cores each on two: not both on the same two, nor any thread of theirs."""
    code = (
        "import os, sys, threading\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "from hpcbench.cluster.launchers import Launch\n"
        "from hpcbench.devices.cores import bind_cores\n"
        "os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])\n"
        "rank = int(sys.argv[1])\n"
        "print(bind_cores(Launch('pmi', rank, 2, rank, 2), 2, 1, True, {}).threads)\n"
        "threads = map(int, os.listdir('/proc/self/task'))\n"
        "print(*{str(os.sched_getaffinity(thread)) for thread in threads})\n"
    )
    first, second = (run([sys.executable, "-c", code, rank]) for rank in ("0", "1"))
    cores = [done.output.splitlines() for done in (first, second)]
    assert [count for count, _ in cores] == ["1", "1"]
    assert cores[0] != cores[1]
    assert [bound.count("{") for _, bound in cores] == [1, 1]
    assert "are more than the 2 that there are: each has 1 core" in first.errors
    assert second.errors == ""


@pytest.fixture
def two_sockets(tmp_path):
    """Four GPUs, of which the last two are near the first cores, as on some machines."""
    for bus, cores in (("17", "8-15"), ("3a", "8-15"), ("b1", "0-7"), ("ca", "0-7")):
        (tmp_path / f"0000:{bus}:00.0").mkdir()
        (tmp_path / f"0000:{bus}:00.0" / "local_cpulist").write_text(f"{cores}\n")
    return tmp_path, [
        Gpu(number, f"GPU-{number}", "A100", 1, 0, (), f"00000000:{bus.upper()}:00.0")
        for number, bus in enumerate(("17", "3a", "b1", "ca"))
    ]


def test_ranks_have_cores_near_their_gpus(two_sockets):
    pci, gpus = two_sockets

    def shares(own_of, ranks, threads=range(16)):
        found = [near_rank(own_of(r), gpus, r, ranks, threads, pci) for r in range(ranks)]
        if None in found:
            assert set(found) == {None}, "all ranks by it or none"
            return None
        return [core_share(by_core(near, pci), place, of, None) for near, place, of in found]

    far, close = [8, 9, 10, 11], [12, 13, 14, 15]
    assert shares(lambda _: gpus, 4) == [far, close, [0, 1, 2, 3], [4, 5, 6, 7]]
    assert shares(lambda rank: [gpus[rank]], 4) == [far, close, [0, 1, 2, 3], [4, 5, 6, 7]]
    assert shares(lambda _: gpus, 2) == [far, close]
    assert shares(lambda _: gpus[1:3], 2) == [[*range(8, 16)], [*range(8)]]
    assert shares(lambda _: gpus, 4, range(10, 16)) is None, "no core near the last two"
    assert shares(lambda _: gpus[:3], 4) is None, "two ranks would have one GPU"
    (pci / "0000:ca:00.0" / "local_cpulist").unlink()
    assert shares(lambda _: gpus, 4) is None
    assert near_rank([gpus[0]], [gpus[0]], 1, 4, range(16), pci) is None, "others are not seen"


def test_lists_of_the_kernel():
    assert numbers("0-3,8\n") == [0, 1, 2, 3, 8]
    assert numbers("\n") == numbers("0x3") == []


def test_what_others_took_of_cores_is_read_from_the_kernel():
    text = (
        "cpu  900 0 0 9000 0 0 0 0 0 0\n"
        "cpu0 100 10 20 5000 70 300 400 5 0 0\n"
        "cpu1 200 0 0 5000 0 0 0 0 0 0\n"
        "intr 5\n"
    )
    assert processor_seconds([0], text) == pytest.approx(1.35)
    assert processor_seconds([0, 1], text) == pytest.approx(3.35)
    assert math.isnan(processor_seconds([2], text))
    assert math.isnan(processor_seconds([0], "cpu0 1 2\n"))
    short = CoresTaken(1)
    assert math.isnan(short.share()), "too short a time"
    shared = CoresTaken(2)
    time.sleep(1.1)
    assert math.isnan(shared.share()), "whose work it is cannot be told"


def test_a_job_whose_cpus_share_cores_says_so(monkeypatch, capsys):
    site = Site(name="s", devices_per_node=1, cores_per_device=4, max_devices=1)
    monkeypatch.setattr(task, "available_cores", lambda: [0, 1, 2, 3])
    monkeypatch.setattr(task, "by_core", lambda _: [[0, 2], [1, 3]])
    task.tell_of_threads(site)
    assert "the 4 CPUs of this job on" in (said := capsys.readouterr().out)
    assert "are hardware threads of 2 cores" in said
    task.tell_of_threads(site.model_copy(update={"threads_per_core": 1}))
    assert not capsys.readouterr().out


WATCHED = """
import os, sys, threading, time, zlib
from hpcbench.cluster.site import Site
from hpcbench.devices.background import BackgroundThreads

def work(seconds):
    block, end = bytes(1 << 20), time.monotonic() + seconds
    while time.monotonic() < end:
        # Without Python's lock.
        zlib.crc32(block)

os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
busy = sys.argv[1] == "busy"
threading.Thread(target=work if busy else time.sleep, args=(1.2,), daemon=True).start()
watched = BackgroundThreads(1)
watched.find()
watched.begin()
work(0.5)
print(watched.end() / 0.5)
"""


def test_a_thread_that_never_rests_is_found_and_one_that_sleeps_is_not():
    def share(thread: str) -> float:
        return float(run([sys.executable, "-c", WATCHED, thread]).output)

    # Less where something else has the core too.
    assert 0.1 < share("busy") < 0.7
    assert share("asleep") == 0
    unknown = BackgroundThreads()
    unknown.find()
    unknown.begin()
    assert math.isnan(unknown.end())


@pytest.mark.slow
def test_a_run_beside_another_program_says_so(tmp_path):
    """One that burns the first core, on which the run is too."""
    core = available_cores()[0]
    burn = f"import os; os.sched_setaffinity(0, [{core}])\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", burn]) as burning:
        try:
            done = train(tmp_path, "--cores-per-device=1", "--seconds=3", "--model=fc-64")
        finally:
            burning.kill()
    assert done.status == 0, done.errors
    assert 0.3 < only_run(tmp_path)[1]["cores_taken_share"] < 0.9
