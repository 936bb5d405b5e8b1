"""The doctor: each check meets the thing that it is for, broken as it breaks in the field."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpcbench.checkup import CheckContext, Severity, cluster, devices, software, storage
from hpcbench.cluster.schedulers import SCHEDULERS
from hpcbench.cluster.schedulers.slurm import partitions
from hpcbench.cluster.site import Site, SitePartition
from hpcbench.devices.gpus import Gpu, chosen
from support import environment, run, train

GIB = 1 << 30
SITE = Site(
    name="here",
    device="gpu",
    gpu_type="v100",
    devices_per_node=4,
    cores_per_device=8,
    max_devices=8,
    time="2:00:00",
    partitions=[SitePartition(name="gpu", max_devices=8)],
)


def doctor(*flags, **options):
    """Its findings by subject, as (state, found, remedy), and its exit status."""
    command = [sys.executable, "-m", "hpcbench.doctor", "--json", "--no-full", *flags]
    done = run(command, env=environment(**options))
    assert not done.errors, done.errors
    found = json.loads(done.output)
    assert all(f["remedy"] or f["state"] == "ok" for f in found)
    assert done.status == (3 if any(f["state"] == "problem" for f in found) else 0)
    said: dict[str, tuple[str, str, str]] = {}
    rank = {"ok": 0, "warning": 1, "problem": 2}
    for f in found:
        worst = said.get(f["subject"], ("ok", "", ""))
        if rank[f["state"]] >= rank[worst[0]]:
            said[f["subject"]] = (f["state"], f["found"], f["remedy"])
    return said


@pytest.mark.slow
def test_a_machine_that_works_has_no_problem(tmp_path):
    done = run([sys.executable, "-m", "hpcbench.doctor", "--full", f"--results={tmp_path}"])
    assert done.status == 0, done.output
    assert "problems: 0" in done.output
    assert "ok       TensorFlow  loads" in done.output
    assert "training and" in done.output
    assert not list(tmp_path.iterdir())


def test_bad_arguments_end_with_2():
    done = run([sys.executable, "-m", "hpcbench.doctor", "--site", "bridges"])
    assert done.status == 2
    assert done.errors == "hpcbench: unknown site 'bridges'; did you mean 'bridges2'?\n"


def test_an_interpreter_that_is_too_old(monkeypatch):
    monkeypatch.setattr(software, "PYTHONS", ((3, 99),))
    (finding,) = software.python(CheckContext("fc-64"))
    assert finding.state == Severity.PROBLEM


def installed(folder: Path, package: str, version: str) -> None:
    """Let ``package`` be found in ``folder`` before the real one."""
    info = folder / f"{package.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")


def test_another_tensorflow_than_horovod_was_compiled_for(tmp_path):
    installed(tmp_path, "tensorflow-cpu", "2.15.1")
    installed(tmp_path, "keras", "2.15.0")
    said = doctor(PYTHONPATH=str(tmp_path))
    assert said["TensorFlow"][:2] == ("warning", "2.15.1, which is untested")
    assert said["Keras"][0] == "problem"
    if shutil.which("horovodrun"):
        assert said["Horovod"][0] == "problem"
        assert "2.15.1 is here" in said["Horovod"][1]


def test_horovod_whose_libraries_are_gone(tmp_path):
    built = tmp_path / "horovod" / "tensorflow"
    built.mkdir(parents=True)
    (tmp_path / "horovod" / "__init__.py").touch()
    version = json.dumps({"tensorflow": software.tensorflow_version()})
    (tmp_path / "horovod" / "metadata.json").write_text(version)
    installed(tmp_path, "horovod", "0.28.1")
    assert "compiled without TensorFlow" in doctor(PYTHONPATH=str(tmp_path))["Horovod"][1]
    library = tmp_path / "libmpi_of_a_module.so"
    compiler = ["g++", "-shared", "-x", "c++", "/dev/null"]
    subprocess.run([*compiler, "-o", library], check=True)
    linked = ["-Wl,--no-as-needed", f"-L{tmp_path}", "-lmpi_of_a_module"]
    subprocess.run([*compiler, "-o", built / "mpi_lib.so", *linked], check=True)
    library.unlink()
    state, found, _ = doctor(PYTHONPATH=str(tmp_path))["Horovod"]
    assert (state, found) == ("problem", "0.28.1 does not find libmpi_of_a_module.so")
    # And a run under Horovod says it before any framework loads.
    done = run(
        [sys.executable, "-m", "hpcbench.train", f"--results={tmp_path}", "--strategy=horovod"],
        env=environment(PYTHONPATH=str(tmp_path)),
    )
    assert done.status == 3
    assert "Horovod: 0.28.1 does not find libmpi_of_a_module.so; load the MPI" in done.errors


def test_mpi_that_is_missing_broken_or_another(tmp_path):
    python = Path(sys.executable)
    bare = f"{python.parent}:{tmp_path}"
    assert doctor(PATH=bare)["MPI"][0] == "warning"
    (tmp_path / "mpirun").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "mpirun").chmod(0o755)
    assert doctor(PATH=f"{tmp_path}:{os.environ['PATH']}")["MPI"][0] == "problem"
    launcher = "mpirun (Open MPI) 4.1.4\n"
    assert software.mpi_fits("Open MPI v4.1.4, package: Debian", launcher).state == Severity.OK
    other = software.mpi_fits("MPICH Version: 4.2.0", launcher)
    assert other.state == Severity.PROBLEM
    assert "ranks load MPICH Version: 4.2.0, and mpirun is of Open MPI 4.1" in other.found


def test_a_tensorflow_that_does_not_load(tmp_path):
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("raise ImportError('libcudart.so.12')")
    command = [sys.executable, "-m", "hpcbench.doctor", "--full", "--json"]
    done = run(command, env=environment(PYTHONPATH=str(tmp_path)))
    assert done.status == 3
    wrong = [f for f in json.loads(done.output) if f["subject"] == "tensorflow"]
    assert wrong[0]["found"] == "does not load: libcudart.so.12"


def gpu(index, used=0.1, processes=()):
    return Gpu(index, f"GPU-{index}{index}", "V100", 32 * GIB, int(used * GIB), processes)


def test_gpus_that_are_few_or_in_use():
    few, *_ = devices.gpu_findings([gpu(0), gpu(1)], 4)
    assert few.state == Severity.PROBLEM
    assert few.found == "4 are asked for, here are 2: 0 V100, 1 V100"
    fine, busy = devices.gpu_findings([gpu(0), gpu(1, 12.5, (4711,))], 2)
    assert fine.state == Severity.OK
    assert busy.found == "12.5 of 32 GiB of GPU 1 are in use by process 4711"
    # Nobody is told of a GPU that the run would not take.
    assert len(list(devices.gpu_findings([gpu(0), gpu(1, 12.5)], 1))) == 1


def test_cuda_visible_devices_choose_as_cuda_does():
    there = [gpu(0), gpu(1), gpu(2)]
    for entries, indices in (("2,0", [2, 0]), ("GPU-11", [1]), ("1,-1,0", [1]), ("", [])):
        assert [g.index for g in chosen(there, {"CUDA_VISIBLE_DEVICES": entries})] == indices
    assert chosen(there, {}) == there


def test_a_driver_that_does_not_answer(monkeypatch):
    if devices.visible_gpus({}):
        pytest.skip("this machine has GPUs")
    monkeypatch.setattr(devices, "visible_gpus", lambda _: 2)
    (finding,) = devices.gpus(CheckContext("fc-64"))
    assert finding.state == Severity.PROBLEM
    assert "the NVIDIA driver does not answer" in finding.found


def test_data_of_ones_own_that_are_broken_or_elsewhere(tmp_path):
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "1.png").touch()
    said = doctor("--dataset=image-folder", "--model=cnn-cifar", f"--data-dir={tmp_path}")
    assert said["data"][0] == "problem"
    assert "1 subfolders with images" in said["data"][1]
    assert "does not exist" in doctor(f"--data-dir={tmp_path / 'no'}")["data"][1]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--devices=0"], "at least 1"),
        (["--model=mlp-boston", "--dataset=mnist"], "takes tables"),
    ],
)
def test_what_cannot_be_asked_for(flags, says):
    done = run([sys.executable, "-m", "hpcbench.doctor", *flags])
    assert done.status == 2
    assert says in done.errors


def test_a_site_whose_image_is_elsewhere(tmp_path):
    (finding,) = cluster.image(
        CheckContext("fc-64", site=SITE.model_copy(update={"container": tmp_path}))
    )
    assert finding.state == Severity.OK
    gone = SITE.model_copy(update={"container": tmp_path / "no.sif"})
    (finding,) = cluster.image(CheckContext("fc-64", site=gone))
    assert (finding.state, finding.found) == (Severity.PROBLEM, f"{tmp_path}/no.sif is not here")


def test_energy_that_may_not_be_read(tmp_path):
    here = {"HPCBENCH_POWERCAP": str(tmp_path)}
    (finding,) = devices.energy(CheckContext("fc-64", environment=here))
    assert finding.state == Severity.OK
    zone = tmp_path / "intel-rapl:0"
    zone.mkdir()
    (zone / "name").write_text("package-0\n")
    (finding,) = devices.energy(CheckContext("fc-64", environment=here))
    assert (finding.state, finding.found) == (
        Severity.WARNING,
        f"not counted: {tmp_path} may not be read",
    )
    (zone / "max_energy_range_uj").write_text("1000000\n")
    (zone / "energy_uj").write_text("1\n")
    (finding,) = devices.energy(CheckContext("fc-64", environment=here))
    assert (finding.state, finding.found) == (Severity.OK, "counted by CPU packages")


def test_a_job_without_the_gpus_of_its_site():
    asked = CheckContext("fc-64", site=SITE, environment={"SLURM_JOB_ID": "1"})
    if devices.visible_gpus({}) == 0:
        (finding,) = devices.gpus(asked)
        assert finding.state == Severity.PROBLEM


def test_cores_that_are_fewer_than_they_seem(tmp_path):
    command = ["taskset", "-c", str(min(os.sched_getaffinity(0))), sys.executable, "-m"]
    done = run([*command, "hpcbench.doctor", "--no-full", "--devices=2"])
    assert "for 2 devices that are CPU cores" in done.output
    assert "OMP_NUM_THREADS=64" in doctor(OMP_NUM_THREADS="64")["threads"][1]
    for name, content in (
        ("cpu.max", "150000 100000\n"),
        ("cpu.cfs_quota_us", "150000\n"),
    ):
        second = name == "cpu.max"
        group = tmp_path / ("" if second else "cpu,cpuacct") / "job" / "step"
        group.mkdir(parents=True)
        (group.parent / name).write_text(content)
        (group.parent / "cpu.cfs_period_us").write_text("100000\n")
        line = f"0::{'/job/step'}" if second else "4:cpu,cpuacct:/job/step"
        assert devices.cpu_quota(tmp_path, f"7:memory:/elsewhere\n{line}\n") == 1.5
        shutil.rmtree(tmp_path / group.relative_to(tmp_path).parts[0])
    (finding,) = devices.core_findings(64, 64, 64, 1.5, CheckContext("fc-64", environment={}))
    assert finding.state == Severity.WARNING
    assert "64 of 64, of which the cgroup grants the time of 1.5" in finding.found


def test_data_that_are_missing_cut_short_or_damaged(tmp_path):
    elsewhere = {"KERAS_HOME": str(tmp_path / "no"), "HPCBENCH_DATA": str(tmp_path)}
    asked = ("--dataset=mnist", f"--data-dir={tmp_path}")
    missing = doctor(*asked, **elsewhere)["data"]
    assert missing[0] == "warning"
    assert "python -m hpcbench.datasets.sources mnist" in missing[2]
    assert doctor("--dataset=deepcam", "--model=climate", **elsewhere)["data"][0] == "problem"
    archive = tmp_path / "mnist.npz"
    archive.touch()
    assert doctor(*asked, **elsewhere)["data"][1] == f"{archive} is empty"
    archive.write_bytes(b"PK\x03\x04 and then the download ended")
    assert "truncated" in doctor(*asked, **elsewhere)["data"][1]
    import numpy as np

    np.savez(archive, x_train=np.zeros((2, 28, 28), np.uint8))
    assert doctor(*asked, **elsewhere)["data"][0] == "ok"
    (finding,) = storage.data_read(CheckContext("fc-64", "mnist", data_dir=tmp_path))
    assert finding.state == Severity.PROBLEM
    assert "corrupt or unreadable" in finding.found


def test_onednn_that_is_kept_to_narrow_instructions():
    state, found, remedy = doctor(ONEDNN_MAX_CPU_ISA="SSE41")["CPU math"]
    assert (state, remedy[:8]) == ("warning", "unset it")
    assert found.startswith("ONEDNN_MAX_CPU_ISA=SSE41 keeps oneDNN to SSE41")


@pytest.mark.slow
def test_results_that_cannot_be_written_or_have_no_room(tmp_path):
    (tmp_path / "file").touch()
    assert doctor(f"--results={tmp_path}/file/results")["results"][0] == "problem"
    small = tmp_path / "small"
    small.mkdir()
    mounted = run(["mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", str(small)])
    if mounted.status:
        pytest.skip("only root can mount a small disk")
    try:
        state, found, _ = doctor(f"--results={small}/results")["results"]
        assert (state, found) == ("problem", f"{small}/results is full (10 MiB free)")
        done = train(small / "results", "--epochs=1")
        assert done.status == 3
        assert "is full (10 MiB free); make room" in done.errors
    finally:
        run(["umount", str(small)])


def test_a_file_server_with_another_time(tmp_path):
    finding = storage.clock(tmp_path, lambda: time.time() + 3600)
    assert finding.state == Severity.WARNING
    assert "3600 s behind this clock" in finding.found


def test_a_host_that_does_not_find_itself():
    inside = f"hostname nowhere.invalid && {sys.executable} -m hpcbench.doctor --no-full"
    done = run(["unshare", "--uts", "--map-root-user", "sh", "-c", inside])
    if "unshare" in done.errors:
        pytest.skip(done.errors)
    assert done.status == 3
    assert "nowhere.invalid has no address" in done.output


def test_slurm_that_is_not_there_or_does_not_answer(tmp_path):
    python = Path(sys.executable).parent
    assert doctor("--site=generic", PATH=str(python))["scheduler"][0] == "problem"
    assert doctor(PATH=str(python))["scheduler"] == ("ok", "not a machine of a cluster", "")
    sinfo = tmp_path / "sinfo"
    sinfo.write_text("#!/bin/sh\nexec sleep 60\n")
    sinfo.chmod(0o755)
    start = time.monotonic()
    state, found, _ = doctor(PATH=f"{tmp_path}:{os.environ['PATH']}")["Slurm"]
    assert state == "warning"
    assert "no answer" in found
    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ("gpu*|up|1-00:00:00|40|gpu:v100:8(S:0-1)|4|idle|2:20:1|8000|1-infinite|NO", None),
        ("gpu|up|infinite|32+|gpu:v100:4,gpu:a100:1|2|idle|2:16:1|8000|1-infinite|NO", None),
        (
            "cpu|up|infinite|64|(null)|9|idle|2:32:1|8000|1-infinite|NO",
            "partition gpu does not exist",
        ),
        ("gpu|inact|infinite|64|gpu:v100:4|2|idle|2:32:1|8000|1-infinite|NO", "is inact"),
        (
            "gpu|up|1:30:00|64|gpu:v100:4|2|idle|2:32:1|8000|1-infinite|NO",
            "ends jobs after 1:30:00",
        ),
        ("gpu|up|infinite|16|gpu:v100:4|2|idle|2:8:1|8000|1-infinite|NO", "has nodes of 16 CPUs"),
        (
            "gpu|up|infinite|64|gpu:a100:4|2|idle|2:32:1|8000|1-infinite|NO",
            "has nodes of 0 GPUs of type v100",
        ),
        ("gpu|up|infinite|64|gpu:v100:4|9|mixed|2:16:2|8000|1-1|NO", "gives a job 1 nodes"),
        (
            "gpu|up|infinite|64|gpu:v100:4|1|idle|2:32:1|8000|1-infinite|NO",
            "has 1 nodes, and 8 devices need 2",
        ),
    ],
)
def test_a_site_file_against_its_partitions(answer, wrong):
    found = list(
        cluster.site_findings(SITE, partitions.read_partitions(answer + "\n"), SCHEDULERS["slurm"])
    )
    if wrong is None:
        assert [f.state for f in found] == [Severity.OK]
    else:
        assert found[0].state == Severity.PROBLEM
        assert wrong in found[0].found


def test_a_partition_that_the_cluster_chooses_is_left_to_sbatch():
    """Nothing says which one it will be, so the default one is not held against it."""
    chosen = SitePartition(max_devices=SITE.max_devices)
    site = SITE.model_copy(update={"constraint": "gpu", "partitions": [chosen]})
    there = "cpu*|up|infinite|64|(null)|9|idle|2:32:1|8000|1-infinite|NO\n"
    found = cluster.site_findings(site, partitions.read_partitions(there), SCHEDULERS["slurm"])
    assert list(found) == []


def test_a_site_of_larger_arrays_than_slurm_takes():
    assert list(cluster.array_finding(SITE, 1001)) == []
    assert list(cluster.array_finding(SITE, None)) == []
    (finding,) = cluster.array_finding(SITE, 500)
    assert finding.remedy == "max_array_size = 500"


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("90", 90), ("1:30", 1.5), ("1:30:00", 90), ("1-12", 2160), ("1-12:30:00", 2190)],
)
def test_time_limits_of_slurm(limit, expected):
    assert partitions.minutes(limit) == expected


def test_nodes_with_other_names_or_clocks():
    now = 1000.0
    fine = cluster.node_finding("n1 1000.2\nn2 1000.4\n", 2, now, now + 1)
    assert (fine.state, fine.found) == (Severity.OK, "n1, n2")
    late = cluster.node_finding("n1 1000.2\nn2 1030.0\n", 2, now, now + 1)
    assert late.state == Severity.WARNING
    assert "the clock of n2 is 29 s off" in late.found
    same = cluster.node_finding("n1 1000.2\nn1 1000.2\n", 2, now, now + 1)
    assert "the same name" in same.found
    assert "1 of 2 nodes" in cluster.node_finding("n1 1000.2\n", 2, now, now + 1).found
