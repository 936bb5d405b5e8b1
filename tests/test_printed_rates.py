"""Rates that programs print: which numbers they are, in what unit, and for how long each stands."""

import os
import re
import threading
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbench.programs.config import ProgramConfig
from hpcbench.programs.metric import Match, Metric, Rated, rated
from hpcbench.programs.verdict import (
    Refused,
    refuse_unclear,
    rows_of_metric,
)
from hpcbench.runs.program.output import Output


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


@given(st.lists(st.tuples(st.floats(0.01, 1e4), st.floats(1e-6, 100)), min_size=1, max_size=30))
def test_each_printed_rate_weighs_by_its_time(printed):
    """Though samples are whole."""
    config = ProgramConfig(command=["a"], metric="(a)")
    rows = rows_of_metric(config, [Rated(2, seconds, rate) for rate, seconds in printed], 0)
    work = sum(rate * seconds for rate, seconds in printed)
    taken = sum(seconds for _, seconds in printed)
    read = sum(row.samples for row in rows) / sum(row.seconds for row in rows)
    assert read == pytest.approx(work / taken, rel=0.11)
    assert sum(row.steps for row in rows) == 2 * len(printed)
    if work >= 10:
        assert sum(row.seconds for row in rows) == pytest.approx(taken, rel=0.11)


def test_a_slow_last_moment_counts_for_no_longer_than_it_took():
    config = ProgramConfig(command=["a"], metric="(a)")
    rows = rows_of_metric(config, [*[Rated(1, 0.3, 100)] * 6, Rated(1, 0.01, 3)], 0)
    read = sum(row.samples for row in rows) / sum(row.seconds for row in rows)
    assert read == pytest.approx(99.46, abs=0.01)
    (one,) = rows_of_metric(config, [Rated(1, 0.01, 3)], 0)
    assert one.samples / one.seconds == pytest.approx(3)


@pytest.mark.parametrize(
    ("line", "cut"),
    [
        ("rate: 1,234.5 a", "'1' of '1,234.5'"),
        ("rate: 1.5e+03 a", "'1.5' of '1.5e+03'"),
        ("rate: 1.5k", "'1.5' of '1.5k'"),
        ("rate: 12.", ""),
        ("rate: 12, 13", ""),
        # Of a table in columns.
        ("rate: 12.5,0.31", ""),
        ("rate: 100,2345.6", ""),
        ("rate: 12images/s", ""),
        ("rate: 12 M", ""),
    ],
)
def test_a_number_that_is_cut_is_none(line, cut):
    metric = Metric(r"rate: ([0-9.]+)")
    metric.line(line, 1.0)
    assert metric.unclear.partition(":")[0] == cut


def read_rates(expression, lines, counted="samples"):
    metric = Metric(expression, counted)
    for place, line in enumerate(lines):
        metric.line(line, float(place))
    return [match.value for match in metric.matches], metric.unclear


@pytest.mark.parametrize(
    ("expression", "line", "rate"),
    [
        (r"([0-9.]+) ?s/it", "[00:01<00:02, 2.00s/it]", 0.5),
        (r"([0-9.]+)it/s", "[00:01<00:02, 2.00s/it]", 0.5),
        (r"([0-9.]+)(?:it/s|s/it)", "[00:01<00:02, 2.00s/it]", 0.5),
        (r"([0-9.]+)(?:it/s|s/it)", "[00:01<00:02, 4.00it/s]", 4),
        (r"speed: ([0-9.]+)", "speed: 250 ms / step", 4),
        (r"speed: ([0-9.]+)", "speed: 0.25 seconds per step", 4),
        (r"batch ([0-9.]+)", "| lr 20.0 | ms/batch 25.00 | loss 1", 40),
        (r"([0-9.]+) img", "rate: 120 img/min", 2),
        (r"([0-9.]+) img/s", "0.5 s/step 100 img/s", 100),
        (r"/s: ([0-9.]+)", "samples/s: 100 ms/batch: 25", 100),
        (r"gpu: ([0-9.]+)", "samples per second per gpu: 100", 100),
        (r"GPU: ([0-9.]+)", "samples/s/GPU: 100", 100),
        (r"per_second': ([0-9.]+)", "{'runtime': 5.2, 'train_samples_per_second': 100.5}", 100.5),
        (r"\] ([0-9.]+)", "[10.5 s] 100", 100),
        (r"rate ([0-9.]+)", "rate 100 min 90 max 120", 100),
        (r"([0-9.]+) kimg/s", "1.50 kimg/s", 1500),
        (r"([0-9.]+) ?img/s", "1.50kimg/s", 1500),
        (r": ([0-9.]+)", "step 1: 1.5 k img/s", 1500),
        (r": ([0-9.]+)", "step 1: 1.5 kimg", 1500),
        (r": ([0-9.]+)", "step 1: 1.5 M/s", 1.5e6),
        (r": ([0-9.]+)", "step 1: 1.5 million samples per second", 1.5e6),
        (r": ([0-9.]+)", "thousand tokens/s: 1.5", 1500),
        (r": ([0-9.]+)", "step 1: 1.5 Tokens/s", 1.5),
        (r": ([0-9.,]+)", "rate: 1,234,567.8 img/s", 1234567.8),
        (r": ([0-9.,]+)", "rate: 12, 34", 12),
        (r"images/sec: ([0-9.]+)", "images/sec: 100.5 +/- 0.3 (jitter = 1.0)", 100.5),
    ],
)
def test_a_rate_is_read_with_its_unit(expression, line, rate):
    (read,), unclear = read_rates(expression, [line])
    assert (read, unclear) == (pytest.approx(rate), "")


