"""What the probe counts of a program, and that it leaves it as it is."""

import json
import os
import subprocess
import sys

import pytest

from hpcbench.programs.probe_lines import process, read
from support import ROOT, run

pytest.importorskip("torch")
pytestmark = pytest.mark.slow

HABITS = ROOT / "tests" / "programs" / "torch_habits.py"
PROBE = ROOT / "hpcbench" / "probe"
BATCH, BATCHES, EPOCHS, PAUSE = 64, 40, 6, 0.2


def with_probe(folder, *command, path=(), **options):
    """Run under the probe, whose lines go into ``folder``."""
    probe = {"PYTHONPATH": os.pathsep.join(map(str, (PROBE, *path))), "HPCBENCH_PROBE": str(folder)}
    probe |= {"HPCBENCH_PROBE_SECONDS": "0.05"}
    return run([sys.executable, *command], env=os.environ | probe, **options)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Of each habit the folder that it wrote into, and the process that the probe tells of."""
    lines, own = (tmp_path_factory.mktemp(name) for name in ("lines", "own"))
    done = with_probe(lines, HABITS, own)
    assert done.errors == ""
    found = {}
    for line in done.output.splitlines():
        habit = json.loads(line)
        (path,) = lines.glob(f"*-{habit['pid']}.jsonl")
        found[habit["habit"]] = process(path.read_bytes().splitlines())
    return own, lines, found


@pytest.mark.parametrize("habit", ["images", "sequences", "workers"])
def test_samples_are_those_that_the_loader_was_asked_for(told, habit):
    *_, found = told
    last = found[habit].marks[-1]
    assert last.samples == BATCH * last.steps


def test_a_streams_last_batch_may_be_smaller(told):
    *_, found = told
    last = found["stream"].marks[-1]
    of_one = last.steps // (BATCHES + 1)
    assert last.samples == BATCH * (last.steps - of_one) + of_one


@pytest.mark.parametrize("habit", ["own_batches", "two_loaders"])
def test_samples_that_are_not_surely_those_of_a_step_are_unknown(told, habit):
    *_, found = told
    assert found[habit].marks[-1].samples is None


@pytest.mark.parametrize(
    ("habit", "steps"),
    [
        ("new_optimizer", EPOCHS * BATCHES),
        ("later_optimizer", EPOCHS * BATCHES),
        ("two_optimizers", EPOCHS * BATCHES),
        ("wrapped_optimizer", EPOCHS * BATCHES),
        ("an_optimizer_a_parameter", EPOCHS * BATCHES),
        # Of the second one those are missed by which it is known to train.
        ("later_model", 2 * EPOCHS * BATCHES - 100),
    ],
)
def test_an_optimizer_that_follows_another_counts(told, habit, steps):
    *_, found = told
    marks = found[habit].marks
    # The last line may be some steps before the end.
    assert 0.6 * steps < marks[-1].steps <= steps
    assert (marks[-1].paused > 0) == (habit == "later_model")


def test_what_is_trained_on_is_no_evaluation(told):
    *_, found = told
    assert found["replays"].marks[-1].paused == 0
    assert found["replays"].marks[-1].samples is None


def test_a_backward_pass_within_another_counts_once(told):
    *_, found = told
    last = found["recomputes"].marks[-1]
    assert last.backward / last.steps > 0.002 * 0.9
    assert last.backward < last.at - found["recomputes"].marks[0].at


@pytest.mark.parametrize(
    "habit",
    [
        *("evaluates", "evaluates_a_part", "evaluates_for_good", "evaluates_unsaid"),
        "saves_while_evaluating",
    ],
)
def test_evaluation_is_taken_out_however_it_is_told(told, habit):
    *_, found = told
    last = found[habit].marks[-1]
    assert last.steps > (EPOCHS - 2) * BATCHES
    assert last.samples == BATCH * last.steps
    trained = last.at - found[habit].marks[0].at - last.paused
    assert last.paused > (EPOCHS - 2) * PAUSE
    assert trained < (EPOCHS - 1) * PAUSE


def test_what_a_program_writes_is_its_own(told):
    """Its models can be loaded where there is no probe, and nothing is written into its files."""
    own, _, found = told
    load = "import torch; torch.load(sys.argv[1], weights_only=False); torch.jit.load(sys.argv[2])"
    files = (own / "whole.pt", own / "scripted.pt")
    subprocess.run([sys.executable, "-c", "import sys; " + load, *files], check=True)
    assert (own / "own.txt").read_text() == "mine\n" * (EPOCHS - 1)
    assert found["closes_files"].marks[-1].steps > 2 * BATCHES


def test_what_trained_before_it_forked_is_no_rank(told):
    _, lines, found = told
    parent = found["forks"].facts["pid"]
    pids = [one.facts["pid"] for one in read(lines)]
    assert parent not in pids
    (child,) = (one for one in read(lines) if one.facts["forked_from"] == parent)
    assert child.marks[-1].steps > BATCHES


TRAINS = """
import torch
parameter = torch.nn.Parameter(torch.zeros(1))
optimizer = torch.optim.SGD([parameter], 0.1)
for _ in range(40):
    parameter.sum().backward()
    optimizer.step()
"""


def test_a_folder_that_cannot_be_written_to_is_the_probes_trouble(tmp_path):
    done = with_probe(tmp_path / "gone", "-c", TRAINS + "print('trained')")
    assert (done.status, done.output) == (0, "trained\n")
    assert "hpcbench probe: cannot write its lines" in done.errors


def test_another_sitecustomize_may_import_the_next_one(tmp_path):
    """As those of tracing tools do, which stand first and let the next one run too."""
    first = tmp_path / "first"
    first.mkdir()
    (first / "sitecustomize.py").write_text(
        "import sys\nsys.path.remove(next(p for p in sys.path if p.endswith('first')))\n"
        "del sys.modules['sitecustomize']\nimport sitecustomize\nprint('chained')\n"
    )
    lines = tmp_path / "lines"
    lines.mkdir()
    done = with_probe(lines, "-c", TRAINS, path=[first])
    assert (done.status, done.output) == (0, "chained\n"), done.errors
    (one,) = read(lines)
    assert one.marks
