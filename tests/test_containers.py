"""Images: how jobs run in them, what does not fit found before, the recipes as far as they can be.

A test that needs an image runs where HPCBENCH_IMAGE names one: containers/build cpu makes it.
"""

import getpass
import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from hpcbench.cluster.container import check_image, inside
from hpcbench.cluster.site import Site
from hpcbench.errors import EnvironmentLacks
from support import ROOT, run
from support.slurm import Cluster, cluster_in

IMAGE = os.environ.get("HPCBENCH_IMAGE")
needs_image = pytest.mark.skipif(not IMAGE, reason="HPCBENCH_IMAGE names no image")


def site(container: Path, **more) -> Site:
    sizes = {"devices_per_node": 1, "cores_per_device": 1, "max_devices": 2, "device": "cpu"}
    return Site(name="here", container=container, **sizes | more)


def test_a_program_in_an_image_sees_its_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("USER", "me")
    folder = tmp_path / "results"
    line = inside(site(tmp_path, container_command="ch-run"), ["python", "-V"], [folder])
    here = os.getcwd()
    binds = [f"--bind={here}:{here}", f"--bind={folder}:{folder}"]
    head = ["ch-run", *binds, f"--cd={here}"]
    assert line == [*head, str(tmp_path), "--", "python", "-V"]
    monkeypatch.delenv("USER")
    line = inside(site(tmp_path, container_command="ch-run"), ["a"])
    assert line[:3] == ["env", f"USER={getpass.getuser()}", "ch-run"]
    line = inside(site(tmp_path / "x.sif", container_command="singularity", device="gpu"), ["a"])
    assert line[:4] == ["singularity", "exec", "--nv", f"--bind={here}"]


def programs(folder: Path, monkeypatch, **says: str) -> None:
    """Let programs of these names say that, before the real ones."""
    for name, text in says.items():
        program = folder / name.replace("_", "-")
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_set_up_reads_what_a_sites_jobs_read(tmp_path):
    """Before it looks for anything; and says so where it cannot."""
    site = tmp_path / "mine.toml"
    site.write_text('name = "mine"\nsetup = ["echo read $NOT_SET; exit 7"]\n')
    line = [ROOT / "containers" / "setup.sh"]
    done = run(line, env=os.environ | {"HPCBENCH_SITE": str(site)})
    assert (done.status, done.output.splitlines()[-1]) == (7, "read")
    # Not the last line alone.
    site.write_text('name = "mine"\nsetup = ["nothere load", "true"]\n')
    done = run(line, env=os.environ | {"HPCBENCH_SITE": str(site)})
    assert done.status == 3
    assert f"the setup of {site} failed with status 127 at: nothere load" in done.errors
    done = run(line, env=os.environ | {"HPCBENCH_SITE": "nowhere"})
    assert done.status == 2
    assert "there is no jobs/sites/nowhere.toml" in done.errors


@pytest.mark.parametrize(
    ("part", "of_gpus", "of_cpus"), [("torch", "", "whl/cpu"), ("jax", "jax[cuda12]", "")]
)
def test_gpu_yes_installs_what_is_for_gpus_where_none_is(tmp_path, part, of_gpus, of_cpus):
    """As on a login node; what was chosen at the set-up holds later."""
    (tmp_path / "bin").mkdir()
    # There is no such package yet, and pip tells what it is asked for.
    stub = tmp_path / "bin" / "python"
    stub.write_text('#!/bin/sh\ncase "$1" in -c) exit 1 ;; *) echo "$@" ;; esac\n')
    stub.chmod(0o755)
    line = [ROOT / "containers" / "setup.sh", f"--{part}"]
    without = {name: value for name, value in os.environ.items() if name != "GPU"}

    def asked(**more: str) -> str:
        done = run(line, env=without | {"VENV": str(tmp_path)} | more)
        assert done.status == 0, done.errors
        return done.output

    for for_gpus in (True, False):
        found = asked(GPU="yes" if for_gpus else "no")
        assert (of_gpus if for_gpus else of_cpus) in found
        unwanted = of_cpus if for_gpus else of_gpus
        assert not unwanted or unwanted not in found
    (tmp_path / "setup-choices").write_text("GPU=yes\n")
    assert asked() == asked(GPU="yes")


