"""How long programs of one's own wait for data, by hpcbench scale and by their own clock."""

import json

import pytest

from hpcbench.records.reader import read_results
from support import ROOT
from support.scaling import scale

pytestmark = pytest.mark.slow
PROGRAM = ROOT / "tests" / "programs" / "waits.py"
MERELY_COUNTED, LOOKED_INTO = 0, 1 << 30
# By kind: what it needs, and from which line on the probe may merely count short steps, where that
# costs less.
KINDS = {
    "own loop": ("numpy", MERELY_COUNTED),
    "input that evaluates": ("numpy", MERELY_COUNTED),
    "jax": ("jax", MERELY_COUNTED),
    # Which give all that is asked here only where they are looked into, or cannot be counted.
    "torch": ("torch", LOOKED_INTO),
    "torch, unsaid": ("torch", LOOKED_INTO),
    "torch, left so": ("torch", LOOKED_INTO),
    "torch, frozen": ("torch", LOOKED_INTO),
    "torch, stream": ("torch", MERELY_COUNTED),
    "keras, generator": ("jax", MERELY_COUNTED),
    "keras, loader": ("torch", MERELY_COUNTED),
}


def told(folder, kind, late, package, first_lines):
    """The phases of each interval, run.json, and by the program's own clock the share."""
    pytest.importorskip(package)
    environment = {"KERAS_BACKEND": package, "OMP_NUM_THREADS": "1"}
    environment["HPCBENCH_PROBE_FIRST_LINES"] = str(first_lines)
    words = ("--interval-seconds=0.15", "--", "python", PROGRAM, kind, str(late))
    done = scale(folder, "--batch=2", *words, **environment)
    assert done.status == 0, done.errors + done.output
    (document,) = folder.rglob("run.json")
    (log,) = folder.rglob("*.log")
    own = next(json.loads(x) for x in log.read_text().splitlines() if x.startswith('{"seconds"'))
    phases = read_results(folder).ranks["phase"].value_counts()
    return phases, json.loads(document.read_text()), own["waited"] / own["seconds"]


@pytest.mark.parametrize("late", [0.002, 0.0])
@pytest.mark.parametrize("kind", KINDS)
def test_each_interval_tells_how_long_training_waited(tmp_path, kind, late):
    """And training alone: evaluations wait for longer."""
    phases, document, own = told(tmp_path, kind, late, *KINDS[kind])
    assert phases["data"] == phases["train"] >= 4
    if late:
        assert document["waiting_for_data_share"] == pytest.approx(own, rel=0.2)
    else:
        assert 0 < document["waiting_for_data_share"] < 0.1


@pytest.mark.parametrize("kind", ["keras, generator", "keras, loader"])
def test_what_another_thread_waits_for_is_not_told(tmp_path, kind):
    """TensorFlow fetches ahead, so that training may wait for less, which nobody sees."""
    phases, document, own = told(tmp_path, kind, 0.002, "tensorflow", MERELY_COUNTED)
    assert own > 0.1
    assert "data" not in phases
    assert document["waiting_for_data_share"] is None
