"""What goes wrong on a real Slurm: time limits, deaths, full disks, writers at once."""

import contextlib
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest

from hpcbench.records.reader import read_results
from hpcbench.sweeps.submission import read_submission
from support import environment, run
from support.slurm import (
    LONG,
    Cluster,
    cluster_in,
    each_row_once,
    start_long,
    sweep_file,
    until,
)

pytestmark = pytest.mark.slow


def _cmdline(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def test_near_the_time_limit_a_task_saves_requeues_itself_and_goes_on(cluster, tmp_path):
    """The other task of the array is not run again."""
    file = sweep_file(tmp_path, devices="[2]", repeats=2, more=LONG)
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
    each_row_once(cluster.results, runs=2, seconds=50)
    said = cluster.said()
    assert "stopped, to be resumed" in said
    assert "restart 1" in said


def test_a_cancelled_task_is_told_and_resumed(cluster, tmp_path):
    file = start_long(cluster, tmp_path, seconds=400)
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
    file = start_long(cluster, tmp_path, devices="[2]", seconds=15)
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
    each_row_once(cluster.results, runs=1, seconds=15)


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


def test_local_ranks_that_the_hosts_contradict_are_refused(cluster, tmp_path):
    """One rank a node, and each is told that both are on one."""
    told = "SLURM_NODEID=0 SLURM_LOCALID=$SLURM_PROCID SLURM_STEP_TASKS_PER_NODE=2"
    line = ("srun", "--mpi=pmix", "--nodes=2", "--ntasks=2", "sh", "-c", f'{told} exec "$@"', "sh")
    options = ("--through=mpi4py", f"--results={tmp_path}", "--largest=4", "--rounds=1")
    done = cluster.run(*line, "python", "-m", "hpcbench.collectives", *options)
    assert done.status == 3
    assert "was told that it is local rank" in done.errors
    assert not list(tmp_path.rglob("*.csv"))


def test_two_hundred_writers_at_once_leave_whole_files(cluster, tmp_path):
    """The records' writer alone, since 200 trainings would measure patience."""
    (tmp_path / "write.py").write_text(
        "import os, sys; from pathlib import Path; sys.path.insert(0, 'tests')\n"
        "from support.records import write_run\n"
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


def test_nodes_that_do_not_see_the_results_are_told_and_not_fed_for_ever(tmp_path):
    """Slurm says nothing at all of a job whose log cannot be written."""
    folder = tmp_path / "hidden"
    folder.mkdir()
    results = folder / "results"
    file = sweep_file(tmp_path, strategies='["single"]')
    with cluster_in("--gpus", "1") as place:
        if not (place / "run" / "bridge").exists():
            pytest.skip("nodes that share this host see what it sees")
        for node in ("n1", "n2"):
            daemon = (place / "run" / f"{node}.pid").read_text().strip()
            inside = ["nsenter", "--mount", f"--target={daemon}"]
            done = run([*inside, "mount", "-t", "tmpfs", "hidden", folder])
            assert done.status == 0, done.errors
        cluster = Cluster(place, results)
        cluster.sweep("submit", file, "--site", "local-cluster")
        cluster.wait_for_empty_queue()
        said = cluster.sweep("status", file)
        assert "missing: 1 run: job 1_0 is over and left no log" in said
        assert f"or its node does not see {results}/sweep/logs" in said
        watch = ("python", "-m", "hpcbench.sweep", "watch", file, "--results", results)
        done = cluster.run(*watch, "--seconds", "1")
        assert done.status == 4, done.errors
        assert "missing: fc-64 single x1 repeat 0: job " in done.output
        assert done.output.count("sbatch ") <= 6, "three arrays, and an analysis for each"


def test_a_node_believed_dead_is_fenced_off(tmp_path):
    """Its step runs on and writes, while the requeued task runs elsewhere."""
    results = tmp_path / "results"
    with cluster_in("--gpus", "1") as folder:
        cluster = Cluster(folder, results)
        # What srun started, it ends when it hears of the node's death.
        file = start_long(cluster, tmp_path, seconds=900, strategies='["single"]')
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
