"""Ranks, GPUs and cores, read from the environment."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbench.cluster.launchers import LAUNCHERS, Launch, detect
from hpcbench.cluster.rendezvous import rank_hosts
from hpcbench.cluster.schedulers.slurm.nodes import expanded, node_of_each_task
from hpcbench.devices.gpus import visible_gpus
from hpcbench.errors import ConfigError, EnvironmentLacks
from hpcbench.runs.agreement import refuse_shared_gpus, refuse_wrong_places, told_apart
from hpcbench.strategies.multiworker import tf_config

MPIRUN = {
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}
SRUN = {
    "SLURM_PROCID": "5",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
}


def test_launchers_are_recognized():
    assert detect(MPIRUN) == Launch("mpirun", 3, 4, 1, 2)
    assert detect(SRUN) == Launch("srun", 5, 8, 1, 4)
    # A batch script's own shell has a rank but no step: nothing was launched.
    assert detect({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}) == Launch("none")


PALS = {"PALS_RANKID": "5", "PMI_SIZE": "8", "PALS_LOCAL_RANKID": "1", "PALS_LOCAL_SIZE": "4"}
HYDRA = {"PMI_RANK": "5", "PMI_SIZE": "8", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "4"}
MV2 = "MV2_COMM_WORLD_"
MVAPICH = {f"{MV2}RANK": "5", f"{MV2}SIZE": "8", f"{MV2}LOCAL_RANK": "1", f"{MV2}LOCAL_SIZE": "4"}
FLUX = {"FLUX_TASK_RANK": "5", "FLUX_JOB_SIZE": "8", "FLUX_TASK_LOCAL_ID": "1"}
PMI = {"PMI_RANK": "5", "PMI_SIZE": "8"}
NAMED = {"HPCBENCH_HOSTS": "n1:4,n2:4"}


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        (PALS | {"PMI_RANK": "5"}, "pals"),
        (HYDRA, "mpiexec"),
        # Hydra's proxies are tasks of srun's, one a node, whose variables the ranks inherit.
        (HYDRA | SRUN | {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}, "mpiexec"),
        (MVAPICH | PMI, "mvapich2"),
        (FLUX | PMI | NAMED, "flux"),
        (PMI | NAMED, "pmi"),
        ({"PMI_ID": "5", "PMI_SIZE": "8"} | NAMED, "pmi-port"),
        (SRUN | PMI, "srun"),
        # Left of a step around this one.
        (SRUN | {"PMI_RANK": "0", "PMI_SIZE": "1"}, "srun"),
        # Started within a step of two tasks, whose variables it inherits.
        (SRUN | {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"} | PMI | NAMED, "pmi"),
        ({"RANK": "5", "WORLD_SIZE": "8"} | NAMED, "environment"),
    ],
)
def test_launchers_of_other_machines_are_recognized(environment, name):
    assert detect(environment) == Launch(name, 5, 8, 1, 4)


def numbered(*names):
    return lambda *values: {name: str(value) for name, value in zip(names, values, strict=True)}


STEP = {"SLURM_STEP_NUM_TASKS": "5", "SLURM_STEP_TASKS_PER_NODE": "3,2"}


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        (STEP | numbered("SLURM_PROCID", "SLURM_NODEID", "SLURM_LOCALID")(9, 1, 1), "task 9 of 5"),
        (STEP | numbered("SLURM_PROCID", "SLURM_NODEID", "SLURM_LOCALID")(-1, 0, 0), "task -1"),
        (STEP | numbered("SLURM_PROCID", "SLURM_NODEID", "SLURM_LOCALID")(4, 1, 2), "2 of 2 on"),
        (STEP | numbered("SLURM_PROCID", "SLURM_NODEID", "SLURM_LOCALID")(4, 7, 1), "node 7 of 2"),
        (
            {"SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_TASKS_PER_NODE": ""}
            | numbered("SLURM_PROCID", "SLURM_NODEID", "SLURM_LOCALID")(4, 1, 0),
            "TASKS_PER_NODE is not set, and this is not the first node",
        ),
        (STEP | {"SLURM_PROCID": "1", "SLURM_STEP_TASKS_PER_NODE": "2(x2)"}, "4 tasks in all"),
        (FLUX | {"HPCBENCH_HOSTS": "a:6,b:2"}, "FLUX_TASK_LOCAL_ID=1 of rank 5 is another place"),
    ],
)
def test_places_that_cannot_be_are_refused(environment, why):
    with pytest.raises(ConfigError, match=why):
        detect(environment)


def test_a_local_rank_that_nobody_tells_is_not_guessed():
    """On the second of two nodes the global rank is no local rank."""
    with pytest.raises(ConfigError, match="not which of them are on this host; name the hosts"):
        detect(PMI)
    with pytest.raises(ConfigError, match="names 4 ranks, and there are 8"):
        detect(PMI | {"HPCBENCH_HOSTS": "n1:4"})
    with pytest.raises(ConfigError, match="PMIX_RANK=3 is set"):
        detect({"PMIX_RANK": "3", "PMIX_NAMESPACE": "n"})
    # MPI that knows of one rank may not have been told of the others.
    with pytest.raises(ConfigError, match=r"neither it nor MPI says how many.*HPCBENCH_HOSTS="):
        detect({"PMIX_RANK": "0", "PMIX_NAMESPACE": "n"})
    with pytest.raises(ConfigError, match="PALS_RANKID=5 is set"):
        detect({name: value for name, value in PALS.items() if name != "PMI_SIZE"})
    assert detect({"PMIX_RANK": "0", "HPCBENCH_HOSTS": "n1"}) == Launch("pmix")
    assert detect({"PMIX_RANK": "5"} | NAMED) == Launch("pmix", 5, 8, 1, 4)


def test_pytorchs_variables_of_several_ranks_are_no_single_run():
    several = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "pod0"}
    with pytest.raises(ConfigError, match="environment says that this is rank 1 of 2"):
        detect(several)
    for alone in ({"RANK": "0", "WORLD_SIZE": "1"}, {"RANK": "0"}, {"WORLD_SIZE": "2"}):
        assert detect(alone) == Launch("none")


def test_a_step_with_fewer_tasks_on_its_last_node():
    uneven = SRUN | {"SLURM_STEP_NUM_TASKS": "11", "SLURM_STEP_TASKS_PER_NODE": "4(x2),3"}
    last = {"SLURM_PROCID": "9", "SLURM_NODEID": "2"}
    assert detect(uneven | last) == Launch("srun", 9, 11, 1, 3)
    with pytest.raises(ConfigError, match="SLURM_NODEID is not set"):
        detect(uneven)


@pytest.mark.parametrize(
    ("distribution", "hosts"),
    [
        ({}, "aaabbc"),
        ({"SLURM_DISTRIBUTION": "cyclic"}, "abcaba"),
        ({"SLURM_DISTRIBUTION": "block:cyclic"}, "aaabbc"),
        ({"SLURM_DISTRIBUTION": "plane", "SLURM_DIST_PLANESIZE": "2"}, "aabbca"),
        ({"SLURM_DISTRIBUTION": "arbitrary"}, None),
    ],
)
def test_slurms_tasks_are_where_it_put_them(distribution, hosts):
    step = {
        "SLURM_JOB_ID": "1",
        "SLURM_STEP_NODELIST": "a,b,c",
        "SLURM_STEP_TASKS_PER_NODE": "3,2,1",
    }
    launch = Launch("srun", 0, 6, 0, 3)
    if hosts is None:
        with pytest.raises(ConfigError, match=r"arbitrary.*HPCBENCH_HOSTS="):
            rank_hosts(launch, step | distribution)
    else:
        elsewhere = {"SLURM_PROCID": "1", "SLURM_NODEID": "2"}
        with pytest.raises(ConfigError, match=r"task 1 is on node 2.*HPCBENCH_HOSTS="):
            rank_hosts(launch, step | distribution | elsewhere)
        assert rank_hosts(launch, step | distribution) == list(hosts)


def test_lists_of_nodes_are_read_without_slurm():
    assert expanded("n[1-3,07],gpu-a,r[1-2]n[08-10]") == [
        *("n1", "n2", "n3", "n07", "gpu-a"),
        *("r1n08", "r1n09", "r1n10", "r2n08", "r2n09", "r2n10"),
    ]
    assert expanded("") == []
    for broken in ("n[1-", "n[a-b]", "n]1["):
        with pytest.raises(ValueError, match="no"):
            expanded(broken)


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.sampled_from(["", "block", "cyclic", "cyclic:block", "plane=3"]),
)
def test_every_task_has_a_node_and_every_node_its_tasks(tasks, distribution):
    nodes = node_of_each_task(tasks, distribution)
    assert [nodes.count(node) for node in range(len(tasks))] == tasks
    assert nodes[0] == 0


def places(prefix):
    return numbered(*(f"{prefix}{name}" for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")))


# What each launcher tells a rank, of rank, world size, local rank and local size.
TELLS = {
    "mpirun": places("OMPI_COMM_WORLD_"),
    "horovodrun": places("HOROVOD_"),
    "mvapich2": places(MV2),
    "jsrun": places("JSM_NAMESPACE_"),
    "torchrun": lambda *values: (
        {"TORCHELASTIC_RUN_ID": "x"}
        | numbered("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")(*values)
    ),
    "pals": numbered(*PALS),
    "mpiexec": numbered(*HYDRA),
    # These two say nothing of hosts, which are named then.
    "flux": lambda rank, size, local, _: numbered(*FLUX)(rank, size, local),
    "pmi": lambda rank, size, *_: numbered(*PMI)(rank, size),
}


def told(launcher, host_of_rank):
    """The environment of each rank."""
    size, seen = len(host_of_rank), []
    for rank, host in enumerate(host_of_rank):
        values = (rank, size, seen.count(host), host_of_rank.count(host))
        seen.append(host)
        named = {"HPCBENCH_HOSTS": ",".join(f"n{h}" for h in host_of_rank)}
        yield TELLS[launcher](*values) | (named if launcher in ("flux", "pmi") else {})


@given(st.sampled_from(sorted(TELLS)), st.lists(st.integers(0, 4), min_size=2, max_size=12))
def test_ranks_are_a_permutation_and_local_ranks_unique_on_a_host(launcher, host_of_rank):
    found = [detect(environment) for environment in told(launcher, host_of_rank)]
    assert {one.launcher for one in found} == {launcher}
    assert sorted(one.rank for one in found) == list(range(len(host_of_rank)))
    local = [(host, one.local_rank) for host, one in zip(host_of_rank, found, strict=True)]
    assert len(set(local)) == len(local)
    for host, one in zip(host_of_rank, found, strict=True):
        assert one.local_rank < one.local_size == host_of_rank.count(host)


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=5), st.sampled_from(["block", "cyclic:block"])
)
def test_tasks_of_srun_are_on_their_hosts(tasks, distribution):
    node_of = node_of_each_task(tasks, distribution)
    common = {
        "SLURM_JOB_ID": "1",
        "SLURM_STEP_NUM_TASKS": str(len(node_of)),
        "SLURM_STEP_TASKS_PER_NODE": ",".join(map(str, tasks)),
        "SLURM_STEP_NODELIST": ",".join(f"n{node}" for node in range(len(tasks))),
        "SLURM_DISTRIBUTION": distribution,
    }
    for rank, node in enumerate(node_of):
        local = node_of[:rank].count(node)
        of_task = numbered("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")(rank, local, node)
        launch = detect(common | of_task)
        assert launch == Launch("srun", rank, len(node_of), local, tasks[node])
        if launch.local_size < launch.size:
            assert rank_hosts(launch, common | of_task) == [f"n{one}" for one in node_of]


@pytest.mark.parametrize(
    ("slurm", "cores", "bound"),
    [
        # Without -c, and with two hyperthreads a core.
        ({"SLURM_CPU_BIND_TYPE": "mask_cpu:"}, 1, True),
        ({"SLURM_CPU_BIND_TYPE": "mask_cpu:", "SLURM_CPUS_PER_TASK": "4"}, 8, True),
        ({"SLURM_CPU_BIND_TYPE": "none", "SLURM_CPUS_PER_TASK": "4"}, 4, False),
        ({"SLURM_CPUS_PER_TASK": "4"}, 4, True),
        ({"SLURM_CPUS_PER_TASK": "4"}, 16, False),
        ({}, 16, False),
    ],
)
def test_who_binds_is_read_off_slurms_own_word(slurm, cores, bound):
    assert LAUNCHERS["srun"].binds(slurm, cores) is bound


def test_ranks_on_one_gpu_are_refused():
    refuse_shared_gpus(["", ""])
    refuse_shared_gpus(["GPU-a", "GPU-b"])
    with pytest.raises(EnvironmentLacks, match="ranks 0, 2 are on one GPU, GPU-a"):
        refuse_shared_gpus(["GPU-a", "GPU-b", "GPU-a"])


def test_places_that_the_ranks_hosts_contradict_are_refused():
    refuse_wrong_places(["a", "a", "b"], [(0, 2, 7), (1, 2, 7), (0, 1, 7)])
    # Two launches on one host, each with cores of its own.
    refuse_wrong_places(["a", "a"], [(0, 1, 7), (0, 1, 8)])
    with pytest.raises(EnvironmentLacks, match="ranks 1 and 2 are both local rank 0 of a and"):
        refuse_wrong_places(["b", "a", "a"], [(0, 1, 7), (0, 1, 8), (0, 1, 8)])
    with pytest.raises(EnvironmentLacks, match="2 ranks were told that they are local rank 1 of 3"):
        places = [(0, 3, 7), (1, 3, 8), (1, 3, 9), (0, 1, 7)]
        refuse_wrong_places(["a", "a", "a", "b"], places)
    # The second of two nodes, where the global rank passes for the local one.
    with pytest.raises(EnvironmentLacks, match="rank 0 was told that it is local rank 0 of 4 on a"):
        refuse_wrong_places(["a", "a", "b", "b"], [(rank, 4, rank) for rank in range(4)])


def test_hosts_that_share_a_name_are_told_apart():
    assert told_apart(["a", "a", "b"], ["1", "1", "2"]) == ["a", "a", "b"]
    boots = ["89859e47-c216", "89859e47-c216", "11111111-aaaa"]
    assert told_apart(["box"] * 3, boots) == ["box (89859e47)"] * 2 + ["box (11111111)"]


def test_a_broken_launcher_is_an_error():
    with pytest.raises(ConfigError, match="not a rank"):
        detect(MPIRUN | {"OMPI_COMM_WORLD_SIZE": "four"})


def test_the_ranks_hosts_come_from_a_list_or_from_this_host():
    spread = Launch("mpirun", 3, 4, 1, 2)
    assert rank_hosts(spread, {"HPCBENCH_HOSTS": "n1:2, n2:2"}) == ["n1", "n1", "n2", "n2"]
    assert rank_hosts(Launch("mpirun", 1, 2, 1, 2), {}) == ["localhost"] * 2
    wrong = [(entry, "not like n1:2,n2:2") for entry in ("n1:two", "n1:-1", "n1:0", ":2", "n1,,n2")]
    for hosts, says in (("n1:2", "only 2 have"), (None, "HPCBENCH_HOSTS="), *wrong):
        with pytest.raises(ConfigError, match=says):
            rank_hosts(spread, {"HPCBENCH_HOSTS": hosts} if hosts else {})


def test_hosts_are_reached_by_their_names_with_the_sites_suffix():
    spread = Launch("srun", 1, 2, 0, 1)
    job = {"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "127.0.0.[1-2]"}
    step = job | {"SLURM_STEP_TASKS_PER_NODE": "1(x2)"}
    told = step | {"HPCBENCH_RENDEZVOUS_SUFFIX": "0"}
    assert rank_hosts(spread, told) == ["127.0.0.10", "127.0.0.20"]
    # On this host alone no network is between the ranks.
    suffix = {"HPCBENCH_RENDEZVOUS_SUFFIX": "-ib.invalid"}
    assert rank_hosts(Launch("srun", 1, 2, 1, 2), suffix) == ["localhost"] * 2
    with pytest.raises(ConfigError, match=r"^127\.0\.0\.1-ib\.invalid has no address, so ranks "):
        rank_hosts(spread, told | suffix)


def test_tf_config_is_the_same_for_all_ranks_but_for_their_place():
    configs = [
        tf_config(Launch("mpirun", rank, 4, rank % 2, 2), {"HPCBENCH_HOSTS": "n1:2,n2:2"})
        for rank in range(4)
    ]
    assert [config["task"]["index"] for config in configs] == [0, 1, 2, 3]
    workers = configs[0]["cluster"]["worker"]
    assert all(config["cluster"]["worker"] == workers for config in configs)
    assert len(set(workers)) == 4
    assert [worker.split(":")[0] for worker in workers] == ["n1", "n1", "n2", "n2"]


def test_gpus_are_counted_without_a_framework(tmp_path):
    for name in ("nvidia0", "nvidia1", "nvidia-uvm", "nvidiactl"):
        (tmp_path / name).touch()
    assert visible_gpus({}, tmp_path) == 2
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "1"}, tmp_path) == 1
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == 0
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "0,1"}, tmp_path / "none") == 0


@pytest.mark.parametrize(
    ("entries", "count"),
    [
        *(("NoDevFiles", 0), ("none", 0), ("", 0), ("-1", 0), ("-1,0", 0), ("0,9,1", 1)),
        *(("1, 0", 2), ("0,0,1", 0), ("0,,1", 1), ("0;1", 1), ("1gpu,0x", 2), ("GPU-aa", 1)),
        *(("GPU-bb,GPU-aa,0", 2), ("GPU-aa,GPU-aa", 0)),
        *(("GPU-cc", 0), ("0,GPU-cc", 1), ("MIG-1234", 1), ("MIG-GPU-aa/1/0,MIG-5678", 1)),
    ],
)
def test_visible_gpus_are_counted_as_cuda_counts(tmp_path, entries, count):
    for number, uuid in enumerate(("GPU-aa11", "GPU-bb22")):
        (tmp_path / f"nvidia{number}").touch()
        (tmp_path / "driver" / str(number)).mkdir(parents=True)
        told = f"Model: \t NVIDIA H200\nGPU UUID: \t {uuid}\nBus Type: \t PCIe\n"
        (tmp_path / "driver" / str(number) / "information").write_text(told)
    shown = {"CUDA_VISIBLE_DEVICES": entries}
    nowhere = tmp_path / "nowhere"
    assert visible_gpus(shown, tmp_path, nowhere, tmp_path / "driver") == count
    if "cc" not in entries:
        assert visible_gpus(shown, tmp_path, nowhere, nowhere) == count


def test_amds_gpus_are_counted(tmp_path):
    for number, gpu in enumerate(("0", "41234", "51234", "61234")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "gpu_id").write_text(f"{gpu}\n")
    nowhere = tmp_path / "nowhere"
    for shown, count in (
        ({}, 3),
        ({"ROCR_VISIBLE_DEVICES": "1,2"}, 2),
        ({"ROCR_VISIBLE_DEVICES": "0,GPU-DEADBEEFDEADBEEF"}, 2),
        ({"ROCR_VISIBLE_DEVICES": "GPU-DEADBEEFDEADBEEF,1,x,2"}, 2),
        ({"ROCR_VISIBLE_DEVICES": "1,2", "HIP_VISIBLE_DEVICES": "1,2"}, 1),
        ({"HIP_VISIBLE_DEVICES": "-1"}, 0),
        ({"CUDA_VISIBLE_DEVICES": "0"}, 1),
        ({"CUDA_VISIBLE_DEVICES": "0", "HIP_VISIBLE_DEVICES": "0,1"}, 2),
        ({"GPU_DEVICE_ORDINAL": "0,2"}, 2),
    ):
        assert visible_gpus(shown, nowhere, tmp_path, nowhere) == count