def test_an_image_that_cannot_serve_is_found_before_the_job(tmp_path, monkeypatch):
    image = tmp_path / "image"
    by_mpirun = site(image, launcher="mpirun", container_command="ch-run")
    with pytest.raises(EnvironmentLacks, match="is not here; containers/build makes one"):
        check_image(by_mpirun)
    image.mkdir()
    programs(tmp_path, monkeypatch, ch_run="exit 1")
    with pytest.raises(EnvironmentLacks, match="ch-run cannot run mpirun in"):
        check_image(by_mpirun)
    programs(
        tmp_path,
        monkeypatch,
        ch_run="echo 'mpirun (Open MPI) 5.0.3'",
        mpirun="echo 'mpirun (Open MPI) 4.1.4'",
        srun="echo 'cray_shasta none pmi2' >&2",
    )
    with pytest.raises(EnvironmentLacks, match=r"4.1.4 does not fit the image's .*5.0.3"):
        check_image(by_mpirun)
    with pytest.raises(EnvironmentLacks, match="starts no ranks by pmix"):
        check_image(site(image, container_command="ch-run"))
    programs(tmp_path, monkeypatch, ch_run="echo 'mpirun (Open MPI) 4.1.6'", srun="echo pmix_v4")
    assert check_image(by_mpirun) == "mpirun (Open MPI) 4.1.6"
    check_image(site(image, container_command="ch-run"), [tmp_path / "results"])
    assert (image / tmp_path.relative_to("/") / "results").is_dir(), "nowhere to mount it"
    shutil.rmtree(image)
    image.mkdir()
    (image / "tmp").touch()
    with pytest.raises(EnvironmentLacks, match="cannot be seen in image"):
        check_image(by_mpirun, [Path("/tmp/data")])


@pytest.mark.slow
@needs_image
def test_jobs_train_in_the_image(tmp_path):
    """On the local cluster: Horovod over two nodes, and what provenance says of the image."""
    sweep = tmp_path / "sweep.toml"
    sweep.write_text(
        'name = "s"\nrepeats = 1\ndevices = [2]\nstrategies = ["horovod"]\n'
        '[[models]]\nmodel = "fc-64"\nepochs = 1\ntrain_samples = 5000\n'
    )
    results = tmp_path / "results"
    with cluster_in() as folder:
        cluster = Cluster(folder, results)
        line = ("--array=1", "--ntasks-per-node=1", "jobs/scale_sweep.sh", "--sweep", sweep)
        cluster.sbatch(*line, "--results", results, "--container", IMAGE)
        cluster.wait_for_empty_queue()
        assert "1 done" in cluster.status(sweep), cluster.said()
    (document,) = (json.loads(p.read_text()) for p in results.rglob("run.json"))
    image = document["provenance"]["image"]
    assert image["digest"].startswith("sha256:")
    assert image["name"] == IMAGE
    head = run(["git", "rev-parse", "--short=7", "HEAD"]).output.strip()
    assert document["provenance"]["git_commit"].startswith(head)
    assert len(set(document["hosts"])) == 2
    assert document["provenance"]["packages"]["horovod"] == "0.28.1"


@needs_image
def test_the_doctor_finds_no_problem_in_the_image(tmp_path):
    command = ["/opt/hpcbench/.venv/bin/python", "-m", "hpcbench.doctor", "--full", "--json"]
    image = site(Path(IMAGE), launcher="horovodrun")
    check_image(image, [tmp_path])
    done = run(inside(image, [*command, f"--results={tmp_path}"], [tmp_path]))
    problems = [f for f in json.loads(done.output) if f["state"] == "problem"]
    assert not problems


def recipe(name: str) -> str:
    return (ROOT / "containers" / name).read_text()


def test_the_recipes_say_the_same():
    """One base image, one installer, one place."""
    docker, definition = recipe("Dockerfile"), recipe("gpu.def")
    base = re.search(r"^ARG BASE=(\S+)$", docker, re.MULTILINE)[1]
    assert f"base={base}" in definition
    for text in (docker, definition, recipe("cpu.def")):
        assert "/opt/hpcbench/containers/install.sh" in text
        assert "/opt/hpcbench/.venv/bin/python" in text
    assert re.search(r":\S*\d", base), "a base image without a version is another one tomorrow"


