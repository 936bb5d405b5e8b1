"""A wheel of the repository in empty environments: it reads, plans and plots without the rest."""

import shutil
import sys
from pathlib import Path

import pytest

from hpcbench.packages import DISTRIBUTION
from support import ROOT, Finished, run
from support.pythons import interpreter

pytestmark = pytest.mark.slow

PYTHONS = ("3.11", "3.12", "3.13")
# A report of the examples, from a folder that has nothing of the project.
EXAMPLES = ROOT / "analysis" / "examples" / "default"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, so that nothing of an earlier build gets into it."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("hpcbench", "jobs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    done = run([sys.executable, "-m", *build, str(built), str(source)])
    assert done.status == 0, done.errors
    (found,) = built.glob("*.whl")
    assert found.name.startswith(DISTRIBUTION.replace("-", "_"))
    return found


@pytest.fixture(scope="module", params=PYTHONS)
def command(request, wheel, tmp_path_factory):
    """``hpcbench`` as the wheel installs it, run in an empty folder."""
    python = interpreter(request.param)
    if python is None:
        pytest.skip(f"no Python {request.param} on this machine")
    folder = tmp_path_factory.mktemp("away")
    venv = folder / "venv"
    assert run([python, "-m", "venv", str(venv)]).status == 0
    options = ["--quiet", "--disable-pip-version-check", "--no-compile"]
    done = run([str(venv / "bin" / "pip"), "install", *options, str(wheel)])
    assert done.status == 0, done.errors

    def hpcbench(*arguments: str) -> Finished:
        return run([str(venv / "bin" / "hpcbench"), *arguments], cwd=folder, env={"PATH": ""})

    hpcbench.folder = folder
    return hpcbench


def test_it_counts_the_steps_of_a_program(command):
    """By the probe, which other programs find in the folder that the wheel has installed."""
    shutil.copy(ROOT / "tests" / "programs" / "own_loop.py", command.folder)
    program = (str(command.folder / "venv" / "bin" / "python"), "own_loop.py")
    done = command("scale", "--repeats=1", "--interval-seconds=0.1", "--", *program)
    assert done.status == 0, done.errors + done.output


def test_it_draws_a_report_plans_and_says_what_training_needs(command):
    folder = command.folder
    done = command("plot", str(EXAMPLES), "--output", "figures")
    assert done.status == 0, done.errors
    assert (folder / "figures" / "overview.png").stat().st_size > 10_000
    assert "parallel efficiency" in (folder / "figures" / "report.html").read_text()

    plan = command("sweep", "plan", "default", "--site", "generic")
    assert "runs, about" in plan.output, plan.errors
    missing = command("sweep", "plan", "jobs/sweeps/default.toml")
    assert missing.status == 2
    assert "hpcbench sweep init makes copies to edit" in missing.errors

    copied = command("sweep", "init")
    assert "files copied into jobs" in copied.output, copied.errors
    assert (folder / "jobs" / "scale_sweep.sh").stat().st_mode & 0o100
    assert command("sweep", "plan", "jobs/sweeps/default.toml", "--site", "generic").status == 0
    (folder / "jobs" / "sites" / "generic.toml").write_text("mine")
    assert "0 files copied" in command("sweep", "init").output
    assert (folder / "jobs" / "sites" / "generic.toml").read_text() == "mine"

    trained = command("train")
    assert trained.status == 3
    assert "pip install 'hpcbench-training[cpu]'" in trained.errors
    assert "Traceback" not in trained.errors
