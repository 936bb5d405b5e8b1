"""What the probe counts of a program, and that it leaves it as it is."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from hpcbench.programs.probe_lines import Process, process, read
from support import ROOT, run

pytest.importorskip("torch")
pytestmark = pytest.mark.slow

HABITS = ROOT / "tests" / "programs" / "torch_habits.py"
PROBE = ROOT / "hpcbench" / "probe"
BATCH, BATCHES, EPOCHS, PAUSE = 64, 40, 6, 0.2


def with_probe(folder, *command, path=(PROBE,), first_lines=16, seconds=0.05, **options):
    """Run under the probe, whose lines go into ``folder``."""
    probe = {
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "HPCBENCH_PROBE": str(folder),
        "HPCBENCH_PROBE_SECONDS": str(seconds),
        "HPCBENCH_PROBE_FIRST_LINES": str(first_lines),
    }
    return run([sys.executable, *command], env=os.environ | probe, **options)


class Told(NamedTuple):
    own: Path
    lines: Path
    found: dict[str, Process]


@pytest.fixture(scope="module", params=["looked into", "counted"])
def told(tmp_path_factory, request):
    """Of each habit the folder that it wrote into, and the process that the probe tells of: whose
    steps were all looked into, or only counted as far as nothing but training is between them."""
    lines, own = (tmp_path_factory.mktemp(name) for name in ("lines", "own"))
    counted = request.param == "counted"
    done = with_probe(lines, HABITS, own, first_lines=0 if counted else 1 << 30)
    assert done.errors == ""
    found = {}
    for line in done.output.splitlines():
        habit = json.loads(line)
        (path,) = lines.glob(f"*-{habit['pid']}.jsonl")
        found[habit["habit"]] = process(path.read_bytes().splitlines())
    return Told(own, lines, found)


@pytest.mark.parametrize("habit", ["images", "sequences", "workers", "accumulates"])
def test_samples_are_those_that_the_loader_was_asked_for(told, habit):
    found = told.found
    last = found[habit].marks[-1]
    assert last.samples == BATCH * last.steps


@pytest.mark.parametrize("habit", ["rests", "rests_of_workers"])
def test_an_epochs_last_batch_may_be_smaller(told, habit):
    found = told.found
    last = found[habit].marks[-1]
    assert last.samples == BATCH * last.steps - (BATCH - 10) * (last.steps // BATCHES)


def test_what_is_fetched_from_elsewhere_ends_mere_counting(told):
    """Where it is so after every few steps: then each one is looked into."""
    seen = [mark for mark in told.found["glances"].marks if mark.steps >= 12 * BATCHES]
    assert seen[-1].looked - seen[0].looked == seen[-1].steps - seen[0].steps > 0


@pytest.mark.parametrize("habit", ["evaluates", "recomputes"])
def test_steps_that_were_looked_into_tell_of_their_parts(told, habit):
    """And be it with counting that never begins, as where a line is written every few steps."""
    told_of = 0
    for before, after in pairwise(told.found[habit].marks):
        # The hook that times it is put in by the first step.
        if before.steps > 1 and after.looked - before.looked == after.steps - before.steps:
            assert after.forward > before.forward
            told_of += 1
    assert told_of > 5


def test_a_streams_last_batch_may_be_smaller(told):
    found = told.found
    last = found["stream"].marks[-1]
    of_one = last.steps // (BATCHES + 1)
    assert last.samples == BATCH * (last.steps - of_one) + of_one


@pytest.mark.parametrize("habit", ["own_batches", "batches_as_items", "two_loaders", "glances"])
def test_samples_that_are_not_surely_those_of_a_step_are_unknown(told, habit):
    found = told.found
    assert found[habit].marks[-1].samples is None


def test_what_holds_up_no_step_is_no_waiting_for_data(told):
    """Evaluation's data, 0.6 s, and what another thread fetches, of which nobody sees for what."""
    assert told.found["evaluates_late_data"].marks[-1].waited < 0.5
    assert told.found["fetches_in_a_thread"].marks[-1].waited is None


