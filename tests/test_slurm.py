"""Sweeps on a real Slurm, which jobs/local-cluster brings up: a controller and two nodes."""

import contextlib
import json
import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from hpcbench.records.reader import read_results
from hpcbench.sweeps.submission import read_submission
from support import ROOT, environment
from support.slurm import Cluster, cluster_in, until

pytestmark = pytest.mark.slow

# More than fit before the signal, which comes up to 30 s after the first rows.
EPOCHS_OF_A_MINUTE = 350


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory):
    with cluster_in(tmp_path_factory.mktemp("slurm"), "--gpus", "2", "--cpus", "32") as folder:
        yield folder


@pytest.fixture
def cluster(shared_cluster, results):
    cluster = Cluster(shared_cluster, results)
    yield cluster
    cluster.run("scancel", "--user", str(os.getuid()))
    cluster.wait_for_empty_queue()


def sweep_file(
    folder: Path, devices="[1]", strategies='["horovod"]', epochs=2, repeats=1, more=""
) -> Path:
    path = folder / "sweep.toml"
    # What is timed beside training takes graphs of its own to compile: one test has it.
    beside = "" if "no_exchange_intervals" in more else "no_exchange_intervals = 0"
    path.write_text(
        f'name = "sweep"\nrepeats = {repeats}\ndevices = {devices}\nstrategies = {strategies}\n'
        f"[settings]\ntrain_samples = 2560\nepochs = {epochs}\ninterval_steps = 2\n"
        f"{beside}\n{more}\n"
        f'[[models]]\nmodel = "fc-64"\n'
    )
    return path


