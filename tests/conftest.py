"""What all tests share: how hypothesis tries, where results go, and a file's Slurm."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from support.slurm import Cluster, cluster_in

# How long an example takes is the machine's affair.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


# Files that take longest, so that none is left for one worker at the end. Slurm's tests wait more
# than they compute: each beside a file that computes.
FIRST = (
    "test_slurm",
    "test_exercises",
    "test_slurm_faults",
    "test_scale_programs",
    "test_docs",
    "test_equivalence",
    "test_reference_models",
    "test_beside",
    "test_jax",
    "test_jax_and_tensorflow",
    "test_install",
    "test_stops",
    "test_probe",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(FIRST)))


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
