"""hpcbench scale: programs as people write them, measured as they are."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from hpcbench.analysis.answers import answer
from hpcbench.analysis.why import sentence
from hpcbench.programs.probe_lines import read
from hpcbench.records.reader import read_results
from support import ROOT, environment, run
from support.pythons import interpreter
from support.scaling import scale

PROGRAMS = ROOT / "tests" / "programs"
TORCHRUN = ("torchrun", "--nproc-per-node", "{devices}", PROGRAMS / "torch_loop.py")


def documents(folder) -> dict[int, dict]:
    """The run.json of each device count."""
    found = [json.loads(path.read_text()) for path in Path(folder).rglob("run.json")]
    return {document["config"]["devices"]: document for document in found}


@pytest.mark.slow
def test_pytorch_under_torchrun(tmp_path):
    done = scale(tmp_path, "--devices=1,2", "--name=mine", "--batch=64", "--", *TORCHRUN)
    assert done.status == 0, done.errors + done.output
    found = documents(tmp_path)
    for devices, document in found.items():
        assert len(document["processes"]) == devices
        assert document["parameters"] == 203_530
        assert document["identity"]["precision"] == "float32"
        assert document["provenance"]["packages"]["torch"]
        assert document["identity"]["device_kind"].endswith("(1 core)")
    rows = read_results(tmp_path).throughput
    assert (rows["samples"] == rows["steps"] * 64 * rows["devices"]).all()
    file = tmp_path / "mine" / "sweep.toml"
    line = ("python", "-m", "hpcbench", "sweep", "status", file, "--results", tmp_path)
    status = run(line)
    assert status.output.splitlines()[-1] == "sweep mine: 2 done"
    plan = run(["python", "-m", "hpcbench", "sweep", "plan", file, "--results", tmp_path])
    assert "of torch_loop.py the start-up alone" in plan.output
    again = scale(tmp_path, "--devices=1,2", "--name=mine", "--batch=64", "--", *TORCHRUN)
    assert "2 complete already" in again.output
    other = scale(tmp_path, "--devices=1,2", "--name=mine", "--", *TORCHRUN, "other")
    assert other.status == 2
    assert "is of another command or other settings" in other.errors
    plot = run(["python", "-m", "hpcbench", "plot", tmp_path / "mine", "--output", tmp_path / "f"])
    assert plot.status == 0, plot.errors
    assert "torch_loop.py" in (tmp_path / "f" / "report.html").read_text()


@pytest.mark.slow
def test_accumulated_gradients_and_evaluation_by_all(tmp_path):
    """A step of four batches, and an epoch that ends with evaluation, which is taken out."""
    line = ("python", PROGRAMS / "torch_loop.py", "accumulate", "evaluate")
    done = scale(tmp_path, "--", *line)
    assert done.status == 0, done.errors + done.output
    (row,) = {
        samples / steps
        for samples, steps in read_results(tmp_path).throughput[["samples", "steps"]].values
    }
    assert row == 256
    (process,) = read(next(tmp_path.rglob("ranks")))
    assert 0.2 * 6 < process.marks[-1].paused < 0.2 * 12


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["raise"], 4, "it ended with status 1: ValueError: no such layer"),
        (["hang"], 4, "it took no step of training for 20 s and was ended; rank 0 on"),
        (["short"], 2, "3 at least are needed: let it train longer"),
    ],
)
def test_a_program_that_fails(tmp_path, words, status, says):
    option = {"hang": "--stall-seconds=20", "short": "--interval-seconds=5"}.get(words[0])
    line = ("--devices=2", "--name=bad", *filter(None, [option]), "--", *TORCHRUN, *words)
    done = scale(tmp_path, *line)
    assert done.status == 4
    assert f"FAILED ({status})" in done.output
    assert says in done.output
    if words == ["hang"]:
        assert re.search(r'rank 0 on .* in File ".*torch_loop.py", line \d+', done.output)
    file = tmp_path / "bad" / "sweep.toml"
    told = run(["python", "-m", "hpcbench", "sweep", "status", file, "--results", tmp_path])
    assert says in " ".join(told.output.split())


@pytest.mark.slow
def test_a_program_of_one_process_is_not_two_devices(tmp_path):
    done = scale(tmp_path, "--devices=2", "--", "python", PROGRAMS / "torch_loop.py")
    assert "2 devices were asked for, and 1 device trained (rank 0 on" in done.output
    assert "see how the command starts its ranks" in done.output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ("--start=per-device", "--", "python", PROGRAMS / "torch_loop.py"),
            "2 ranks trained, and rank 0 on .* trains together with 0 others",
        ),
        (
            ("--scaling=strong", "--batch=128", "--", *TORCHRUN, "128", "die"),
            r"trains on batches of 128, and 64 were asked for \(strong scaling\)",
        ),
    ],
    ids=["each for itself", "batch not taken"],
)
def test_what_is_not_the_scaling_that_was_asked_for(tmp_path, arguments, says):
    """Either would look like good scaling. The second ends without a word, too."""
    done = scale(tmp_path, "--devices=2", *arguments)
    assert done.status == 4
    assert re.search(says, done.output)


@pytest.mark.slow
def test_a_part_that_is_kept_frozen_is_no_evaluation(tmp_path):
    done = scale(tmp_path, "--", "python", PROGRAMS / "torch_loop.py", "frozen", "256")
    assert done.status == 0, done.errors + done.output
    rows = read_results(tmp_path).throughput
    assert (rows["samples"] == rows["steps"] * 256).all()
    (process,) = read(next(tmp_path.rglob("ranks")))
    assert process.marks[-1].paused == 0


@pytest.mark.slow
def test_it_may_just_end_and_ranks_that_see_the_same_are_told_of(tmp_path):
    """By os._exit, with what was measured until then; each rank on all of the data."""
    done = scale(tmp_path, "--devices=2", "--name=x", "--", *TORCHRUN, "die", "same")
    assert done.status == 0, done.errors + done.output
    (document,) = documents(tmp_path).values()
    assert "all ranks began with the same batch" in document["remarks"][0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "samples_a_step", "tolerance"),
    [("accelerate", 128, 0.02), ("lightning", 64, 0.02), ("transformers", 32, 0.02)],
)
def test_what_trains_by_pytorch_underneath(tmp_path, package, samples_a_step, tolerance):
    """Gradients of two batches a step, batches that are fetched ahead, validation, checkpoints."""
    pytest.importorskip(package)
    program = PROGRAMS / f"with_{package}.py"
    done = scale(tmp_path, "--", "python", program, "{output}")
    assert done.status == 0, done.errors + done.output
    rows = read_results(tmp_path).throughput
    a_step = rows["samples"].sum() / rows["steps"].sum()
    assert a_step == pytest.approx(samples_a_step, rel=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "epochs"), [("tensorflow", 20), ("jax", 200), ("torch", 30)])
def test_keras_fit(tmp_path, backend, epochs):
    pytest.importorskip(backend)
    program = ("python", PROGRAMS / "keras_fit.py", epochs)
    done = scale(tmp_path, f"--environment=KERAS_BACKEND={backend}", "--", *program)
    assert done.status == 0, done.errors + done.output
    (document,) = documents(tmp_path).values()
    (process,) = document["processes"]
    assert process["framework"] == f"keras on {backend}"
    assert document["parameters"] == 784 * 64 + 64 + 64 * 10 + 10
    rows = read_results(tmp_path).throughput
    assert rows["samples"].sum() / rows["steps"].sum() == pytest.approx(64, rel=0.01)
    # Evaluation on a tenth of the samples is taken out, and once.
    (told,) = read(next(tmp_path.rglob("ranks")))
    (log,) = tmp_path.rglob("*.log")
    took = float(re.search(r"evaluated for ([0-9.]+) s", log.read_text())[1])
    # The last one comes after the last line, and the first compiles.
    assert 0.4 * took < told.marks[-1].paused - told.marks[0].paused < 1.2 * took


@pytest.mark.slow
def test_horovod_with_a_graph_of_tensorflow(tmp_path):
    line = ("--start=per-device", "--", "python", PROGRAMS / "horovod_loop.py")
    done = scale(tmp_path, "--devices=2", "--batch=64", *line)
    assert done.status == 0, done.errors + done.output
    rows = read_results(tmp_path).throughput
    assert (rows["samples"] == rows["steps"] * 128).all()


@pytest.mark.slow
def test_several_devices_of_one_process(tmp_path):
    line = ("--devices=2", "--batch=32", "--", "python", PROGRAMS / "mirrored_loop.py")
    done = scale(tmp_path, *line)
    assert done.status == 0, done.errors + done.output
    rows = read_results(tmp_path).throughput
    assert (rows["samples"] == rows["steps"] * 64).all()


@pytest.mark.slow
def test_a_program_with_a_checkpoint_goes_on_where_it_was_stopped(tmp_path):
    """A signal, as near a time limit: without a way to go on it has failed."""
    program = tmp_path / "slow.py"
    program.write_text(
        "import sys, time\nprint('arguments', sys.argv[1:], flush=True)\n"
        "for i in range(8 if len(sys.argv) > 1 else 600):\n"
        "    time.sleep(0.1); print('rate', 10)\n"
    )
    for options, failure in (
        ((), "timeout"),
        (("--resume-with=--from {output}",), "preempted"),
    ):
        results = tmp_path / f"r{len(options)}"
        metric = ("--metric=rate ([0-9]+)", "--repeats=1", f"--results={results}", *options)
        line = [sys.executable, "-m", "hpcbench", "scale", *metric, "--", "python", str(program)]
        process = subprocess.Popen(line, env=environment(), stdout=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while "".join(p.read_text() for p in results.rglob("*.log")).count("rate") < 4:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        (runner,) = (
            child
            for child in psutil.Process(process.pid).children(recursive=True)
            if "hpcbench.runs.program" in child.cmdline()
        )
        runner.send_signal(signal.SIGUSR1)
        process.communicate(timeout=60)
        (path,) = results.rglob("run.json")
        document = json.loads(path.read_text())
        assert document["failure"] == failure
        assert len((path.parent / "throughput.csv").read_text().splitlines()) > 2, "rows are kept"
        if options:
            # As where the scheduler knows more exactly what stopped it.
            path.write_text(json.dumps(document | {"failure": "cancelled"}))
            again = run(line)
            assert again.status == 0, again.output
            (log,) = results.rglob("*.log")
            assert f"arguments ['--from', '{path.parent / 'output'}']" in log.read_text()


@pytest.mark.slow
def test_data_that_come_late_are_blamed(tmp_path):
    """The other rank waits for that for which they do, which is named with its reason; what nobody
    measured is not blamed."""
    done = scale(tmp_path / "r", "--devices=1,2", "--repeats=2", "--", *TORCHRUN, "late")
    assert done.status == 0, done.errors + done.output
    drawn = run(["python", "-m", "hpcbench", "plot", tmp_path / "r", "--output", tmp_path / "f"])
    assert "mostly waiting for data" in drawn.output
    results = read_results(tmp_path / "r")
    (row,) = answer(results, [], None).why.to_dict("records")
    assert row["blamed"][0] == "extra_waiting"
    assert row["extra_waiting_seconds"] == pytest.approx(5e-3, rel=0.2)
    assert (row["rank"], row["mostly"]) == (1, "waiting for data")
    assert row["mostly_seconds"] == pytest.approx(5e-3, rel=0.2)
    assert row["unmeasured"] == ["extra_compute", "extra_background", "contention"]


@pytest.mark.slow
def test_a_forward_pass_that_is_slow_is_blamed_and_the_rank_named(tmp_path):
    pytest.importorskip("torch")
    rows = {}
    for how in ("slow", "slower"):
        results = tmp_path / how
        done = scale(results, "--devices=1,2", "--repeats=2", "--", *TORCHRUN, how)
        assert done.status == 0, done.errors + done.output
        (rows[how],) = answer(read_results(results), [], None).why.to_dict("records")
    assert rows["slow"]["rank"] == 1
    assert rows["slow"]["slowest"] > 0.9 * rows["slow"]["intervals"]
    assert "mostly in the forward pass" in sentence(rows["slow"])
    assert rows["slow"]["blamed"][0] == "extra_waiting"
    assert rows["slow"]["extra_waiting_seconds"] == pytest.approx(5e-3, rel=0.3)
    assert rows["slow"]["extra_forward_seconds"] < 1e-3, "the typical rank is as fast as before"
    assert rows["slower"]["blamed"][0] == "extra_forward"
    assert rows["slower"]["extra_forward_seconds"] == pytest.approx(5e-3, rel=0.3)


@pytest.mark.slow
def test_pauses_that_nobody_knows_are_told_of(tmp_path):
    done = scale(tmp_path, "--devices=1", "--", *TORCHRUN, "dumps")
    assert done.status == 0, done.errors + done.output
    (document,) = documents(tmp_path).values()
    (remark,) = document["remarks"]
    assert re.match(r"at least [1-9]\d % of the time .* a checkpoint of its own", remark)
    drawn = run(["python", "-m", "hpcbench", "plot", tmp_path, "--output", tmp_path / "f"])
    assert remark in drawn.errors


@pytest.mark.slow
def test_a_compiled_forward_pass_is_not_timed(tmp_path):
    pytest.importorskip("torch")
    done = scale(tmp_path, "--devices=1", "--", *TORCHRUN, "compiled")
    assert done.status == 0, done.errors + done.output
    assert not {"forward", "backward"} & set(read_results(tmp_path).ranks["phase"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        # Ranks that are connected, but not their model.
        (("--", *TORCHRUN, "apart"), "train each for itself: after the first step their gradients"),
        (
            (
                "--start=per-device",
                "--batch=640",
                "--",
                "python",
                PROGRAMS / "horovod_loop.py",
                "apart",
            ),
            "averages no gradients over Horovod's ranks, of which each trains for itself",
        ),
        # Which the system kills.
        (("--", *TORCHRUN, "killed"), "a process of it was killed, as where memory runs short"),
        # Which its command does not wait for.
        (
            ("--shell", "--", shlex.join(map(str, TORCHRUN)) + " long & sleep 8"),
            "was still there when the command had ended, and was ended",
        ),
    ],
    ids=["model not connected", "Horovod not used", "killed", "in the background"],
)
def test_a_launch_that_is_wrong(tmp_path, arguments, says):
    pytest.importorskip("torch")
    done = scale(tmp_path, "--devices=2", *arguments)
    assert done.status == 4, done.output
    assert says in " ".join(done.output.split())
    for path in tmp_path.rglob("*.jsonl"):
        assert not psutil.pid_exists(int(path.stem.rpartition("-")[2]))


ALONE = PROGRAMS / "torch_loop.py"
RATES = "import time\nfor _ in range(40): time.sleep(0.02); print('rate 1', flush=True)"
BOTH = RATES.replace("rate 1", "rate 1\\nrate 1")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "arguments", "says"),
    [
        (2, ("--", "torchrun", "--nproc-per-node=1", ALONE), "2 devices were asked for, and 1"),
        (1, ("--", "torchrun", "--nproc-per-node=2", ALONE), "1 device was asked for, and 2"),
        (2, ("--batch=64", "--", *TORCHRUN, "shared"), "on batches of 32, and 64 were asked for"),
        # One has more batches than the other.
        (2, ("--", *TORCHRUN, "uneven"), "it ended with status 1: RuntimeError"),
        (2, ("--", *TORCHRUN, "unsynced"), "train each for itself"),
        (2, ("--", *TORCHRUN, "leaves"), "it ended with status 1: RuntimeError"),
        (1, ("--", "python", "-I", ALONE), "no step of training was seen"),
        (1, ("--", "python", "-c", "import torch"), "no step of training was seen"),
        (1, ("--", "python", "-c", "import torhc"), "ModuleNotFoundError: No module named 'torhc'"),
        (1, ("--", "torchrnu", ALONE), "torchrnu cannot be started"),
        (1, ("--", ALONE), "torch_loop.py cannot be started: Permission denied"),
        (1, ("--metric=speed ([0-9]+)", "--", "python", "-c", RATES), "nothing that it printed"),
        (2, ("--metric=rate ([0-9]+)", "--", "python", "-c", BOTH), "2 numbers come at a time"),
    ],
)
def test_a_command_that_is_wrong(tmp_path, devices, arguments, says):
    pytest.importorskip("torch")
    done = scale(tmp_path, f"--devices={devices}", *arguments)
    assert done.status == 4, done.output
    assert says in " ".join(done.output.split())


@pytest.mark.slow
def test_a_batch_of_all_devices_is_no_weak_scaling(tmp_path):
    """Which one run alone cannot tell."""
    pytest.importorskip("torch")
    done = scale(tmp_path, "--devices=1,2", "--", *TORCHRUN, "shared")
    assert done.status == 0, done.output
    drawn = run(["python", "-m", "hpcbench", "plot", tmp_path, "--output", tmp_path / "f"])
    assert "scaling cannot be assessed" in drawn.output
    assert "batch (64 at 1, 32 at 2)" in drawn.output


@pytest.mark.slow
def test_a_loop_of_ones_own_in_two_lines(tmp_path):
    """NumPy alone: the probe sees nothing of it. Outside of hpcbench scale it is as ever."""
    done = scale(tmp_path, "--", "python", PROGRAMS / "own_loop.py")
    assert done.status == 0, done.errors + done.output
    (document,) = documents(tmp_path).values()
    rows = read_results(tmp_path).throughput
    assert (rows["samples"] == rows["steps"] * 32).all()
    assert 0.1 < document["waiting_for_data_share"] < 0.9
    (process,) = read(next(tmp_path.rglob("ranks")))
    assert process.marks[-1].paused > 0.3
    alone = run(["python", PROGRAMS / "own_loop.py"])
    assert (alone.status, alone.errors) == (0, "")


@pytest.fixture(scope="module")
def printing(tmp_path_factory):
    program = tmp_path_factory.mktemp("c") / "printing"
    subprocess.run(["cc", "-o", program, PROGRAMS / "printing.c"], check=True)
    return program


@pytest.mark.slow
def test_a_program_in_c_that_prints_its_rate(tmp_path, printing):
    metric = r"step (?P<step>\d+): throughput: ([0-9.]+)"
    line = ("--devices=1,2", f"--metric={metric}", "--", printing, "{devices}")
    # Nothing is written of its run for as long as it takes, which is no reason to end it.
    done = scale(tmp_path, *line, HPCBENCH_STALL_SECONDS="0.2")
    assert done.status == 0, done.errors + done.output
    rows = read_results(tmp_path).throughput
    assert set(rows["samples_per_second"].round(1)) == {100.0, 200.0}
    assert len(rows) == 2 * 7
    # Printed at once, though its library would keep lines back from a pipe.
    assert rows["seconds"].between(0.05, 1).all()
    nothing = scale(tmp_path / "none", "--metric=speed: ([0-9.]+)", "--", printing, "1")
    assert "nothing that it printed matches --metric 'speed: ([0-9.]+)'" in nothing.output
    twice = scale(tmp_path / "twice", "--unit=tokens/s", *line[1:-1], "2")
    assert "own data, counted in tokens" in twice.output


def test_what_is_around_a_program_stays_as_it_is(tmp_path):
    """Another sitecustomize still runs, arguments are no shell's, variables and a folder to write
    to are there; a program that trains nothing is told so, and one that is not there."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("import builtins; builtins.THEIRS = 1\n")
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys, mine\nprint('theirs', THEIRS, sys.argv[1:], os.environ['MINE'])\n"
        "sys.path[:] = [p for p in sys.path if 'probe' not in p]\nimport json\n"
        "print(sys.modules['sitecustomize'].__file__)\n"
    )
    (site / "mine.py").touch()
    variables = ("--environment=MINE=a b", f"--environment=PYTHONPATH={site}")
    line = (*variables, "--", "python", program, "$HOME; ls", "{repeat}", "{{x}}")
    done = scale(tmp_path / "r", *line)
    (log,) = (tmp_path / "r").rglob("*.log")
    assert "theirs 1 ['$HOME; ls', '0', '{x}'] a b" in log.read_text()
    assert str(site / "sitecustomize.py") in log.read_text()
    assert "no step of training was seen" in done.output
    gone = scale(tmp_path / "gone", "--", "./not-there")
    assert "./not-there cannot be started: No such file or directory" in gone.output
    shell = scale(
        tmp_path / "shell", "--shell", "--metric=rate ([0-9]+)", "--", "echo rate $((40+2))"
    )
    assert "42 samples/s" in next((tmp_path / "shell").rglob("*.log")).read_text(), shell.output


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.11", "3.12", "3.13"])
def test_the_probe_starts_in_other_pythons(version, tmp_path):
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    probe = {"PYTHONPATH": str(ROOT / "hpcbench" / "probe"), "HPCBENCH_PROBE": str(tmp_path)}
    # Each part of it can be imported, and is only where its framework is.
    program = (
        "import hpcbench_probe, importlib, pkgutil, sys\n"
        "parts = pkgutil.walk_packages(hpcbench_probe.__path__, 'hpcbench_probe.')\n"
        "assert not any('pytorch' in name or 'keras' in name for name in sys.modules)\n"
        "print(len([importlib.import_module(part.name) for part in parts]) > 10)\n"
        "print(hpcbench_probe.recorder.steps)"
    )
    done = run([python, "-W", "error", "-c", program], env=os.environ | probe)
    assert (done.output, done.errors) == ("True\n0\n", "")