OWN_STEPS = """
import sys
import jax
import numpy as np
import hpcbench
computes, shape = sys.argv[1] == "jax", tuple(map(int, sys.argv[2:]))
for batch in hpcbench.steps(np.ones(shape) for _ in range(30)):
    if computes:
        jax.numpy.sum(batch).block_until_ready()
print(jax._src.xla_bridge.backends_are_initialized())
"""


@pytest.mark.parametrize(
    ("computes", "shape", "samples"),
    [
        ("jax", (64, 128), 64),
        # As pmap wants it: a part for each device.
        ("jax", (1, 64, 128), None),
        # Imported for something else, JAX is asked for no devices, whose memory it would take.
        ("numpy", (1, 128), 1),
    ],
)
def test_a_first_dimension_that_may_be_of_devices_is_none_of_samples(
    tmp_path, computes, shape, samples
):
    pytest.importorskip("jax")
    done = with_probe(tmp_path, "-c", OWN_STEPS, computes, *map(str, shape), path=(PROBE, ROOT))
    assert (done.status, done.output) == (0, f"{computes == 'jax'}\n"), done.errors
    last = read(tmp_path)[0].marks[-1]
    assert last.samples == (samples and samples * last.steps)


@pytest.mark.parametrize(
    ("habit", "steps"),
    [
        ("new_optimizer", EPOCHS * BATCHES),
        ("searches", EPOCHS * BATCHES),
        ("later_optimizer", EPOCHS * BATCHES),
        ("two_optimizers", EPOCHS * BATCHES),
        ("wrapped_optimizer", EPOCHS * BATCHES),
        ("an_optimizer_a_parameter", EPOCHS * BATCHES),
        # Of the second one those are missed by which it is known to train.
        ("later_model", 2 * EPOCHS * BATCHES - 100),
    ],
)
def test_an_optimizer_that_follows_another_counts(told, habit, steps):
    found = told.found
    marks = found[habit].marks
    # The last line may be some steps before the end.
    assert 0.6 * steps < marks[-1].steps <= steps
    assert (marks[-1].paused > 0) == (habit == "later_model")
    # A model after another one, which is gone or not, is not the same training.
    assert found[habit].facts.get("models", 1) == (2 if habit in ("later_model", "searches") else 1)


def test_what_is_trained_on_is_no_evaluation(told):
    found = told.found
    assert found["replays"].marks[-1].paused == 0
    assert found["replays"].marks[-1].samples is None


def test_a_backward_pass_within_another_counts_once(told):
    found = told.found
    last = found["recomputes"].marks[-1]
    assert last.backward / last.looked > 0.002 * 0.9
    assert last.backward < last.at - found["recomputes"].marks[0].at


@pytest.mark.parametrize(
    "habit",
    [
        *("evaluates", "evaluates_a_part", "evaluates_for_good", "evaluates_unsaid"),
        "saves_while_evaluating",
    ],
)
def test_evaluation_is_taken_out_however_it_is_told(told, habit):
    found = told.found
    last = found[habit].marks[-1]
    assert last.steps > (EPOCHS - 2) * BATCHES
    assert last.samples == BATCH * last.steps
    trained = last.at - found[habit].marks[0].at - last.paused
    assert last.paused > (EPOCHS - 2) * PAUSE
    assert trained < (EPOCHS - 1) * PAUSE


def test_what_a_program_writes_is_its_own(told):
    """Its models can be loaded where there is no probe, and nothing is written into its files."""
    own, found = told.own, told.found
    load = "import torch; torch.load(sys.argv[1], weights_only=False); torch.jit.load(sys.argv[2])"
    files = (own / "whole.pt", own / "scripted.pt")
    subprocess.run([sys.executable, "-c", "import sys; " + load, *files], check=True)
    assert (own / "own.txt").read_text() == "mine\n" * (EPOCHS - 1)
    assert found["closes_files"].marks[-1].steps > 2 * BATCHES


