"""What all tests share: how hypothesis tries, where results go, and a file's Slurm."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from support.slurm import Cluster, cluster_in

# How long an example takes is the machine's affair.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slurm's tests first: they wait more than they compute, while others run beside them."""
    items.sort(key=lambda item: not item.path.name.startswith("test_slurm"))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.fixture(scope="module")
def shared_cluster():
    """jobs/local-cluster, for all tests of a file."""
    with cluster_in("--gpus", "2", "--cpus", "32") as folder:
        yield folder


@pytest.fixture
def cluster(shared_cluster, results):
    """Its queue is empty before and after a test."""
    cluster = Cluster(shared_cluster, results)
    yield cluster
    cluster.run("scancel", "--user", str(os.getuid()))
    cluster.wait_for_empty_queue()
