"""hpcbench scale: what is asked for, and what steps are taken to mean."""

import os
import re
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbench.errors import ConfigError
from hpcbench.programs.config import Program, ProgramConfig, fill, program_name
from hpcbench.programs.intervals import Interval, Measured, measured
from hpcbench.programs.probe_lines import Mark, Process, read
from hpcbench.programs.verdict import (
    Refused,
    check_processes,
    rows_of_steps,
    warned,
)
from hpcbench.runs.program.output import Output
from hpcbench.validation import parse
from support.scaling import scale

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


def test_the_exchange_is_what_the_rank_that_comes_last_has_of_it():
    """In each iteration that all ranks tell of; what the others have more, they wait for it."""
    found = []
    for process, ahead in zip(ranks(1000, 0.01), (0, 1), strict=True):
        # The one that comes last changes; each tells of some that the other does not.
        told = {n: 0.002 + 0.004 * (n % 2 == ahead) for n in range(1, 1000) if n % 7 > ahead}
        marks = [
            replace(
                mark, exposed=tuple((n, told[n]) for n in told if mark.steps - 8 <= n < mark.steps)
            )
            for mark in process.marks
        ]
        found.append(Process(process.facts, marks))
    for one in measured(found, 0.5).intervals:
        assert one.exchange == pytest.approx(0.002 * one.steps)
        assert sum(one.exposed) / 2 == pytest.approx(0.004 * one.steps, rel=0.01)
    alone = [found[0], Process(found[1].facts, ranks(1000, 0.01)[1].marks)]
    assert {one.exposed for one in measured(alone, 0.5).intervals} == {()}


