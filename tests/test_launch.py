"""Ranks, GPUs and cores, read from the environment."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbench.cluster.launchers import Launch, detect
from hpcbench.cluster.rendezvous import rank_hosts
from hpcbench.devices.cores import core_share
from hpcbench.devices.gpus import visible_gpus
from hpcbench.errors import ConfigError
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


def test_a_broken_launcher_is_an_error():
    with pytest.raises(ConfigError, match="not a rank"):
        detect(MPIRUN | {"OMPI_COMM_WORLD_SIZE": "four"})


def test_the_ranks_hosts_come_from_a_list_or_from_this_host():
    spread = Launch("mpirun", 3, 4, 1, 2)
    assert rank_hosts(spread, {"HPCBENCH_HOSTS": "n1:2, n2:2"}) == ["n1", "n1", "n2", "n2"]
    assert rank_hosts(Launch("mpirun", 1, 2, 1, 2), {}) == ["localhost"] * 2
    for hosts, says in (("n1:2", "only 2 have"), ("n1:two", "not like"), (None, "HPCBENCH_HOSTS=")):
        with pytest.raises(ConfigError, match=says):
            rank_hosts(spread, {"HPCBENCH_HOSTS": hosts} if hosts else {})


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
        *(("1, 0", 2), ("0,0,1", 1), ("0,,1", 1), ("GPU-aa", 1), ("GPU-bb,GPU-aa,0", 2)),
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
        ({"ROCR_VISIBLE_DEVICES": "1,2", "HIP_VISIBLE_DEVICES": "1,2"}, 1),
        ({"HIP_VISIBLE_DEVICES": "-1"}, 0),
    ):
        assert visible_gpus(shown, nowhere, tmp_path, nowhere) == count


@given(st.integers(1, 64), st.integers(1, 80), st.none() | st.integers(1, 8))
def test_core_shares_are_equal_and_disjoint_while_there_are_cores(cores, ranks, wanted):
    shares = [core_share(list(range(cores)), rank, ranks, wanted) for rank in range(ranks)]
    assert len({len(share) for share in shares}) == 1
    assert all(share for share in shares)
    if len(shares[0]) * ranks <= cores:
        assert len({core for share in shares for core in share}) == len(shares[0]) * ranks