def test_what_trained_before_it_forked_is_no_rank(told):
    lines, found = told.lines, told.found
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


@pytest.mark.parametrize(("first_lines", "share"), [(0, 0.5), (1 << 30, 1.0)])
def test_of_short_steps_most_are_only_counted(tmp_path, first_lines, share):
    done = with_probe(tmp_path, "-c", TRAINS.replace("40", "10000"), first_lines=first_lines)
    assert (done.status, done.errors) == (0, "")
    (one,) = read(tmp_path)
    assert one.steps_at_end == 10000
    assert one.marks[-1].looked <= share * one.marks[-1].steps
    assert share < 1 or one.marks[-1].looked == one.marks[-1].steps


def test_a_folder_that_cannot_be_written_to_is_the_probes_trouble(tmp_path):
    done = with_probe(tmp_path / "gone", "-c", TRAINS + "print('trained')")
    assert (done.status, done.output) == (0, "trained\n")
    assert "hpcbench probe: cannot write its lines" in done.errors


OUT_OF_THE_PATH = f"sys.path[:] = [p for p in sys.path if p != {str(PROBE)!r}]\n"


@pytest.mark.parametrize(
    ("place", "options", "before"),
    [
        (PROBE, [], OUT_OF_THE_PATH),
        (PROBE.relative_to(ROOT), [], "import os\nos.chdir('/')\n" + OUT_OF_THE_PATH),
        (PROBE, [], "import os\nif pid := os.fork(): sys.exit(os.waitpid(pid, 0)[1])\n"),
        (PROBE, ["-S"], "import site\nsite.main()\n"),
    ],
    ids=["out of the path", "another working directory", "in a child", "a late site"],
)
def test_a_framework_may_be_imported_late(tmp_path, place, options, before):
    """When what the probe was found by at the start may have changed."""
    program = f"import sys\n{before}assert 'torch' not in sys.modules\n{TRAINS}"
    done = with_probe(tmp_path, *options, "-c", program, path=[place])
    assert (done.status, done.errors) == (0, "")
    (one,) = read(tmp_path)
    assert one.marks
    assert one.steps_at_end == 40


def test_a_framework_that_is_made_otherwise_is_said_and_left_alone(tmp_path):
    (tmp_path / "keras.py").write_text("answer = 42\n")
    done = with_probe(tmp_path, "-c", "import keras; print(keras.answer)", path=[PROBE, tmp_path])
    assert (done.status, done.output) == (0, "42\n")
    assert done.errors.startswith("hpcbench probe: keras: AttributeError(")


BY_THE_PATH = "del sys.modules['sitecustomize']\nimport sitecustomize\n"
# As where the probe's folder is in no path of Python's.
BY_ITS_FILE = f"""
from importlib.util import module_from_spec, spec_from_file_location
{OUT_OF_THE_PATH}
for _ in range(2):
    spec = spec_from_file_location("sitecustomize", {str(PROBE / "sitecustomize.py")!r})
    spec.loader.exec_module(module_from_spec(spec))
"""


@pytest.mark.parametrize("stands_first", [False, True], ids=["after ours", "before ours"])
@pytest.mark.parametrize("imports", [BY_THE_PATH, BY_ITS_FILE], ids=["by the path", "by its file"])
def test_another_sitecustomize_may_import_the_next_one(tmp_path, imports, stands_first):
    """As those of tracing tools do, which stand first and let the next one run too."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "sitecustomize.py").write_text(
        "import sys\nsys.path.remove(next(p for p in sys.path if p.endswith('theirs')))\n"
        f"{imports}\nprint('chained')\n"
    )
    lines = tmp_path / "lines"
    lines.mkdir()
    path = [PROBE, theirs][:: -1 if stands_first else 1]
    done = with_probe(lines, "-c", TRAINS, path=path)
    assert (done.status, done.output) == (0, "chained\n"), done.errors
    (one,) = read(lines)
    assert one.marks
