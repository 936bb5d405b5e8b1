"""Sweeps on a real Slurm, which jobs/local-cluster brings up: a controller and two nodes."""

import json
import re
import sys
from pathlib import Path

import pytest

from hpcbench.config import RunConfig
from hpcbench.records.reader import read_results
from hpcbench.sweeps.submission import Submission
from support import ROOT
from support.slurm import LONG, each_row_once, sweep_file, until

pytestmark = pytest.mark.slow


def test_sbatch_as_typed(cluster, tmp_path):
    """A task a repeat, all its counts on the same nodes; one analysis when all is over."""
    file = sweep_file(
        tmp_path, devices="[1, 2, 4]", strategies='["horovod", "mirrored"]', repeats=2
    )
    script = ("jobs/scale_sweep.sh", "--sweep", file, "--results", cluster.results)
    job = cluster.sbatch("--ntasks-per-node=1", "--gpus-per-node=1", *script)
    cluster.wait_for_empty_queue()
    assert "6 done" in cluster.status(file), cluster.said()
    each_row_once(cluster.results, runs=6, epochs=2)
    said = {i: Path(f"{cluster.results}-{job}_{i}.out").read_text() for i in (1, 2, 3)}
    for text in (said[1], said[2]):
        assert "left out: mirrored on 2 devices" in text
        assert "left out: this job has 2 devices, so nothing is run on 4" in text
        assert "others' jobs may run on this job's nodes" in text
    assert "sweep sweep has 2 repeats, so there is no repeat 3" in said[3]
    assert "".join(said.values()).count("analysis: job") == 1
    documents = [json.loads(path.read_text()) for path in cluster.results.rglob("run.json")]
    assert sorted(len(set(document["hosts"])) for document in documents) == [1, 1, 1, 1, 2, 2]
    allocations = {
        (document["config"]["repeat"], *document["provenance"]["allocation"].values())
        for document in documents
    }
    assert len(allocations) == 2, "a repeat was on other nodes"
    assert {whole for *_, whole in allocations} == {False}
    (repeat,) = {frozenset(r for r, *_ in allocations)}
    assert repeat == {0, 1}
    assert (cluster.results / "sweep" / "figures" / "overview.png").exists()


def test_a_job_with_fewer_gpus_than_its_runs_need_is_refused(cluster, tmp_path):
    """As where a site's GPUs are asked for in all, and come from several nodes."""
    mine = tmp_path / "mine.toml"
    local = (ROOT / "jobs" / "sites" / "local-cluster.toml").read_text()
    mine.write_text(local.replace("devices_per_node = 1", "devices_per_node = 2"))
    file = sweep_file(tmp_path, devices="[2]")
    line = cluster.sweep("submit", file, "--site", str(mine), "--dry-run")
    record = cluster.results / "sweep" / "submissions" / "mine.json"
    submission = Submission("sweep", str(mine), cluster.results, None)
    config = RunConfig(model="fc-64", strategy="horovod", devices=2, repeat=0)
    submission.tasks["0"] = [config]
    record.parent.mkdir(parents=True)
    submission.write(record)
    assert "--gpus-per-node=2" in line
    script = ("jobs/scale_sweep.sh", f"--record={record}")
    cluster.sbatch("--array=0", "--nodes=1", "--gpus-per-node=1", *script)
    cluster.wait_for_empty_queue()
    assert (
        "gives this job 1 GPU, and its runs need 2 there: ask for as many on each node"
        in cluster.said()
    )
    assert cluster.csv() == []


