"""A cluster that keeps accounts, as most do: what a user's jobs may have is found, told, and lived
with."""

import getpass
import tomllib
from pathlib import Path

import pytest

from hpcbench.records.reader import read_results
from support.slurm import SHAPES, Cluster, cluster_in, each_row_once, sweep_file, until

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
            "add qos part set MaxTRESPerJob=node=1",
            "add qos narrow set MaxTRESPerJob=cpu=8",
            f"modify user {user} set qos+=narrow",
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
    account, qos = "account = one of chemistry, project", "qos = one of narrow, normal, short"
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


def test_a_job_that_can_never_start_is_told(kept, site, tmp_path):
    """Slurm takes it, and says why it waits to those who ask."""
    narrow = tmp_path / "narrow.toml"
    narrow.write_text(site.read_text().replace('qos = "short"', 'qos = "narrow"'))
    found = doctor(kept, narrow, tmp_path)
    assert found.status == 3
    assert "jobs in QoS narrow have 8 CPUs, and 4 devices need 32" in found.output
    assert "max_devices = 1" in found.output
    file = sweep_file(tmp_path, devices="[2]", strategies='["mirrored"]')
    at = (file, "--results", tmp_path / "results", "--site", narrow)
    command = ("python", "-m", "hpcbench", "sweep")
    try:
        assert kept.run(*command, "submit", *at).status == 0
        reason = "1 run: PENDING (QOSMaxCpuPerJobLimit, which lasts until something is changed)"
        # The scheduler says why once it has tried.
        until(lambda: reason in kept.run(*command, "status", *at).output, reason)
        watch = ("timeout", "--signal=INT", "8", *command, "watch", *at, "--seconds=1")
        assert f"{reason[:5]} of sweep sweep:{reason[6:]}" in kept.run(*watch).errors
    finally:
        kept.run("scancel", "--me")
        kept.wait_for_empty_queue()


def test_limits_of_a_partition_are_in_the_file_that_writes_itself(kept, tmp_path):
    limit = ("scontrol", "update", "partitionname=standard")
    assert kept.run(*limit, "qos=part").status == 0
    try:
        init = ("python", "-m", "hpcbench", "site", "init", "mine", "--folder", tmp_path)
        assert kept.run(*init).status == 0
        file = tmp_path / "sites" / "mine.toml"
        assert tomllib.loads(file.read_text())["max_devices"] == 2
        assert doctor(kept, file, tmp_path).status == 0
        wide = tmp_path / "wide.toml"
        wide.write_text(file.read_text().replace("max_devices = 2", "max_devices = 4"))
        found = doctor(kept, wide, tmp_path).output
        assert "jobs in QoS normal and part have 1 node, and 4 devices need 2" in found
    finally:
        assert kept.run(*limit, "qos=").status == 0


def test_a_job_that_gets_no_environment_hands_its_ranks_the_sites(kept, site, tmp_path):
    bare = tmp_path / "bare.toml"
    top = 'sbatch_options = ["--export=NONE"]\nsetup = ["export NCCL_ALGO=Ring"]\n'
    data = kept.environment()["HPCBENCH_DATA"]
    environment = f'\n[environment]\nNCCL_DEBUG = "WARN"\nHPCBENCH_DATA = "{data}"\n'
    short = site.read_text().replace("01:00:00", "00:20:00")
    bare.write_text(short.replace("[[partitions]]", f"{top}[[partitions]]", 1) + environment)
    results = tmp_path / "results"
    file = sweep_file(tmp_path, devices="[2]", strategies='["horovod"]')
    at = (file, "--results", results, "--site", bare)
    assert kept.run("python", "-m", "hpcbench", "sweep", "submit", *at).status == 0
    kept.wait_for_empty_queue()
    each_row_once(results, runs=1)
    (document,) = read_results(results).runs
    settings = document["provenance"]["settings"]
    assert {"NCCL_ALGO": "Ring", "NCCL_DEBUG": "WARN"}.items() <= settings.items()
    assert document["provenance"]["site"]["name"] == "mine"


def test_a_setup_of_which_a_line_fails_is_found_before_and_told_after(kept, site, tmp_path):
    failing = tmp_path / "failing.toml"
    setup = 'setup = ["true", "nosuchmodule load", "true"]\n'
    short = site.read_text().replace("01:00:00", "00:20:00")
    failing.write_text(short.replace("[[partitions]]", f"{setup}[[partitions]]", 1))
    found = doctor(kept, failing, tmp_path)
    assert found.status == 3
    assert "setup fails with status 127 at: nosuchmodule load" in found.output
    file = sweep_file(tmp_path, strategies='["single"]')
    at = (file, "--results", tmp_path / "results", "--site", failing)
    command = ("python", "-m", "hpcbench", "sweep")
    assert kept.run(*command, "submit", *at).status == 0
    kept.wait_for_empty_queue()
    said = kept.run(*command, "status", *at).output
    assert "the setup of the site failed with status 127 at: nosuchmodule load" in said