@pytest.mark.parametrize(
    ("expression", "line", "says"),
    [
        (r": ([0-9.,]+)", "rate: 1,5 it/s", "'1,5', which is not clear"),
        (r": ([0-9.]+)", "rate: 1,5 it/s", "'1' of '1,5'"),
        (r"([0-9.]+) it/s", "rate: 1,5 it/s", "'5' of '1,5'"),
        (r": ([0-9.,]+)", "rate: 1.234,5", "'1.234,5', which is not clear"),
        (r": ([0-9.]+)", "rate: 1.234,5", "'1.234' of '1.234,5'"),
        (r": ([0-9.]+)", "rate: 1.234.567", "'1.234.567', which is not clear"),
        (r"([0-9.]+) img", "1'234.5 img/s", "'234.5' of \"1'234.5\""),
        (r": (\S+)", "rate: 100img/s", "'100img/s', which is not clear"),
        (r"([0-9]+) img", "1.5e+03 img/s", "'03' of '1.5e+03'"),
        (r"([0-9]+) img", "rate = -5 img/s", "'5' of '-5'"),
        (r"- ([0-9.]+)", "100.5 +/- 0.3", "'0.3' behind a ±, which is a deviation"),
        (r"time ([0-9.]+)", "time 250 ms", "'250' of '250 ms', which is a time and no rate"),
        (r"time=([0-9.]+)", "step_time=0.25", "'0.25' of 'time=0.25', which is a time"),
        (r": ([0-9.]+)", "time per step: 0.25", "'time per step', which is a time"),
        (r": ([0-9.]+)", "step (ms): 250", "'250' of 'ms): 250', which is a time"),
        (r": ([0-9.]+)", "step 1: 1.5 kfoo/s", "if kfoo are what is to be counted, say --unit"),
    ],
)
def test_a_number_that_may_be_another_rate_is_refused(expression, line, says):
    rates, unclear = read_rates(expression, [line])
    assert rates == []
    assert says in unclear


def test_what_is_asked_to_be_counted_has_no_factor():
    for unit, line in (("kimg", "1.5 kimg/s"), ("kfoo", "1.5 kfoo/s"), ("k img", "1.5 k img/s")):
        assert read_rates("([0-9.]+)", [line], unit) == ([1.5], "")


def test_long_lines_take_no_time():
    for line in ("100it/s " * 3000, "3 " + " " * 30000 + "5it/s", "a " * 30000 + "5it/s"):
        began = time.monotonic()
        rates, _ = read_rates("([0-9.]+)it/s", [line])
        assert rates
        assert time.monotonic() - began < 2


def test_numbers_of_two_units_are_no_series():
    slow = ["3.00it/s", "2.00s/it", "500ms/it", "0.001kit/s"]
    assert read_rates("([0-9.]+)it/s", slow) == ([3, 0.5, 2, 1], "")
    _, unclear = read_rates("([0-9.]+)", ["3.00 it/s", "200 img/s"])
    assert unclear == "numbers of 'it/s' and of 'img/s': let it take one"
    # Another bar in other words is none that the expression is for.
    assert read_rates("train.* ([0-9.]+)it/s", ["train 3it/s", "test 2.00s/it"]) == ([3], "")