def test_submit_is_right_sized_and_nothing_is_done_twice(cluster, tmp_path):
    """On a site whose jobs read shell first, as modules do it: a variable that is not set, and one
    that ranks see."""
    mine = tmp_path / "mine.toml"
    local = (ROOT / "jobs" / "sites" / "local-cluster.toml").read_text()
    mine.write_text(f"""{local}
sbatch_options = ["--comment=demanding"]
srun_options = ["--distribution=block"]
setup = ['echo "read $NOT_SET" >> {tmp_path}/setup', "export HPCBENCH_RENDEZVOUS_SECONDS=200"]
""")
    file = sweep_file(
        tmp_path,
        devices="[1, 2]",
        strategies='["single", "mpi", "multiworker"]',
        more='optimizer = "sgd"\nscaling = "strong"\nno_exchange_intervals = 2',
    )
    first = cluster.sweep("submit", file, "--site", str(mine))
    assert "5 missing" in first
    assert "--nodes=1 --ntasks-per-node=1" in first
    assert "--nodes=2 --ntasks-per-node=1" in first
    assert "sbatch" not in cluster.sweep("submit", file, "--site", str(mine))
    assert re.fullmatch(r"(\d done, )?(\d running, )?\d queued", cluster.status(file))
    assert "--exclusive" in first
    cluster.wait_for_empty_queue()
    assert cluster.status(file) == "5 done", cluster.said()
    each_row_once(cluster.results, runs=5, epochs=2)
    # A job a run, and the analysis.
    assert (tmp_path / "setup").read_text() == "read \n" * 6
    assert "sbatch" not in cluster.sweep("resume", file)
    # The same global batch in the same order: all devices and nodes trained the same network.
    accuracy = read_results(cluster.results).accuracy
    assert set(accuracy["nodes"]) == {1, 2}
    for _, rows in accuracy.groupby("epoch"):
        assert rows["train_loss"].max() - rows["train_loss"].min() < 1e-4


def test_as_typed_a_job_is_as_the_file_of_its_cluster_says(cluster, tmp_path):
    """Its setup is read first and srun gets its options; devices are those of the job. And a job
    that meets its time limit says so, where no signal came before."""
    sites = tmp_path / "jobs" / "sites"
    sites.mkdir(parents=True)
    site = (ROOT / "jobs" / "sites" / "local-cluster.toml").read_text()
    (sites / "own.toml").write_text(f"""{site}
cluster = "hpcbench"
setup = ["export HPCBENCH_RENDEZVOUS_SECONDS=200"]
srun_options = ["--distribution=cyclic"]
[environment]
NCCL_DEBUG = "WARN"
""")
    file = sweep_file(tmp_path, devices="[2]", more=LONG)
    script = ("--array=1", ROOT / "jobs" / "scale_sweep.sh", "--sweep", file)
    home = {"HPCBENCH_HOME": str(tmp_path), "HPCBENCH_PYTHON": sys.executable}
    # Slurm's signal that the limit is near is one that nobody heeds.
    options = ("--time=20", "--signal=B:URG@1", "--no-requeue", "--gpus-per-node=1")
    job = cluster.sbatch(*options, *script, "--results", cluster.results, **home)
    until(lambda: cluster.csv() and cluster.rows() > 3, "rows", cluster.said)
    assert "as site local-cluster says, with the devices of this job" in cluster.said()
    cluster.run("scontrol", "update", f"JobId={job}_1", "EndTime=now+1seconds")
    cluster.wait_for_empty_queue()
    (path,) = cluster.results.rglob("run.json")
    document = json.loads(path.read_text())
    assert document["provenance"]["site"]["srun_options"] == ["--distribution=cyclic"]
    assert document["provenance"]["settings"]["NCCL_DEBUG"] == "WARN"
    # The second where the machine is so busy.
    assert document["failure"] in ("timeout", "starved"), document["message"]
    assert "its job's time limit came" in document["message"]


def test_a_program_of_ones_own_on_two_nodes(cluster, tmp_path):
    """torchrun once a node, its ranks meeting on the first one; followed as any sweep."""
    program = ROOT / "tests" / "programs" / "torch_loop.py"
    torchrun = ("torchrun", "--nnodes={nodes}", "--nproc-per-node={devices_per_node}")
    meet = ("--rdzv-backend=c10d", "--rdzv-endpoint={main_address}:{main_port}")
    line = ("scale", "--devices=2", "--repeats=1", "--name=own", "--start=per-node")
    where = ("--site=local-cluster", "--results", cluster.results, "--batch=64")
    command = (*line, *where, "--", *torchrun, *meet, program)
    done = cluster.run("python", "-m", "hpcbench", *command)
    assert done.status == 0, done.errors
    assert "--nodes=2 --ntasks-per-node=1" in done.output
    cluster.wait_for_empty_queue()
    file = cluster.results / "own" / "sweep.toml"
    assert cluster.status(file) == "1 done", cluster.said()
    (path,) = cluster.results.rglob("run.json")
    document = json.loads(path.read_text())
    assert len(set(document["hosts"])) == 2
    assert document["identity"]["nodes"] == 2
    assert (cluster.results / "own" / "figures" / "report.html").exists()


