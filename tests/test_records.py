"""Result files stay whole whatever happens to the writer or the disk."""

import json
import math
import re
import resource
import shutil
import subprocess
import sys
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcbench.errors import ConfigError, EnvironmentLacks, Superseded
from hpcbench.records.identity import UNKNOWN, Identity
from hpcbench.records.ownership import Owner, Ownership
from hpcbench.records.reader import is_complete, read_results
from hpcbench.records.schema import (
    ACCURACY_FILE,
    RANKS_FILE,
    RUN_FILE,
    SCHEMA_VERSION,
    THROUGHPUT_FILE,
    RankTimes,
    ThroughputRow,
    columns,
)
from hpcbench.records.upgrade import identity_of
from hpcbench.records.writer import RunWriter, claim_folder, ensure_writable
from support import IDENTITY, ROOT
from support.records import ALONE, EPOCH, interval, write_run


def test_what_was_written_is_read_back(tmp_path):
    write_run(tmp_path / "run")
    results = read_results(tmp_path)
    assert len(results.throughput) == 3
    assert results.throughput["samples_per_second"].tolist() == [2560.0] * 3
    assert results.accuracy["test_metric"].tolist() == [0.9]
    assert results.skipped == []


def test_a_second_writer_is_refused(tmp_path):
    ownership = Ownership(tmp_path, ALONE)
    code = (
        "import sys; from pathlib import Path; from hpcbench.records.ownership import *\n"
        "try: Ownership(Path(sys.argv[1]), Owner.here('', 0))\n"
        "except ConfigError as error: print(error); sys.exit(2)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "another process" in done.stdout
    ownership.release()
    assert subprocess.run(command, check=False).returncode == 0


def test_a_later_attempt_takes_over_and_the_earlier_one_writes_nothing_more(tmp_path):
    """As when a node that Slurm believes dead goes on writing what was requeued elsewhere."""
    first = RunWriter(tmp_path, IDENTITY, Ownership(tmp_path, Owner("17_3", 0, "n1", 1)))
    first.start({"run_id": "orphan"})
    first.throughput(interval(0))
    for owner in (Owner("17_3", 0, "n2", 2), Owner("18_3", 1, "n2", 2), Owner("", 1, "n2", 2)):
        with pytest.raises(ConfigError, match="another process"):
            Ownership(tmp_path, owner)
    second = RunWriter(tmp_path, IDENTITY, Ownership(tmp_path, Owner("17_3", 1, "n2", 2)))
    for write in (
        lambda: first.throughput(interval(1)),
        lambda: first.accuracy(EPOCH),
        first.complete,
    ):
        with pytest.raises(Superseded, match="restart 1, on n2"):
            write()
    second.start({"run_id": IDENTITY.run_id, "sweep": IDENTITY.sweep})
    for number in range(2):
        second.throughput(interval(number))
    second.complete()
    results = read_results(tmp_path)
    assert results.throughput["interval"].tolist() == [0, 1]
    assert results.runs[0]["run_id"] == IDENTITY.run_id


@settings(max_examples=15)
@given(limit=st.integers(0, 3000))
def test_a_full_disk_leaves_whole_lines(tmp_path_factory, limit):
    """The kernel refuses to let files grow past ``limit``, as a full disk would."""
    folder = tmp_path_factory.mktemp("disk")
    writer = RunWriter(folder, IDENTITY, Ownership(folder, ALONE))
    writer.start({"run_id": IDENTITY.run_id})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(EnvironmentLacks, match=r"throughput\.csv cannot be written"):
            for number in range(100):
                writer.throughput(interval(number))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    lines = (folder / THROUGHPUT_FILE).read_text()
    assert lines.endswith("\n")
    assert {line.count(",") for line in lines.splitlines()} == {len(columns(ThroughputRow)) - 1}
    writer.fail("environment", "disk full")
    assert json.loads((folder / RUN_FILE).read_text())["status"] == "failed"
    writer.close()


def test_a_vague_word_does_not_replace_a_better_one(tmp_path):
    """Whether the thread that waits for signals or the training ends last."""
    writer = RunWriter(tmp_path, IDENTITY, Ownership(tmp_path, ALONE))
    writer.start({})
    for failure, known in (
        ("preempted", "preempted"),
        ("communication", "communication"),
        ("timeout", "timeout"),
        ("preempted", "timeout"),
        ("starved", "starved"),
        ("communication", "starved"),
    ):
        writer.fail(failure, failure)
        assert json.loads((tmp_path / "run.json").read_text())["message"] == known
    writer.complete()
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "complete"
    writer.close()


def test_a_resumed_run_keeps_only_the_rows_of_its_checkpoint(tmp_path):
    folder = tmp_path / "run"
    write_run(folder, rows=5)
    identity = replace(IDENTITY, run_id="run")
    writer = RunWriter(folder, identity, Ownership(folder, ALONE), keep_rows=(2, 0))
    assert writer.rows == (2, 0)
    writer.start({"run_id": "run", "sweep": identity.sweep})
    writer.throughput(interval(2))
    writer.complete()
    writer.close()
    results = read_results(tmp_path)
    assert results.throughput["interval"].tolist() == [0, 1, 2]
    assert len(results.accuracy) == 0


def test_rows_of_ranks_go_with_those_of_throughput(tmp_path):
    """A resumed run keeps those of its intervals; who did not take part has none."""
    folder = tmp_path / "run"
    identity = replace(IDENTITY, run_id="run", devices=2, global_batch=256)
    for keep in ((0, 0), (2, 0)):
        ownership = Ownership(folder, ALONE)
        writer = RunWriter(folder, identity, ownership, keep, ranks=True)
        writer.start({"run_id": "run", "sweep": identity.sweep})
        for number in range(keep[0], 4):
            writer.throughput(interval(number))
            writer.ranks(RankTimes("train", number, 10, (0.5, 0.4)))
            writer.ranks(RankTimes("alone", number, 3, (0.1, math.nan)))
        writer.complete()
        writer.close()
        ownership.release()
    results = read_results(tmp_path)
    assert results.skipped == []
    train, alone = (results.ranks[results.ranks["phase"] == name] for name in ("train", "alone"))
    assert train["interval"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert train["seconds"].tolist() == [0.5, 0.4] * 4
    assert alone["interval"].tolist() == [0, 1, 2, 3]
    assert set(alone["rank"]) == {0}


def test_bad_files_are_named_and_left_out(tmp_path):
    write_run(tmp_path / "good")
    for name in ("torn", "half", "mixed", "zero", "foreign", "header", "gone", "running", "stray"):
        write_run(tmp_path / name)
    shutil.copytree(tmp_path / "good", tmp_path / "the same")
    (tmp_path / "stray" / RUN_FILE).unlink()
    line = (tmp_path / "good" / THROUGHPUT_FILE).read_text().splitlines()[-1]
    zero = line.replace("good", "zero").replace(",0.5,", ",0.0,")
    alien = (tmp_path / "running" / THROUGHPUT_FILE).read_text().splitlines()[-1]
    for name, line in (("half", "x,1"), ("mixed", alien), ("zero", zero)):
        with open(tmp_path / name / THROUGHPUT_FILE, "a") as file:
            file.write(line + "\n")
    with open(tmp_path / "torn" / THROUGHPUT_FILE, "a") as file:
        file.write("0123456789ab,t,fc-64")
    (tmp_path / "foreign" / RUN_FILE).write_text("[1, 2]")
    (tmp_path / "header" / ACCURACY_FILE).write_text("a,b\n1,2\n")
    (tmp_path / "gone" / THROUGHPUT_FILE).unlink()
    document = json.loads((tmp_path / "running" / RUN_FILE).read_text())
    (tmp_path / "running" / RUN_FILE).write_text(json.dumps(document | {"status": "running"}))
    (tmp_path / "good" / "loop").symlink_to(tmp_path)
    results = read_results(tmp_path)
    assert len(results.throughput) == 3
    skipped = "\n".join(results.skipped)
    for name, reason in (
        ("torn", "ends within a line"),
        ("half", "throughput.csv: line 5 has 2 cells, and the header 27"),
        ("mixed", "rows of another run: .* and running"),
        ("zero", "without time"),
        ("foreign", "not a run.json"),
        ("header", "columns of schema"),
        ("gone", "No such file"),
        ("running", "did not end"),
        ("the same", "the same run as"),
        ("stray/throughput.csv", "no run.json beside it"),
    ):
        assert re.search(f"/{name}: .*{reason}", skipped), skipped


@pytest.mark.parametrize(
    "wrong",
    [
        {"provenance": None},
        {"provenance": {"packages": None}},
        {"provenance": {"load_average": "x"}},
        {"config": None},
        {"schedule": 3},
        {"hosts": 5},
        {"hosts": [1]},
        {"provenance": {"load_average": True}},
        {"provenance": {"git_commit": [1]}},
        {"provenance": {"started": 7}},
        {"provenance": {"command": "x"}},
        *({"provenance": {name: "x"}} for name in ("site", "scheduler", "settings", "allocation")),
        {"hosts": None},
        {"remarks": 3},
        {"waiting_for_data_seconds": "x"},
        {"rows": []},
        {"run_id": None},
        {"identity": None},
        {"status": "failed", "identity": None},
    ],
    ids=str,
)
def test_a_damaged_document_costs_its_own_run_alone(tmp_path, wrong):
    for name in ("good", "damaged"):
        write_run(tmp_path / name)
    document = json.loads((tmp_path / "damaged" / RUN_FILE).read_text())
    (tmp_path / "damaged" / RUN_FILE).write_text(json.dumps(document | wrong))
    results = read_results(tmp_path)
    assert len(results.runs) == 1
    (skipped,) = results.skipped
    said = r"/damaged: run\.json: \w+ is no (table|text|number|list of (text|number)s)$"
    assert re.search(said, skipped)


def test_what_cannot_be_written_again_or_read_to_its_end_is_left_out(tmp_path):
    for name in ("good", "deep", "half"):
        write_run(tmp_path / name)
    (tmp_path / "deep" / RUN_FILE).write_text("[" * 100_000)
    half = tmp_path / "half" / RUN_FILE
    half.write_text(half.read_text().replace('"resident"', '"\\ud800"'))
    assert "ud800" in half.read_text()
    results = read_results(tmp_path)
    assert len(results.runs) == 1
    assert len(results.skipped) == 2


@pytest.mark.parametrize(
    ("column", "cell", "says"),
    [
        ("samples", "1e400", "'1e400' in line 3, column 'samples', where a whole number belongs"),
        ("steps", "9" * 20, "'99999999999999999999' in line 3, column 'steps'"),
        ("seconds", "fast", "'fast' in line 3, column 'seconds', where a number belongs"),
    ],
)
def test_a_cell_that_is_no_number_is_named(tmp_path, column, cell, says):
    write_run(tmp_path / "run")
    file = tmp_path / "run" / THROUGHPUT_FILE
    lines = [line.split(",") for line in file.read_text().splitlines()]
    # A number that is missing is none that is wrong.
    lines[1][lines[0].index("mean_rank_seconds")] = ""
    lines[2][lines[0].index(column)] = cell
    file.write_text("".join(",".join(line) + "\n" for line in lines))
    (skipped,) = read_results(tmp_path).skipped
    assert f"{THROUGHPUT_FILE}: {says}" in skipped


@pytest.mark.parametrize(
    ("number", "change", "says"),
    [
        # pandas would cut the first line, and fill up any.
        (2, lambda line: line + ",7", "line 2 has 28 cells, and the header 27"),
        (4, lambda line: line + ",7", "line 4 has 28 cells, and the header 27"),
        (3, lambda line: line.rpartition(",")[0], "line 3 has 26 cells, and the header 27"),
        (3, lambda line: '"' + line, "line 4 has 1 cell, and the header 27"),
    ],
)
def test_a_line_with_other_cells_than_the_header_is_named(tmp_path, number, change, says):
    write_run(tmp_path / "bad")
    file = tmp_path / "bad" / THROUGHPUT_FILE
    lines = file.read_text().splitlines()
    lines[number - 1] = change(lines[number - 1])
    file.write_text("\n".join(lines) + "\n")
    results = read_results(tmp_path)
    assert (len(results.runs), len(results.throughput)) == (0, 0)
    (skipped,) = results.skipped
    assert skipped.endswith(f"{THROUGHPUT_FILE}: {says}")


def change(column, line, to):
    """One cell of throughput.csv, or of all lines where ``line`` is None."""

    def changed(lines):
        place = lines[0].split(",").index(column)
        for number, text in enumerate(lines[1:], 1):
            if line in (None, number):
                cells = text.split(",")
                cells[place] = str(to(cells[place]))
                lines[number] = ",".join(cells)
        return lines

    return changed


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (change("devices", 2, lambda _: 4), "has more than one devices: 1 and 4"),
        (change("devices", None, lambda _: 2), "says devices 2, and run.json 1"),
        (change("strategy", 1, lambda _: "mirrored"), "more than one strategy"),
        (change("batch_per_device", None, lambda _: -128), "says batch_per_device -128"),
        (change("phase", 2, lambda _: "trian"), "an interval of 'trian', which is no phase"),
        (change("interval", 2, lambda _: 7), "lacks interval 1, or has one twice"),
        (change("samples", 2, lambda cell: 10 * int(cell)), "more samples than its steps have"),
        (change("seconds", 3, lambda cell: float(cell) * 10), "another rate than samples over"),
        (lambda lines: [*lines, lines[-1]], "lacks interval 3, or has one twice"),
        (lambda lines: lines[:-1], "has 2 rows, and the run wrote 3"),
    ],
)
def test_rows_that_contradict_their_run_are_left_out(tmp_path, damage, says):
    write_run(tmp_path / "good")
    write_run(tmp_path / "bad")
    file = tmp_path / "bad" / THROUGHPUT_FILE
    file.write_text("\n".join(damage(file.read_text().splitlines())) + "\n")
    results = read_results(tmp_path)
    assert len(results.runs) == 1
    (skipped,) = results.skipped
    assert "/bad: throughput.csv" in skipped
    assert says in skipped


