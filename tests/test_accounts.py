"""A cluster that keeps accounts, as most do: what a user's jobs may have is found, told, and lived
with."""

import getpass
import tomllib
from pathlib import Path

import pytest

from support.slurm import SHAPES, Cluster, cluster_in, each_row_once, sweep_file

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Two accounts, and a QoS of half an hour that takes two jobs of a user."""
    with cluster_in("--accounts", "--shape", str(SHAPES / "cpus.conf")) as folder:
        cluster = Cluster(folder, tmp_path_factory.mktemp("kept") / "results")
        user = getpass.getuser()
        for line in (
            "add account chemistry",
            f"add user {user} account=chemistry",
            "add qos short set MaxSubmitJobsPerUser=2 MaxWall=00:30:00",
            f"modify user {user} set qos+=short",
        ):
            done = cluster.run("sacctmgr", "-i", *line.split())
            assert done.status == 0, done.errors
        yield cluster


@pytest.fixture(scope="module")
def site(kept, tmp_path_factory) -> Path:
    """As it wrote itself, with its questions answered."""
    folder = tmp_path_factory.mktemp("own")
    init = ("python", "-m", "hpcbench", "site", "init", "mine", "--folder", folder)
    assert kept.run(*init).status == 0
    file = folder / "sites" / "mine.toml"
    text = file.read_text()
    account, qos = "account = one of chemistry, project", "qos = one of normal, short"
    assert account in text
    assert qos in text
    answered = 'account = "chemistry"\nqos = "short"\n'
    file.write_text(text.replace("[[partitions]]", f"{answered}[[partitions]]", 1))
    assert tomllib.loads(file.read_text())["qos"] == "short"
    return file


def doctor(cluster, site, tmp_path):
    line = ("python", "-m", "hpcbench", "doctor", "--site", site, "--results", tmp_path)
    return cluster.run(*line)


def test_the_doctor_knows_limits_that_sbatch_does_not_try(kept, site, tmp_path):
    long = tmp_path / "long.toml"
    long.write_text(site.read_text())
    found = doctor(kept, long, tmp_path)
    assert found.status == 3
    assert "jobs in QoS short have 30 minutes, and the site asks for 01:00:00" in found.output
    assert 'time = "00:30:00"' in found.output
    long.write_text(site.read_text().replace("01:00:00", "00:30:00"))
    found = doctor(kept, long, tmp_path)
    assert found.status == 0, found.output
    assert "of this user 2 jobs may be queued in QoS short" in found.output


def test_a_sweep_that_is_larger_than_the_queue_goes_through(kept, site, tmp_path):
    short = tmp_path / "short.toml"
    short.write_text(site.read_text().replace("01:00:00", "00:20:00"))
    file = sweep_file(tmp_path, strategies='["single"]', repeats=4)
    at = (file, "--results", kept.results, "--site", short)
    command = ("python", "-m", "hpcbench", "sweep")
    refused = kept.run(*command, "submit", *at)
    assert refused.status == 3
    assert "job submit limit" in refused.errors
    assert "2 of 4 runs are not queued: hpcbench sweep watch" in refused.errors
    watched = kept.run(*command, "watch", *at, "--seconds", "1")
    assert watched.status == 0, watched.errors
    assert watched.output.splitlines()[-1].endswith("sweep sweep: 4 done")
    kept.wait_for_empty_queue()
    each_row_once(kept.results, runs=4)
    accounts = kept.run("sacct", "--noheader", "--parsable2", "--format=account,qos", "-X")
    assert set(accounts.output.split()) == {"chemistry|short"}