def each_row_once(results: Path, runs: int, epochs: int) -> None:
    """All runs are complete, each with every interval and epoch once, in order."""
    found = read_results(results)
    assert found.skipped == []
    assert found.throughput["run_id"].nunique() == runs
    trained = found.throughput[found.throughput["phase"] == "train"]
    for _, rows in trained.groupby("run_id"):
        per_epoch = -(-int(rows["samples"].sum() / epochs // rows["global_batch"].iloc[0]) // 2)
        assert rows["interval"].tolist() == list(range(epochs * per_epoch))
        assert rows["samples"].sum() == 2560 * epochs
    for _, rows in found.accuracy.groupby("run_id"):
        assert rows["epoch"].tolist() == list(range(1, epochs + 1))


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
    file = sweep_file(tmp_path, devices="[2]", epochs=EPOCHS_OF_A_MINUTE)
    script = ("--array=1", ROOT / "jobs" / "scale_sweep.sh", "--sweep", file)
    home = {"HPCBENCH_HOME": str(tmp_path), "HPCBENCH_PYTHON": sys.executable}
    # Slurm's signal that the limit is near is one that nobody heeds.
    options = ("--time=20", "--signal=B:URG@1", "--no-requeue")
    job = cluster.sbatch(*options, *script, "--results", cluster.results, **home)
    until(lambda: cluster.csv() and cluster.rows() > 3, "rows", cluster.said)
    assert "as site local-cluster says, with the devices of this job" in cluster.said()
    cluster.run("scontrol", "update", f"JobId={job}_1", "EndTime=now+1seconds")
    cluster.wait_for_empty_queue()
    (path,) = cluster.results.rglob("run.json")
    document = json.loads(path.read_text())
    assert document["provenance"]["site"]["srun_options"] == ["--distribution=cyclic"]
    assert document["provenance"]["settings"]["NCCL_DEBUG"] == "WARN"
    assert document["failure"] == "timeout", document["message"]
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
    file = sweep_file(tmp_path, devices="[2]")
    nodes = 2 if launcher == "mpirun" else 1
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
    assert cluster.status(file) == "1 done", cluster.said()
    (rows,) = (
        read_results(cluster.results).throughput[["devices", "nodes"]].drop_duplicates().values
    )
    assert list(rows) == [2, nodes]


def test_near_the_time_limit_a_task_saves_requeues_itself_and_goes_on(cluster, tmp_path):
    """The other task of the array is not run again."""
    file = sweep_file(tmp_path, devices="[2]", repeats=2, epochs=EPOCHS_OF_A_MINUTE)
    script = ("jobs/scale_sweep.sh", "--sweep", file, "--results", cluster.results)
    job = cluster.sbatch(
        "--time=20", "--signal=B:USR1@45", "--ntasks-per-node=1", "--array=1,2", *script
    )
    until(lambda: len(cluster.csv()) == 2 and cluster.rows() > 3, "rows", cluster.said)
    # Only now is the limit near: Slurm may signal 30 s early, which might be before the start.
    for task in (1, 2):
        cluster.run("scontrol", "update", f"JobId={job}_{task}", "EndTime=now+70seconds")

    def over():
        waiting = re.findall(rf"({job}_\d+) PENDING BeginTime", cluster.queue())
        if waiting:
            # Slurm would wait two minutes, so that what is left of the last attempt can end.
            time.sleep(5)
        for task in waiting:
            cluster.run("scontrol", "update", f"JobId={task}", "StartTime=now", "TimeLimit=20")
        return not cluster.queue()

    until(over, "the tasks to end", cluster.said, patience=400)
    assert cluster.status(file) == "2 done", cluster.said()
    each_row_once(cluster.results, runs=2, epochs=EPOCHS_OF_A_MINUTE)
    said = cluster.said()
    assert "stopped, to be resumed" in said
    assert "restart 1" in said


def start_long(cluster, tmp_path, epochs, devices="[1]", strategies='["horovod"]') -> Path:
    """A submitted sweep whose first run has begun to measure."""
    file = sweep_file(tmp_path, devices=devices, strategies=strategies, epochs=epochs)
    cluster.sweep("submit", file, "--site", "local-cluster")
    until(lambda: cluster.csv() and cluster.rows() > 3, "rows", cluster.said)
    return file


def test_a_cancelled_task_is_told_and_resumed(cluster, tmp_path):
    file = start_long(cluster, tmp_path, epochs=4000)
    assert cluster.status(file) == "1 running"
    (record,) = (cluster.results / "sweep" / "submissions").glob("*.json")
    cluster.run("scancel", f"{read_submission(record).array_job}_0")
    cluster.wait_for_empty_queue()
    assert cluster.status(file) == "1 failed", cluster.said()
    assert "failed: fc-64 horovod x1 repeat 0: cancelled: its job was cancelled" in cluster.sweep(
        "status", file
    )
    before = cluster.rows()
    assert "repeat 0, 1 job of 1 device" in cluster.sweep("resume", file)
    until(lambda: cluster.rows() > before, "new rows", cluster.said)
    text = cluster.csv()[0].read_text().splitlines()[1:]
    place = cluster.csv()[0].read_text().splitlines()[0].split(",").index("interval")
    assert [int(line.split(",")[place]) for line in text] == list(range(len(text)))


def test_a_killed_rank_fails_its_run_and_resume_completes_it(cluster, tmp_path):
    file = start_long(cluster, tmp_path, devices="[2]", epochs=300)
    ranks = [
        process
        for process in psutil.process_iter()
        if "hpcbench.train" in (cmdline := _cmdline(process))
        and str(cluster.results) in cmdline
        and process.name().startswith("python")
    ]
    assert len(ranks) == 2
    os.kill(max(process.pid for process in ranks), signal.SIGKILL)
    cluster.wait_for_empty_queue()
    assert cluster.status(file) == "1 failed", cluster.said()
    cluster.sweep("resume", file)
    cluster.wait_for_empty_queue()
    assert cluster.status(file) == "1 done", cluster.said()
    each_row_once(cluster.results, runs=1, epochs=300)


def _cmdline(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def test_a_full_disk_fails_the_run_and_resume_completes_it(cluster, tmp_path):
    file = sweep_file(tmp_path, epochs=30)
    log = f"--output={cluster.results}-%A_%a.out"
    # Slurm gives its jobs the limits of the shell that submits: no file past 40 blocks of 512.
    line = [
        "sbatch",
        log,
        "--array=1",
        "--nodes=1",
        "jobs/scale_sweep.sh",
        "--sweep",
        file,
        "--results",
        cluster.results,
    ]
    done = cluster.run("sh", "-c", 'ulimit -f 40; exec "$@"', "sh", *line)
    assert done.status == 0, done.errors
    cluster.wait_for_empty_queue()
    assert cluster.status(file) == "1 failed", cluster.said()
    assert "environment: " in cluster.sweep("status", file)
    assert all(text.endswith("\n") for text in map(Path.read_text, cluster.csv()))
    line = ("python", "-m", "hpcbench.sweep", "resume", file, "--results", cluster.results)
    nowhere = cluster.run(*line)
    assert nowhere.status == 2
    assert "was not submitted to a site before; say --site" in nowhere.errors
    cluster.sweep("resume", file, "--site", "local-cluster")
    cluster.wait_for_empty_queue()
    assert cluster.status(file).startswith("1 done"), cluster.said()


def test_two_jobs_on_the_same_runs_write_each_once(cluster, tmp_path):
    """As when a job starts twice, or two people submit the same sweep."""
    file = sweep_file(tmp_path, strategies='["single", "horovod"]', epochs=40)
    script = ("--array=1", "--nodes=1", "jobs/scale_sweep.sh", "--sweep", file)
    for _ in range(2):
        cluster.sbatch(*script, "--results", cluster.results)
    cluster.wait_for_empty_queue()
    assert cluster.status(file) == "2 done", cluster.said()
    each_row_once(cluster.results, runs=2, epochs=40)


def test_two_hundred_writers_at_once_leave_whole_files(cluster, tmp_path):
    """The records' writer alone, since 200 trainings would measure patience."""
    (tmp_path / "write.py").write_text(
        "import os, sys; from pathlib import Path; sys.path.insert(0, 'tests')\n"
        "from test_records import write_run\n"
        "index = os.environ['SLURM_ARRAY_TASK_ID']\n"
        "write_run(Path(sys.argv[1]) / 'sweep' / index, rows=20)\n"
    )
    script = tmp_path / "job.sh"
    script.write_text(
        f'#!/bin/sh\nexec {shutil.which("python", path=environment()["PATH"])} "$@"\n'
    )
    cluster.sbatch("--array=0-199", "--mem=1", script, tmp_path / "write.py", cluster.results)
    cluster.wait_for_empty_queue()
    found = read_results(cluster.results)
    assert found.skipped == []
    assert len(found.runs) == 200, cluster.said()
    assert len(found.throughput) == 200 * 20
    assert len(found.accuracy) == 200


def test_a_node_believed_dead_is_fenced_off(tmp_path):
    """Its step runs on and writes, while the requeued task runs elsewhere."""
    results = tmp_path / "results"
    with cluster_in(tmp_path / "slurm", "--gpus", "1") as folder:
        cluster = Cluster(folder, results)
        # What srun started, it ends when it hears of the node's death.
        file = start_long(cluster, tmp_path, epochs=20_000, strategies='["single"]')
        (record,) = (results / "sweep" / "submissions").glob("*.json")
        task = f"{read_submission(record).array_job}_0"
        node = cluster.run("squeue", "--noheader", "--format=%N").output.strip()
        orphans = [p for p in psutil.process_iter() if str(results) in _cmdline(p)]
        os.kill(int((folder / "run" / f"{node}.pid").read_text()), signal.SIGKILL)
        waiting = f"{task} PENDING BeginTime"
        until(lambda: waiting in cluster.queue(), "the task to be requeued", cluster.queue)
        cluster.run("scontrol", "update", f"JobId={task}", "StartTime=now")
        owner = next(results.rglob("owner.json"))
        until(lambda: json.loads(owner.read_text())["restart"] == 1, "the restart", cluster.said)
        trainers = [p for p in orphans if p.is_running() and "hpcbench.train" in _cmdline(p)]
        assert trainers, "the orphan ended before the restart, so nothing was fenced off"
        _, alive = psutil.wait_procs(trainers, timeout=60)
        assert not alive, "the orphan goes on"
        (csv,) = cluster.csv()
        until(lambda: cluster.rows() > 20, "rows of the restart", cluster.said)
        lines = csv.read_text().splitlines()
        place = lines[0].split(",").index("interval")
        assert [int(line.split(",")[place]) for line in lines[1:]] == list(range(len(lines) - 1))
        assert cluster.status(file) == "1 running"


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
