"""The page of measurements: made from the records, each of a benchmark that exists."""

import sys

import pytest

from measurements import CHAPTERS, PAGE, RECORDS
from support import ROOT, run


def test_the_page_is_what_the_command_makes(tmp_path):
    made = tmp_path / "measurements.md"
    command = [sys.executable, "benchmarks/measurements.py", "--output", str(made)]
    assert run(command).status == 0
    assert PAGE.read_text() == made.read_text(), "edit benchmarks/records, then run the command"


def test_the_page_has_every_record():
    assert set(CHAPTERS) == {path.stem for path in RECORDS.glob("*.md")}


@pytest.mark.parametrize("record", sorted(RECORDS.glob("*.md")), ids=lambda path: path.stem)
def test_a_record_begins_with_a_command_that_can_be_run(record):
    python, script, *arguments = record.read_text().splitlines()[0].split()
    assert (python, script) == ("python", f"benchmarks/{record.stem}.py")
    source = (ROOT / script).read_text()
    assert [flag for flag in arguments if flag.startswith("--") and f'"{flag}"' not in source] == []