def test_a_queue_that_takes_few_jobs_is_fed(cluster, tmp_path):
    file = sweep_file(tmp_path, devices="[1, 2]", strategies='["mpi"]', repeats=2, epochs=1)
    first = cluster.sweep("submit", file, "--site", "local-cluster", "--max-queued", "2")
    assert "2 of 4 runs wait for room in the queue: hpcbench sweep watch" in first
    assert len(cluster.queue().splitlines()) == 2
    said = cluster.sweep("watch", file, "--max-queued", "2", "--seconds", "1")
    assert said.splitlines()[-1].endswith("sweep sweep: 4 done")
    assert "the analysis, when all are over" in said
    cluster.wait_for_empty_queue()
    # A repeat after the other, as without that limit.
    documents = [json.loads(path.read_text()) for path in cluster.results.rglob("run.json")]
    started = sorted((d["provenance"]["started"], d["config"]["repeat"]) for d in documents)
    assert [repeat for _, repeat in started] == [0, 0, 1, 1]
    assert (cluster.results / "sweep" / "figures" / "report.html").exists()


@pytest.mark.parametrize("launcher", ["mpirun", "horovodrun"])
def test_other_launchers_start_ranks_in_a_job(cluster, tmp_path, launcher):
    nodes = 2 if launcher == "mpirun" else 1
    # Ranks of the second ask each other by MPI on which hosts they meet.
    strategies = ["horovod", "multiworker"][:nodes]
    file = sweep_file(tmp_path, devices="[2]", strategies=json.dumps(strategies))
    more = ("--launcher", launcher, "--sweep", file, "--results", cluster.results)
    cluster.sbatch(
        f"--nodes={nodes}",
        f"--ntasks-per-node={2 // nodes}",
        f"--gpus-per-node={2 // nodes}",
        "--array=1",
        "jobs/scale_sweep.sh",
        *more,
    )
    cluster.wait_for_empty_queue()
    assert cluster.status(file) == f"{len(strategies)} done", cluster.said()
    rows = read_results(cluster.results).throughput[["strategy", "devices", "nodes"]]
    found = rows.drop_duplicates().to_numpy().tolist()
    assert sorted(found) == [[strategy, 2, nodes] for strategy in strategies]


def test_the_doctor_holds_a_site_against_the_cluster(cluster, tmp_path):
    """On the login node the partitions, in a job of two nodes their names and clocks too."""
    partition = cluster.run("sinfo", "--noheader", "--format=%R").output.split()[0]
    site = tmp_path / "mine.toml"
    lines = (
        'name = "mine"\ndevices_per_node = 2\ncores_per_device = {cores}\nmax_devices = 4\n'
        '[[partitions]]\nname = "{partition}"\nmax_devices = 4\n'
    )
    doctor = ("python", "-m", "hpcbench.doctor", f"--site={site}", f"--results={tmp_path}")
    site.write_text(lines.format(cores=4, partition=partition))
    fine = cluster.run(*doctor)
    assert fine.status == 0, fine.output
    assert f"mine: partition {partition} fits" in fine.output
    assert "--full loads the frameworks too" in fine.output
    site.write_text(lines.format(cores=400, partition="large"))
    wrong = cluster.run(*doctor)
    assert wrong.status == 3
    assert f"partition large does not exist\n{'':21} → choose from {partition}" in wrong.output
    site.write_text(lines.format(cores=400, partition=partition))
    assert "2 devices of 400 cores are 800" in cluster.run(*doctor).output
    log = tmp_path / "doctor.out"
    submit = ("sbatch", "--wait", "--nodes=2", f"--output={log}", "--wrap")
    cluster.run(*submit, f"python -m hpcbench.doctor --results={tmp_path}")
    said = log.read_text()
    names = cluster.run("sinfo", "--noheader", "--Node", "--format=%N").output.split()
    assert f"nodes       {', '.join(sorted(set(names)))}" in said
    assert "TensorFlow  loads" in said