def test_an_interval_tells_of_its_parts_only_where_each_step_was_looked_into():
    seen = []
    for process in ranks(2000, 0.01, 10):
        # Up to here each, then one in ten.
        marks = [
            replace(mark, waited=0.001 * looked, forward=0.003 * looked, looked=looked)
            for mark in process.marks
            for looked in [min(mark.steps, 1000) + max(0, mark.steps - 1000) // 10]
        ]
        seen.append(Process(process.facts, marks))
    intervals = measured(seen, 0.5).intervals
    with_parts = [one for one in intervals if one.forward]
    assert 0.4 < len(with_parts) / len(intervals) < 0.6
    for one in with_parts:
        assert one.forward == pytest.approx((0.003 * one.steps,) * 2)
        assert one.waited == pytest.approx((0.001 * one.steps,) * 2)
    assert {one.waited for one in intervals if not one.forward} == {()}


def test_between_marks_of_which_not_each_step_was_looked_into_no_part_is_told():
    """Where ranks have no marks in common, and one was not looked into up to its next mark."""
    found = []
    for process in (ranks(2000, 0.01, 40)[0], ranks(2000, 0.01, 70)[1]):
        marks = [
            replace(m, waited=0.001 * m.steps, looked=m.steps - 35 * (m.steps >= 700))
            for m in process.marks
        ]
        found.append(Process(process.facts, marks))
    unseen = [one for one in measured(found, 0.3).intervals if not one.waited]
    assert 80 <= sum(one.steps for one in unseen) <= 200


@pytest.mark.parametrize("every", [8, 7])
def test_for_how_long_steps_waited_is_unknown_where_one_rank_does_not_know(every):
    """Also between marks; what it was told before another thread fetched is kept."""
    knows, other = ranks(2000, 0.01, 8)[0], ranks(2000, 0.01, every)[1]
    knows = replace(knows, marks=[replace(m, waited=0.001 * m.steps) for m in knows.marks])
    waits = [replace(m, waited=0.0 if m.steps < 1000 else None) for m in other.marks]
    intervals = measured([knows, replace(other, marks=waits)], 0.5).intervals
    told = [bool(one.waited) for one in intervals]
    assert 0.4 < sum(told) / len(told) < 0.6
    assert told == sorted(told, reverse=True)


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


def test_time_in_steps_that_are_no_usual_ones_is_told_of():
    """Too short a pause to be taken out: 0.3 s at every 100 steps of 10 ms, on both ranks."""
    config = ProgramConfig(command=["a"], devices=2, batch=64)

    def paused(seconds):
        found = []
        for one in ranks(4000, 0.01, 4):
            marks = [
                Mark(m.steps, m.at + seconds * (m.steps // 100), m.samples, 0, 0, 0.01 + seconds)
                if m.steps % 100 == 0
                else Mark(m.steps, m.at + seconds * (m.steps // 100), m.samples, 0, 0, 0.01)
                for m in one.marks
            ]
            found.append(Process(one.facts, marks))
        return found

    for seconds, share in ((0.3, "at least 20 %"), (0.05, None)):
        processes = paused(seconds)
        counted = measured(processes, 0.5)
        assert not counted.broken
        said = warned(config, processes, counted)
        assert [share in sentence for sentence in said] == ([True] if share else [])
    # Longer ones are taken out wherever they are.
    processes = paused(3.0)
    with pytest.raises(Refused, match=r"--interval-seconds\) that fit between its pauses; a gap"):
        rows_of_steps(config, processes, measured(processes, 1.5))


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
        ({"restarts": 1}, "torchrun restarted its ranks 1 time, since one had failed"),
        ({"averages": False}, "averages no gradients over Horovod's ranks"),
    ):
        with pytest.raises(Refused, match=re.escape(says)):
            check_processes(config, [Process(p.facts | change, p.marks) for p in fine])
    accumulated = {"batch": 128, "fetched": 64, "connected": 2}
    check_processes(config, [Process(p.facts | accumulated, p.marks) for p in fine])
    with pytest.raises(Refused, match="2 devices were asked for, and 1 device trained"):
        check_processes(config, fine[:1])


@pytest.mark.parametrize(
    ("gradients", "weights", "apart"),
    [
        # Of two tensors, by rank.
        (((1, 2), (1, 2)), ((5, 6), (5, 6)), False),
        (((1, 2), (1.1, 2.1)), ((5, 6), (5.1, 6.1)), True),
        # Rounded otherwise, as on another processor.
        (((1, 2), (1 + 1e-7, 2)), ((5, 6), (5 + 1e-7, 6)), False),
        # One is a rank's own, as an expert's is.
        (((1, 2), (1, 2.1)), ((5, 6), (5, 6.1)), False),
        # Weights are averaged instead; no gradients yet, and none that were seen.
        (((1, 2), (1.1, 2.1)), ((5, 6), (5, 6)), False),
        (((0, 0), (0, 0)), ((5, 6), (5.1, 6.1)), False),
        # What has none is no sign of anything; a small rate moves weights by little.
        (((1, 0), (1.1, 0)), ((5, 6), (5.1, 6)), True),
        (((1, 2), (1.1, 2.1)), ((5, 6), (5 + 1e-6, 6 + 1e-6)), True),
        ((None, None), ((5, 6), (5.1, 6.1)), False),
        # Parts of a model.
        (((1, 2), (1.1,)), ((5, 6), (5.1,)), False),
    ],
)
def test_ranks_that_each_train_for_themselves_are_refused(gradients, weights, apart):
    config = ProgramConfig(command=["a"], devices=2)

    def told(values):
        return values and [[[4], value, value] for value in values]

    processes = [
        Process(one.facts | {"gradients": told(of_rank), "weights": told(kept)}, one.marks)
        for one, of_rank, kept in zip(ranks(100, 0.01), gradients, weights, strict=True)
    ]
    if not apart:
        check_processes(config, processes)
        return
    with pytest.raises(Refused, match="train each for itself: after the first step"):
        check_processes(config, processes)


def test_intervals_that_are_left_out_are_told_of():
    config = ProgramConfig(command=["a"])
    broken = Interval(1, None, (1.0,), (), broken="a gap")
    (one,) = warned(config, [], Measured([], 0, [broken]))
    assert one == "1 interval of about 0.5 s is left out, as: a gap"
    (two,) = warned(config, [], Measured([], 0, [broken] * 2))
    assert two == "2 intervals of about 0.5 s are left out, as: a gap"


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (
            ["[1,0]<stderr>:Traceback (most recent call last):", "[1,0]<stderr>:KeyError: 'x'"],
            "KeyError: 'x'",
        ),
        (
            [
                "Traceback (most recent call last):",
                "RuntimeError: Connection reset by peer",
                "  exitcode  : -9 (pid: 7)",
            ],
            "a process of it was killed, as where memory runs short (exitcode  : -9 (pid: 7))",
        ),
        (
            [
                "Traceback (most recent call last):",
                "AttributeError: in user code:",
                "",
                '    File "train.py", line 20, in step  *',
                "    AttributeError: 'Variable' object has no attribute 'ref'",
            ],
            "AttributeError: 'Variable' object has no attribute 'ref'",
        ),
        (["one", "two", "three", "-----", "four"], "two | three | four"),
    ],
)
def test_why_a_program_ended(lines, reason):
    read_end, write_end = os.pipe()
    os.write(write_end, "\n".join(lines).encode())
    os.close(write_end)
    output = Output(None)
    output.follow(read_end)
    assert output.reason() == reason


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