def test_rows_of_a_run_that_is_elsewhere_are_not_counted_twice(tmp_path):
    for name in ("one", "other"):
        write_run(tmp_path / name)
    shutil.copy(tmp_path / "one" / THROUGHPUT_FILE, tmp_path / "other")
    results = read_results(tmp_path)
    assert set(results.throughput["run_id"]) == {"one"}
    (skipped,) = results.skipped
    assert "/other: throughput.csv has rows of another run, t one" in skipped


@pytest.mark.parametrize(
    ("file", "damage", "says"),
    [
        (ACCURACY_FILE, lambda lines: lines[:1], "accuracy.csv has 0 rows, and the run wrote 1"),
        (RANKS_FILE, lambda lines: lines[:-1], "ranks.csv has 5 rows, and the run wrote 6"),
        (RANKS_FILE, lambda lines: [*lines[:-1], lines[1]], "an interval of a rank twice"),
        (RANKS_FILE, change("rank", 1, lambda _: -1), "a rank -1, which the run did not have"),
        (RANKS_FILE, change("rank", 1, lambda _: 2), "a rank 2, which the run did not have"),
        (RANKS_FILE, change("phase", 1, lambda _: "foo"), "'foo', which is no phase"),
        (THROUGHPUT_FILE, change("fastest_rank_seconds", 1, lambda _: 999), "a mean over ranks"),
        (THROUGHPUT_FILE, change("mean_rank_seconds", 1, lambda _: "inf"), "a mean over ranks"),
    ],
)
def test_what_is_missing_beside_throughput_is_seen(tmp_path, file, damage, says):
    write_run(tmp_path / "run", ranks=True, devices=2, global_batch=256)
    path = tmp_path / "run" / file
    path.write_text("\n".join(damage(path.read_text().splitlines())) + "\n")
    results = read_results(tmp_path)
    assert results.runs == []
    (skipped,) = results.skipped
    assert says in skipped


