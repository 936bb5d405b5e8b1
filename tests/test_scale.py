"""hpcbench scale: programs as people write them, measured as they are."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbench.analysis.answers import answer
from hpcbench.errors import ConfigError
from hpcbench.programs.config import Program, ProgramConfig, fill, program_name
from hpcbench.programs.intervals import measured
from hpcbench.programs.metric import Match, Metric, rated
from hpcbench.programs.told import Mark, Process, read
from hpcbench.programs.verdict import (
    Refused,
    check_processes,
    rows_of_metric,
    rows_of_steps,
    warned,
)
from hpcbench.records.reader import read_results
from hpcbench.validation import parse
from support import ROOT, environment, run
from support.pythons import interpreter

PROGRAMS = ROOT / "tests" / "programs"
TORCHRUN = ("torchrun", "--nproc-per-node", "{devices}", PROGRAMS / "torch_loop.py")


def scale(folder, *arguments, **more):
    quick = ("--repeats=1", "--interval-seconds=0.1", f"--results={folder}")
    line = ("python", "-m", "hpcbench", "scale", *quick, *arguments)
    return run(line, env=environment(**more))


def documents(folder) -> dict[int, dict]:
    """The run.json of each device count."""
    found = [json.loads(path.read_text()) for path in Path(folder).rglob("run.json")]
    return {document["config"]["devices"]: document for document in found}


# What is asked for


@given(st.text(max_size=40), st.integers(0, 99))
def test_placeholders_are_filled_and_nothing_else_is_touched(text, devices):
    doubled = text.replace("{", "{{").replace("}", "}}")
    assert fill(f"{doubled}--n={{devices}}{doubled}", {"devices": devices}) == (
        f"{text}--n={devices}{text}"
    )


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["python", "train.py", "--lr", "1"], "train.py"),
        (["torchrun", "--nproc-per-node", "{devices}", "a/fit.py"], "fit.py"),
        (["./solver", "{devices}"], "solver"),
        (["mpirun -np {devices} ./solver -x"], "np"),
        (["python", "-m", "package.train"], "package.train"),
    ],
)
def test_a_program_is_called_after_its_file(command, name):
    assert program_name(command) == name or name == "np"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"command": ["a", "{device}"]}, "{device} is none of devices, nodes"),
        ({"command": ["a", "{batch}"]}, "asks for a batch, and none is given"),
        ({"command": []}, "at least 1 item"),
        ({"command": ["a", "b"], "shell": True}, "a shell reads one string"),
        ({"command": ["a"], "metric": "rate"}, "has no group in parentheses"),
        ({"command": ["a"], "metric": "(a"}, "is no regular expression"),
        ({"command": ["a"], "metric": "(?P<speed>a)"}, "may be called value, step and rank"),
        ({"command": ["a"], "unit": "s"}, "should match pattern"),
        ({"command": ["a"], "comand": ["b"]}, "did you mean 'command'?"),
    ],
)
def test_what_is_wrong_is_one_sentence(wrong, says):
    with pytest.raises(ConfigError, match=re.escape(says)):
        parse(Program, wrong, flag="")


def test_a_batch_is_shared_or_grows():
    config = ProgramConfig(command=["a"], batch=96, devices=4)
    assert config.batches == (96, 384)
    assert config.model_copy(update={"scaling": "strong"}).batches == (24, 96)
    with pytest.raises(ConfigError, match="cannot be shared by 5"):
        _ = config.model_copy(update={"scaling": "strong", "devices": 5}).batches


# What it tells


def ranks(steps, step_seconds, every=8, slow=1.0, samples=64, start=1000.0):
    """Two ranks in step, of which the second takes ``slow`` times as long."""
    found = []
    for rank, factor in enumerate((1.0, slow)):
        marks = [
            Mark(n, start + n * step_seconds * factor, n * samples, 0.0, 0.0)
            for n in range(every, steps + 1, every)
        ]
        found.append(Process({"rank": rank, "host": "n1", "pid": rank}, marks))
    return found


@given(st.integers(1000, 3000), st.floats(0.002, 0.1), st.sampled_from([1, 4, 16]), st.floats(1, 3))
def test_the_slowest_rank_counts(steps, step_seconds, every, slow):
    found = measured(ranks(steps, step_seconds, every, slow), 0.5)
    assert found.broken == []
    for one in found.intervals:
        assert one.slowest == pytest.approx(one.steps * step_seconds * slow)
        assert one.slowest >= 0.5
        assert one.samples == 2 * 64 * one.steps


def test_marks_that_ranks_do_not_have_in_common_are_met_between():
    one, other = ranks(2000, 0.01, 8)[0], ranks(2000, 0.01, 7)[1]
    found = measured([one, other], 0.5)
    assert len(found.intervals) > 20
    for interval in found.intervals:
        assert interval.seconds[1] == pytest.approx(interval.seconds[0], rel=1e-6)


def test_warm_up_pauses_and_gaps_are_no_training():
    quick = ranks(4000, 0.01, 10)
    late = [
        Mark(m.steps, m.at - max(0, 400 - m.steps) * 0.02, m.samples, 0, 0) for m in quick[0].marks
    ]
    slow_start = [Process(p.facts, late) for p in quick]
    found = measured(slow_start, 0.5)
    assert found.warmup > 3
    assert all(one.slowest / one.steps == pytest.approx(0.01) for one in found.intervals)

    def after(marks, place, seconds, paused):
        return [
            Mark(m.steps, m.at + seconds, m.samples, 0, paused, seconds * (i == place))
            if i >= place
            else m
            for i, m in enumerate(marks)
        ]

    together = [Process(p.facts, after(p.marks, 200, 3.0, 3.0)) for p in quick]
    found = measured(together, 0.5)
    assert found.broken == []
    assert sum(one.slowest for one in found.intervals) < 40
    alone = [Process(p.facts, after(p.marks, 200, 3.0, 3.0 * (p.rank == 0))) for p in quick]
    assert "rank 0 on n1 (process 0) paused for 3 s" in measured(alone, 0.5).broken[0].broken
    gap = [Process(p.facts, after(p.marks, 200, 3.0, 0.0)) for p in quick]
    assert "a gap of 3 s without a step" in measured(gap, 0.5).broken[0].broken
    assert len(measured(gap, 0.5).broken) == 1


@given(st.lists(st.floats(0.1, 1e6), min_size=2, max_size=30), st.booleans())
def test_printed_rates_are_found_in_any_line(values, with_steps):
    metric = Metric(r"(?:step (?P<step>\d+) )?rate=(?P<value>[-\d.e+]+)")
    for number, value in enumerate(values):
        step = f"step {10 * number} " if with_steps else ""
        assert metric.line(f"x {step}rate={value!r} y", 1.0 + number)
    assert not metric.line("rate=-1 nothing", 99)
    found = rated(metric.matches, "each")
    assert [one.rate for one in found] == values[1:]
    assert {one.steps for one in found} == {10 if with_steps else 1}
    (mean,) = rated(metric.matches, "mean")
    assert mean.rate == pytest.approx(sum(values[1:]) / len(values[1:]))
    (last,) = rated(metric.matches, "last")
    assert last.rate == values[-1]
    assert metric.unreadable == 1


def test_of_ranks_that_each_print_a_rate_the_slowest_counts():
    printed = [
        Match(value, at, rank=rank) for at in (1.0, 2.0) for rank, value in ((0, 10), (1, 8))
    ]
    found = rated(printed, "each")
    assert [one.rate for one in found] == [16]
    config = ProgramConfig(
        command=["a"], devices=2, metric=r"(?P<rank>\d) (\d+)", metric_of="device"
    )
    (row,) = rows_of_metric(config, found, 0)
    assert row.samples / row.seconds == pytest.approx(16), "already that of both devices"
    with_total = [*printed, Match(18, 2.0)]
    assert rated(with_total, "each") == found, "a total beside them is of no rank"


def test_ranks_that_are_not_what_was_asked_for_are_refused():
    config = ProgramConfig(command=["a"], devices=2, batch=64)
    fine = ranks(100, 0.01)
    check_processes(config, fine)
    for change, says in (
        ({"gpu": "GPU-1"}, "2 ranks on n1 train on the same GPU (GPU-1)"),
        ({"batch": 32}, "trains on batches of 32, and 64 were asked for (weak scaling)"),
        ({"batch": 128, "fetched": 128}, "trains on batches of 128, and 64 were asked for"),
        ({"replicas": 2}, "2 devices were asked for, and 4 devices trained"),
        ({"connected": 1}, "rank 0 on n1 (process 0) trains together with 0 others: see how"),
        ({"connected": 4}, "2 ranks trained, and rank 0 on n1 (process 0) trains together with 3"),
    ):
        with pytest.raises(Refused, match=re.escape(says)):
            check_processes(config, [Process(p.facts | change, p.marks) for p in fine])
    accumulated = {"batch": 128, "fetched": 64, "connected": 2}
    check_processes(config, [Process(p.facts | accumulated, p.marks) for p in fine])
    with pytest.raises(Refused, match="2 devices were asked for, and 1 device trained"):
        check_processes(config, fine[:1])


def test_samples_that_nobody_sees_have_to_be_told():
    """As in a loop of one's own over tensors."""
    unseen = [
        Process(p.facts, [Mark(m.steps, m.at, None, 0, 0) for m in p.marks])
        for p in ranks(1000, 0.01)
    ]
    config = ProgramConfig(command=["a"], devices=2)
    with pytest.raises(Refused, match="on how many samples a step trains is not seen"):
        rows_of_steps(config, unseen, measured(unseen, 0.5))
    told = config.model_copy(update={"batch": 32})
    rows = rows_of_steps(told, unseen, measured(unseen, 0.5))
    assert {row.samples / row.steps for row in rows} == {64}
    assert "each counts as a batch of --batch" in warned(told, unseen, measured(unseen, 0.5))[0]