@given(
    st.floats(0.01, 1e7),
    st.sampled_from(["{:.3f}", "{:,.3f}", "{:.4e}", "{!r}"]),
    st.sampled_from(
        [
            *(("", " it/s", 1, False), ("", "it/sec", 1, False), ("", " kit/s", 1e3, False)),
            *(("", " M it/s", 1e6, False), ("", "s/it", 1, True), ("", " ms/it", 1e3, True)),
            *(("", " iterations per second", 1, False), ("it/s: ", "", 1, False)),
            *(("kit/s = ", "", 1e3, False), ("s/it ", "", 1, True), ("ms per it: ", "", 1e3, True)),
            *(("time (ms): ", "", 0, True), ("", " ms", 0, True)),
        ]
    ),
    st.sampled_from(["", "step 7 ", "[10.5s] ", "12,34 | ", "loss 0.5, "]),
    st.sampled_from(["([0-9.]+)", "([0-9.,]+)", "([0-9]+)", r"([0-9][0-9.,e+-]*)"]),
    st.booleans(),
)
def test_a_rate_is_read_rightly_or_refused(rate, form, style, before, pattern, loose):
    """However it is printed, and whatever the expression takes of it."""
    name, unit, factor, inverse = style
    text = form.format((factor or 1) / rate if inverse else rate / (factor or 1))
    shown = float(text.replace(",", ""))
    expression = "@.*?" + pattern if loose else f"{re.escape('@' + name)}{pattern}{re.escape(unit)}"
    rates, unclear = read_rates(expression, [f"{before}@{name}{text}{unit}"])
    right = factor / shown if inverse and shown else factor * shown
    if rates:
        assert factor
        assert rates == [pytest.approx(right)]
    else:
        assert unclear or not shown or not re.search(expression, f"@{name}{text}{unit}")


def test_numbers_of_nobody_knows_which_device_are_refused():
    config = ProgramConfig(command=["a"], devices=2, metric="(a)")
    of_both = [Match(100, second + shift) for second in range(6) for shift in (0.0, 0.01)]
    with pytest.raises(Refused, match="2 numbers come at a time, as where each rank prints its"):
        refuse_unclear(config, of_both)
    # On a busy machine one pause is as long as many, and one pair is parted.
    busy = [replace(match, at=match.at + 60 * (place > 5)) for place, match in enumerate(of_both)]
    busy[3] = replace(busy[3], at=busy[3].at + 0.5)
    with pytest.raises(Refused, match="2 numbers come at a time"):
        refuse_unclear(config, busy)
    refuse_unclear(config.model_copy(update={"devices": 1}), of_both)
    refuse_unclear(config, [Match(100, second) for second in range(6)])
    with pytest.raises(Refused, match="its 3 numbers came at once"):
        refuse_unclear(config, [Match(100, 1.0)] * 3)
    refuse_unclear(config.model_copy(update={"take": "last"}), [Match(100, 1.0)] * 3)


def test_a_line_is_of_when_it_was_printed_not_of_when_the_next_one_ends_it():
    read_end, write_end = os.pipe()

    def bar():
        for text, pause in (
            ("\r2.00it/s", 0.4),
            ("\r4.00it/s", 0.0),
            ("\n8.", 0.2),
            ("00it/s", 0.4),
        ):
            os.write(write_end, text.encode())
            time.sleep(pause)
        os.close(write_end)

    output = Output(Metric("([0-9.]+)it/s"))
    printing = threading.Thread(target=bar)
    printing.start()
    output.follow(read_end)
    printing.join()
    os.close(read_end)
    two, four, eight = output.metric.matches
    assert (two.value, four.value, eight.value) == (2, 4, 8)
    assert four.at - two.at == pytest.approx(0.4, abs=0.15)
    assert eight.at - four.at == pytest.approx(0.2, abs=0.15)


def test_several_trainings_are_not_one_rate():
    config = ProgramConfig(command=["a"], metric="(a)")
    several = [Match(100 * run, 10 * run + n, step=n) for run in (1, 2) for n in range(1, 6)]
    with pytest.raises(Refused, match="the step that it prints falls from 5 to 1, and several"):
        refuse_unclear(config, several)
    refuse_unclear(config.model_copy(update={"take": "last"}), several)
    refuse_unclear(config, [replace(match, step=None) for match in several])
    # Each rank counts for itself, and lines of the same step may be many.
    of_ranks = [Match(100, n, step=n // 2 + 50 * (n % 2), rank=n % 2) for n in range(10)]
    refuse_unclear(config, of_ranks)
    refuse_unclear(config, [Match(100, n, step=n // 2) for n in range(10)])