def test_a_run_of_no_devices_is_left_out(tmp_path):
    write_run(tmp_path / "run", devices=0)
    (skipped,) = read_results(tmp_path).skipped
    assert "the run had 0 devices" in skipped


def test_throughput_alone_is_a_measurement(tmp_path):
    write_run(tmp_path / "run")
    (tmp_path / "run" / ACCURACY_FILE).unlink()
    results = read_results(tmp_path)
    assert (len(results.throughput), len(results.accuracy)) == (3, 0)
    assert results.skipped == [
        f"{tmp_path / 'run'}: {ACCURACY_FILE} is not there, and the run wrote it"
    ]


def test_every_file_of_the_first_schema_is_read(tmp_path):
    """The recorded example, beside a run of today: what came later has a value that says so."""
    write_run(tmp_path / "new")
    (tmp_path / "old").symlink_to(ROOT / "analysis" / "examples" / "default")
    results = read_results(tmp_path)
    assert results.skipped == []
    assert len(results.runs) == 73
    old = results.throughput["sweep"] == "default"
    assert set(results.throughput[old]["cpu_math"]) == {UNKNOWN}
    assert set(results.throughput[~old]["cpu_math"]) == {IDENTITY.cpu_math}
    assert {document["schema_version"] for document in results.runs} == {1, SCHEMA_VERSION}
    rows = results.throughput[old].drop_duplicates("run_id").set_index("run_id")
    of_machine = {
        "run_id",
        "sweep",
        "dataset",
        "nodes",
        "device_kind",
        "cpu_math",
        "seed",
        "repeat",
    }
    configured = [f.name for f in fields(Identity) if f.name not in of_machine]
    for document in results.runs:
        made = identity_of(document)
        assert made.framework == "tensorflow"
        if document["sweep"] == "default":
            # What the configuration says of a run is what stands in its rows.
            row = rows.loc[document["run_id"]]
            assert {n: getattr(made, n) for n in configured} == row[configured].to_dict()