def test_the_docker_file_passes_the_rules_of_hadolint():
    done = run([Path(sys.executable).with_name("hadolint"), ROOT / "containers" / "Dockerfile"])
    assert done.status == 0, done.output


@pytest.mark.slow
def test_debian_has_the_packages_that_set_up_installs():
    if not shutil.which("apt-cache"):
        pytest.skip("not Debian")
    text = recipe("setup.sh")
    names = {name for found in re.findall(r"wanted\+=\(([^)]*)\)", text) for name in found.split()}
    assert {"g++", "openmpi-bin", "libopenmpi-dev", "python3-venv"} <= names
    if "http" not in run(["apt-cache", "policy", "bash"]).output:
        pytest.skip("apt-get update has not run here")
    for name in names:
        assert "Candidate: (none)" not in run(["apt-cache", "policy", name]).output, name


@pytest.mark.slow
def test_pypi_has_what_the_gpu_image_installs(tmp_path):
    """TensorFlow with CUDA's libraries for the Python of the image, in the locked versions."""
    lock = (ROOT / "requirements.lock").read_text()
    version = re.search(r"^tensorflow-cpu==(\S+)$", lock, re.MULTILINE)[1]
    (tmp_path / "lock").write_text(lock.replace(f"tensorflow-cpu=={version}", ""))
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--ignore-installed",
        "--quiet",
        "--report",
        tmp_path / "report",
        "--python-version=3.12",
        "--only-binary=:all:",
        "--target",
        tmp_path / "target",
        "-c",
        tmp_path / "lock",
        f"tensorflow[and-cuda]=={version}",
    ]
    done = run(command)
    if "Failed to establish a new connection" in done.errors:
        pytest.skip("PyPI is out of reach")
    assert done.status == 0, done.errors
    report = json.loads((tmp_path / "report").read_text())
    names = {package["metadata"]["name"] for package in report["install"]}
    assert {"tensorflow", "nvidia-cudnn-cu12", "nvidia-nccl-cu12"} <= names


@pytest.mark.parametrize("tool", ["apptainer", "docker"])
def test_build_leaves_nothing_behind(tmp_path, monkeypatch, tool):
    if tool == "docker" and (shutil.which("apptainer") or shutil.which("singularity")):
        pytest.skip("Apptainer goes first")
    programs(tmp_path, monkeypatch, **{tool: "exit 7"})
    monkeypatch.setenv("TMPDIR", str(tmp_path / "work"))
    (tmp_path / "work").mkdir()
    assert run([ROOT / "containers" / "build", "gpu"], env=dict(os.environ)).status == 7
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.parametrize("arguments", [[], ["tpu"]])
def test_build_says_what_it_can_build(arguments):
    done = run([ROOT / "containers" / "build", *arguments])
    assert done.status == 2
    assert done.errors == "hpcbench: say what to build: containers/build cpu, or gpu\n"


@pytest.mark.parametrize(
    ("flags", "variables", "sentence"),
    [
        ([], {"TENSORFLOW": "2.15.0"}, "not one of 2.16.x to 2.21.x"),
        ([], {"TENSORFLOW": "2.18.banana"}, "not one of 2.16.x to 2.21.x"),
        ([], {"HOROVOD": "no"}, "HOROVOD=no: leave it out, or none"),
        ([], {"GPU": "1"}, "GPU=1: yes or no"),
        ([], {"VENV": "a b"}, "a name without spaces"),
        (["--bogus"], {}, "--bogus is none of"),
    ],
)
def test_set_up_refuses_what_it_does_not_know(tmp_path, flags, variables, sentence):
    shown = {**os.environ, "VENV": str(tmp_path / "venv"), **variables}
    done = run([ROOT / "containers" / "setup.sh", *flags], env=shown)
    assert done.status == 2
    assert sentence in done.errors
    assert not (tmp_path / "venv").exists()


def test_set_up_in_an_environment_of_another_python(tmp_path):
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho Python 3.7.1\n")
    python.chmod(0o755)
    shown = {**os.environ, "VENV": str(tmp_path / "venv"), "PYTHON": sys.executable}
    done = run([ROOT / "containers" / "setup.sh"], env=shown)
    assert done.status == 3
    assert "has another Python than" in done.errors
