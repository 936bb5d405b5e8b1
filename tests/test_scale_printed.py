"""hpcbench scale --metric: rates that a program prints, from its lines to the report."""

import pytest

from hpcbench.analysis.answers import answer
from hpcbench.analysis.report.contents import build
from hpcbench.records.reader import read_results
from support import run
from support.scaling import scale


def printed(tmp_path, lines, *options):
    """``lines`` as a shell prints them, a tenth of a second between."""
    script = "; sleep 0.1; ".join(f'echo "{line}"' for line in lines)
    return scale(tmp_path, *options, "--shell", "--", script)


def answers_of(folder):
    return answer(read_results(folder), [], None)


def test_the_report_says_whose_rates_these_are(tmp_path):
    lines = [f"step {n}: 100 img/s" for n in range(6)]
    metric = r"--metric=step (?P<step>\d+): ([0-9.]+)"
    done = printed(tmp_path, lines, metric, "--devices=1,2")
    assert done.status == 0, done.output + done.errors
    found = answers_of(tmp_path)
    assert found.points["step_seconds"].isna().all()
    timed = found.tails[["slowest_p50", "slowest_max", "fastest_p50"]]
    assert timed.isna().all(axis=None)
    report = build(found, None)
    said = [str(caution) for caution in report.cautions]
    assert said[0].startswith("2 of 2 runs have rates that the program printed")
    flat = "as high on 2 devices as on 1; where it is each device's own, say --metric-of device"
    assert sum(flat in sentence for sentence in said) == 1
    tables = {table.name: table for table in report.tables}
    points = tables["points"]
    assert "How long a step took is not known" in points.note
    assert {row[points.header.index("step, ms")].text for row in points.rows} == {"–"}
    rules = [" ".join(cell.text for cell in row) for row in tables["rules"].rows]
    timing = next(rule for rule in rules if rule.startswith("10."))
    assert "Of 2 runs the rates are those that the program printed" in timing
    assert "the same steps on all ranks" not in timing


def test_what_is_counted_is_in_the_report(tmp_path):
    lines = ["rate: $((70 * $HPCBENCH_DEVICES + 30))"] * 6
    options = ("--metric=rate: ([0-9.]+)", "--unit=tokens/s", "--devices=1,2")
    done = printed(tmp_path, lines, *options)
    assert done.status == 0, done.output + done.errors
    report = build(answers_of(tmp_path), None)
    points = next(table for table in report.tables if table.name == "points")
    assert {"tokens/s", "device-hours per million tokens"} <= set(points.header)
    assert "on 1: 100.0 tokens/s" in points.note
    said = [*points.header, points.note, *report.summary, *(table.note for table in report.tables)]
    assert "samples/s" not in " ".join(said)
    plot = run(["python", "-m", "hpcbench", "plot", tmp_path / "echo", "--output", tmp_path / "f"])
    assert plot.status == 0, plot.errors
    assert "samples/s" not in (tmp_path / "f" / "throughput.svg").read_text()
    for figure in ("throughput", "overview"):
        assert "tokens/s" in (tmp_path / "f" / f"{figure}.svg").read_text(), figure


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--metric-of=device"], "100 img/s"),
        ([], "$((100 * $HPCBENCH_DEVICES)) img/s"),
        ([], "$((56 * $HPCBENCH_DEVICES + 44)) img/s"),
    ],
)
def test_a_rate_that_is_known_to_be_of_all_is_not_doubted(tmp_path, options, text):
    lines = [f"rate: {text}"] * 6
    done = printed(tmp_path, lines, "--metric=rate: ([0-9.]+)", "--devices=1,2", *options)
    assert done.status == 0, done.output + done.errors
    said = "\n".join(map(str, answers_of(tmp_path).cautions))
    assert "that the program printed" in said
    assert "--metric-of" not in said


def test_a_command_that_cannot_be_started_is_tried_once(tmp_path):
    done = scale(tmp_path, "--repeats=3", "--", "./not-there")
    assert done.status == 4
    assert ": 3 runs on own data" in done.output
    assert done.output.count("cannot be started") == 1
    assert "2 runs of the same command not tried" in done.output
    one = scale(tmp_path / "one", "--", "./not-there")
    assert ": 1 run on own data" in one.output
    assert "not tried" not in one.output


@pytest.mark.parametrize(
    ("metric", "lines", "says"),
    [
        ("([0-9.]+)it/s", ["9.00it/s", "2.00s/it"], "0.5 samples/s over 1 interval, as it printed"),
        ("rate: ([0-9.,]+)", ["rate: 1,5"] * 5, "takes '1,5', which is not clear"),
        ("([0-9.]+) k", ["1.5 kfoo/s"] * 5, "say --unit kfoo/s"),
        (r"(?P<step>\d+): ([0-9.]+)", [f"{n % 4}: 9" for n in range(8)], "falls from 3 to 0"),
    ],
)
def test_printed_rates_are_read_or_refused(tmp_path, metric, lines, says):
    done = printed(tmp_path, lines, f"--metric={metric}")
    (log,) = tmp_path.rglob("*.log")
    assert says in log.read_text(), done.output
    assert done.status == (0 if "over" in says else 4)