def test_the_second_schema_did_not_time_evaluations(tmp_path):
    write_run(tmp_path / "run")
    path, document = (tmp_path / "run" / name for name in (ACCURACY_FILE, RUN_FILE))
    lines = path.read_text().splitlines()
    assert lines[0].endswith(",evaluation_seconds")
    path.write_text("".join(line.rpartition(",")[0] + "\n" for line in lines))
    document.write_text(json.dumps(json.loads(document.read_text()) | {"schema_version": 2}))
    results = read_results(tmp_path)
    assert results.skipped == []
    assert results.accuracy["evaluation_seconds"].isna().all()


def test_a_column_is_missing_only_where_its_schema_came_before_it(tmp_path):
    write_run(tmp_path / "run")
    path = tmp_path / "run" / THROUGHPUT_FILE
    lines = [line.split(",") for line in path.read_text().splitlines()]
    place = lines[0].index("scaling")
    path.write_text("".join(",".join(line[:place] + line[place + 1 :]) + "\n" for line in lines))
    (skipped,) = read_results(tmp_path).skipped
    assert skipped.endswith(
        f"{THROUGHPUT_FILE} does not have the columns of schema {SCHEMA_VERSION}"
    )


@pytest.mark.parametrize(
    ("version", "says"),
    [(SCHEMA_VERSION + 1, "written by a newer hpcbench"), (0, "not a run.json"), ("1", "not a")],
)
def test_a_run_of_another_version_is_one_sentence(tmp_path, version, says):
    write_run(tmp_path / "run")
    path = tmp_path / "run" / RUN_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": version}))
    (skipped,) = read_results(tmp_path).skipped
    assert says in skipped
    assert not is_complete(tmp_path / "run")


def test_a_sweep_that_is_a_link_is_read(tmp_path):
    write_run(tmp_path / "scratch" / "run")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "sweep").symlink_to(tmp_path / "scratch")
    assert len(read_results(tmp_path / "results").runs) == 1


def test_repeats_are_claimed_once(tmp_path):
    def folder(repeat):
        return tmp_path / f"run{repeat}"

    assert [claim_folder(folder, resume=False) for _ in range(3)] == [0, 1, 2]
    write_run(folder(0))
    assert is_complete(folder(0))
    assert claim_folder(folder, resume=True) == 1


def test_an_unwritable_folder_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentLacks, match="cannot be written"):
        ensure_writable(tmp_path / "file" / "results")
