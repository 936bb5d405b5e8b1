"""Clusters of different kinds: a site's file written from what Slurm says, and a sweep by it."""

import re
import tomllib
from pathlib import Path

import pytest

from hpcbench.records.reader import read_results
from support import ROOT, run
from support.slurm import SHAPES, Cluster, cluster_in

pytestmark = pytest.mark.slow

SWEEP = """name = "sweep"
repeats = 1
devices = [2]
strategies = ["ddp"]
[settings]
framework = "torch"
train_samples = 1280
test_samples = 500
epochs = 1
[[models]]
model = "cnn-pytorch"
"""


@pytest.mark.parametrize(
    ("shape", "asked", "options", "expected"),
    [
        ("ailing", None, (), {"max_devices": 2, "devices_per_node": 1}),
        ("cpus", None, (), {"device": "cpu", "devices_per_node": 2, "cores_per_device": 8}),
        (
            "two-types",
            "several partitions have GPUs: all (3 nodes of 2 a100 GPUs or 8 v100 GPUs); ampere (2 ",
            ("--partition", "all", "--gpu-type", "a100"),
            {"gpu_type": "a100", "devices_per_node": 2, "max_devices": 4},
        ),
    ],
)
def test_a_sweep_on_a_site_that_wrote_itself(tmp_path, shape, asked, options, expected):
    sites, sweep = tmp_path / "jobs", tmp_path / "sweep.toml"
    sweep.write_text(SWEEP)
    hpcbench = ("python", "-m", "hpcbench")
    init = (*hpcbench, "site", "init", "mine", "--folder", sites)
    with cluster_in("--shape", str(SHAPES / f"{shape}.conf")) as folder:
        cluster = Cluster(folder, tmp_path / "results")
        if asked:
            undecided = cluster.run(*init)
            assert undecided.status == 2
            assert asked in undecided.errors
        assert cluster.run(*init, *options).status == 0
        file = sites / "sites" / "mine.toml"
        assert expected.items() <= tomllib.loads(file.read_text()).items()
        assert "already exists; --force" in cluster.run(*init, *options).errors
        site = ("--site", str(file))
        doctor = cluster.run(*hpcbench, "doctor", *site, "--results", tmp_path)
        assert doctor.status == 0, doctor.output
        assert re.search("mine: jobs of .* devices and the analysis would be queued", doctor.output)
        assert "sweep sweep on mine: 1 run, about" in cluster.sweep("plan", sweep, *site)
        cluster.sweep("submit", sweep, *site)
        cluster.wait_for_empty_queue()
        assert cluster.status(sweep) == "1 done", cluster.said()
    found = read_results(tmp_path / "results")
    assert found.skipped == []
    assert set(found.throughput["devices"]) == {2}
    assert (tmp_path / "results" / "sweep" / "figures" / "report.html").exists()


def test_a_folder_that_is_too_long_for_sockets(tmp_path):
    folder = tmp_path / ("f" * 80)
    done = run([ROOT / "jobs" / "local-cluster" / "up", "--dir", folder])
    if done.status == 3:
        pytest.skip(done.errors.strip())
    assert done.status == 2
    assert "choose a --dir of at most 72 characters" in done.errors
    assert not folder.exists()


def test_what_cannot_be_surveyed(tmp_path):
    """A partition that is not there, or down; no scheduler; a name that is none."""
    with cluster_in("--shape", str(SHAPES / "cpus.conf")) as folder:
        cluster = Cluster(folder, tmp_path)
        init = ("python", "-m", "hpcbench", "site", "init")
        for arguments, says in (
            (("mine", "--partition=gpu"), "no partition gpu; choose from standard, maintenance"),
            (("mine", "--partition=maintenance"), "partition maintenance is down"),
            (("mine", "--gpu-type=a100"), "no usable node has GPUs of type a100"),
            (("../mine",), "'../mine' is no name"),
        ):
            done = cluster.run(*init, *arguments, "--folder", tmp_path / "jobs")
            assert done.status == 2
            assert says in done.errors
        nowhere = cluster.run(*init, "mine", SLURM_CONF="/nowhere")
        assert nowhere.status == 3
        assert "no scheduler answers here" in nowhere.errors
    assert not Path(tmp_path / "jobs").exists()