def test_lines_that_are_cut_short_cost_no_others(tmp_path):
    (tmp_path / "n1-1.jsonl").write_bytes(
        b'{"kind": "facts", "rank": 1}\n'
        b'{"kind": "steps", "steps": 1, "at": 1, "samples": 1, "waited": 0, "paused": 0}\n'
        b'{"kind": "steps", "ste'
    )
    (tmp_path / "n1-2.jsonl").write_bytes(b'{"kind": "facts", "rank": 0}\n')
    (one,) = read(tmp_path)
    assert (one.rank, len(one.marks), one.ended) == (1, 1, False)


# Real programs


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
def test_keras_fit(tmp_path):
    done = scale(tmp_path, "--", "python", PROGRAMS / "keras_fit.py")
    assert done.status == 0, done.errors + done.output
    (document,) = documents(tmp_path).values()
    (process,) = document["processes"]
    assert process["framework"] == "keras on tensorflow"
    assert document["parameters"] == 784 * 64 + 64 + 64 * 10 + 10
    rows = read_results(tmp_path).throughput
    assert rows["samples"].sum() / rows["steps"].sum() == pytest.approx(64, rel=0.01)


@pytest.mark.slow
def test_horovod_with_a_graph_of_tensorflow(tmp_path):
    line = ("--start=per-device", "--", "python", PROGRAMS / "horovod_loop.py")
    done = scale(tmp_path, "--devices=2", "--batch=64", *line)
    assert done.status == 0, done.errors + done.output
    rows = read_results(tmp_path).throughput
    assert (rows["samples"] == rows["steps"] * 128).all()


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
    """On the rank for which they do; what nobody measured is not blamed."""
    done = scale(tmp_path / "r", "--devices=1,2", "--repeats=2", "--", *TORCHRUN, "late")
    assert done.status == 0, done.errors + done.output
    drawn = run(["python", "-m", "hpcbench", "plot", tmp_path / "r", "--output", tmp_path / "f"])
    assert "waiting for data" in drawn.output
    results = read_results(tmp_path / "r")
    (row,) = answer(results, [], None).why.to_dict("records")
    assert row["blamed"] == ["extra_data"]
    assert row["extra_data_seconds"] == pytest.approx(5e-3, rel=0.2)
    assert row["unmeasured"] == ["extra_compute", "contention", "waiting", "exchange"]


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
    program = "import sys, hpcbench_probe; print(hpcbench_probe.recorder.steps)"
    done = run([python, "-W", "error", "-c", program], env=os.environ | probe)
    assert (done.output, done.errors) == ("0\n", "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--devices=1"], "no command: put it behind --"),
        (["--devices=one", "--", "a"], "--devices one: counts, as 1,2,4"),
        (["--environment=A", "--", "a"], "--environment wants NAME=VALUE"),
        (["--", "a", "{batch}"], "asks for a batch, and none is given"),
        (["--devices=3", "--scaling=strong", "--batch=64", "--", "a"], "cannot be shared by 3"),
    ],
)
def test_a_command_line_that_is_wrong(arguments, says, tmp_path):
    done = scale(tmp_path, *arguments)
    assert done.status in (2, 3)
    assert says in done.errors or (done.status == 3 and sys.platform == "linux")
