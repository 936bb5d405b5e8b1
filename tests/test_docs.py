"""The guide: each of its commands as it stands there, in a copy of the project."""

import json
import os
import re
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from support import ROOT, environment, run
from support.slurm import SHAPES, Cluster, cluster_in

PAGES = ROOT / "docs"


@pytest.fixture
def project(tmp_path):
    """All files of the project that git knows or would take, with its virtual environment."""
    assert run(["make", "setup"]).status == 0
    copy = tmp_path / "project"
    copy.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    packed = tmp_path / "project.tar"
    with tarfile.open(packed, "w") as tar:
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).exists():
                tar.add(ROOT / name, name)
    with tarfile.open(packed) as tar:
        tar.extractall(copy, filter="data")
    (copy / ".venv").symlink_to(ROOT / ".venv")
    return copy


def commands(page: str) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", (PAGES / page).read_text(), re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()]


def follow(page: str, project: Path, env: dict[str, str], wait=lambda: None) -> dict[str, str]:
    """What each command printed; any that fails is the guide's fault."""
    printed = {}
    for command in commands(page):
        if command.startswith("squeue"):
            wait()
        shell = f". .venv/bin/activate; {command}"
        done = run(["bash", "-c", shell], cwd=project, env=env)
        assert done.status == 0, f"{command}\n{done.output}\n{done.errors}"
        printed[command] = done.output
    return printed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "options"), [("typed-gpus", ()), ("whole-nodes", ("--mpi", "pmi2")), ("limits", ())]
)
def test_a_first_run_on_a_cluster(project, shape, options):
    """On clusters of different kinds, with no file edited; tests/test_shapes.py has others."""
    with cluster_in("--shape", str(SHAPES / f"{shape}.conf"), *options) as folder:
        cluster = Cluster(folder, project / "results")
        said = follow("first-run.md", project, cluster.environment(), cluster.wait_for_empty_queue)
    assert "TensorFlow  loads" in said["srun --ntasks=1 --time=10 hpcbench doctor"]
    assert "fits" in said["hpcbench doctor --site mine"]
    status = said["hpcbench sweep status docs/examples/first.toml"]
    assert "sweep first: 2 done" in status
    assert "report.html" in os.listdir(project / "results" / "first" / "figures")
    assert (project / "figures" / "report.html").exists()


@pytest.mark.slow
def test_a_model_of_ones_own(project):
    said = follow("own-model.md", project, environment())
    assert sum("cnn-three on" in text for text in said.values()) == 2
    assert "sweep own on this machine: 4 runs" in said["hpcbench sweep plan docs/examples/own.toml"]


@pytest.mark.slow
def test_ones_own_training(project):
    said = follow("your-own-training.md", project, environment())
    assert "sweep train.py: 4 done" in " ".join(said.values())
    assert any("a parallel efficiency of" in text for text in said.values())


@pytest.mark.slow
def test_reading_the_report(project):
    start = time.time()
    follow("reading-the-report.md", project, environment())
    assert (project / "figures" / "example" / "report.html").stat().st_mtime > start - 1


@pytest.mark.slow
def test_published_figures(project):
    said = follow("published.md", project, environment())
    assert (project / "figures" / "csc" / "report.html").exists()
    plan = "hpcbench sweep plan csc-ddp --site mahti --results results/csc"
    assert "sweep csc-ddp on mahti: 24 runs" in said[plan]


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", *PAGES.glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", page.read_text()):
            target = "".join(link)
            assert target.startswith("http") or (page.parent / target).exists(), (page, target)


def test_the_notebook_prints_what_it_shows(monkeypatch, capsys):
    """Its cells in their order, as a kernel would run them in docs/."""
    monkeypatch.chdir(PAGES)
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
    cells = json.loads((PAGES / "results-in-a-notebook.ipynb").read_text())["cells"]
    names: dict[str, object] = {}
    for cell in (cell for cell in cells if cell["cell_type"] == "code"):
        exec("".join(cell["source"]), names)
        shown = [out for out in cell["outputs"] if out["output_type"] == "stream"]
        assert capsys.readouterr().out == "".join("".join(out["text"]) for out in shown)
