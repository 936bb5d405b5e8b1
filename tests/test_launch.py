"""Ranks, GPUs and cores, read from the environment."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbench.errors import ConfigError
from hpcbench.launch import Launch, core_share, detect, visible_gpus

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


def test_gpus_are_counted_without_a_framework(tmp_path):
    for name in ("nvidia0", "nvidia1", "nvidia-uvm", "nvidiactl"):
        (tmp_path / name).touch()
    assert visible_gpus({}, tmp_path) == 2
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "1"}, tmp_path) == 1
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == 0
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "0,1"}, tmp_path / "none") == 0


@given(st.integers(1, 64), st.integers(1, 80), st.none() | st.integers(1, 8))
def test_core_shares_are_equal_and_disjoint_while_there_are_cores(cores, ranks, wanted):
    shares = [core_share(list(range(cores)), rank, ranks, wanted) for rank in range(ranks)]
    assert len({len(share) for share in shares}) == 1
    assert all(share for share in shares)
    if len(shares[0]) * ranks <= cores:
        assert len({core for share in shares for core in share}) == len(shares[0]) * ranks
