"""Result files stay whole whatever happens to the writer or the disk."""

import json
import resource
import subprocess
import sys

import pytest
from conftest import IDENTITY
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcbench.errors import EnvironmentLacks
from hpcbench.records.reader import is_complete, read_results
from hpcbench.records.schema import (
    ACCURACY_FILE,
    RUN_FILE,
    THROUGHPUT_FILE,
    AccuracyRow,
    ThroughputRow,
)
from hpcbench.records.writer import RunWriter, claim_folder, ensure_writable

EPOCH = AccuracyRow(1, 0.001, 0.5, 0.8, 0.4, 0.9, "accuracy", 1.0, 1.0)


def interval(number):
    return ThroughputRow("train", number, 10, 1280, 0.5, 0.4, 0.45, 2560.0)


def write_run(folder, rows=3):
    writer = RunWriter(folder, IDENTITY)
    writer.start({"run_id": IDENTITY.run_id})
    for number in range(rows):
        writer.throughput(interval(number))
    writer.accuracy(EPOCH)
    writer.complete()
    writer.close()


def test_what_was_written_is_read_back(tmp_path):
    write_run(tmp_path / "run")
    results = read_results(tmp_path)
    assert len(results.throughput) == 3
    assert results.throughput["samples_per_second"].tolist() == [2560.0] * 3
    assert results.accuracy["test_metric"].tolist() == [0.9]
    assert results.skipped == []


def test_a_second_writer_is_refused(tmp_path):
    writer = RunWriter(tmp_path, IDENTITY)
    code = (
        "import sys; from pathlib import Path; from hpcbench.records.writer import lock_folder\n"
        "from hpcbench.errors import ConfigError\n"
        "try: lock_folder(Path(sys.argv[1]))\n"
        "except ConfigError as error: print(error); sys.exit(2)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "another process" in done.stdout
    writer.close()
    RunWriter(tmp_path, IDENTITY).close()


@settings(max_examples=15)
@given(limit=st.integers(0, 3000))
def test_a_full_disk_leaves_whole_lines(tmp_path_factory, limit):
    """The kernel refuses to let files grow past ``limit``, as a full disk would."""
    folder = tmp_path_factory.mktemp("disk")
    writer = RunWriter(folder, IDENTITY)
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
    assert {line.count(",") for line in lines.splitlines()} == {25}
    writer.fail("environment", "disk full")
    assert json.loads((folder / RUN_FILE).read_text())["status"] == "failed"
    writer.close()


def test_a_resumed_run_keeps_only_the_rows_of_its_checkpoint(tmp_path):
    write_run(tmp_path / "run", rows=5)
    writer = RunWriter(tmp_path / "run", IDENTITY, keep_rows=(2, 0))
    assert writer.rows == (2, 0)
    writer.start({"run_id": IDENTITY.run_id})
    writer.throughput(interval(2))
    writer.complete()
    writer.close()
    results = read_results(tmp_path)
    assert results.throughput["interval"].tolist() == [0, 1, 2]
    assert len(results.accuracy) == 0


def test_bad_files_are_named_and_left_out(tmp_path):
    write_run(tmp_path / "good")
    for name in ("torn", "foreign", "header", "gone", "running"):
        write_run(tmp_path / name)
    with open(tmp_path / "torn" / THROUGHPUT_FILE, "a") as file:
        file.write("0123456789ab,t,fc-64")
    (tmp_path / "foreign" / RUN_FILE).write_text("[1, 2]")
    (tmp_path / "header" / ACCURACY_FILE).write_text("a,b\n1,2\n")
    (tmp_path / "gone" / ACCURACY_FILE).unlink()
    document = json.loads((tmp_path / "running" / RUN_FILE).read_text())
    (tmp_path / "running" / RUN_FILE).write_text(json.dumps(document | {"status": "running"}))
    results = read_results(tmp_path)
    assert len(results.throughput) == 3
    skipped = "\n".join(results.skipped)
    for name in ("torn", "foreign", "header", "gone", "running"):
        assert f"/{name}:" in skipped
    assert "did not end" in skipped


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
