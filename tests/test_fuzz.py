"""Files that lie in any way: a sentence, never a traceback, and nothing lost that was whole."""

import re
import shutil

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcbench.analysis.answers import points_of
from hpcbench.analysis.load import observe
from hpcbench.cluster.site import read_site
from hpcbench.errors import ConfigError
from hpcbench.records.reader import read_results
from hpcbench.records.schema import ACCURACY_FILE, RUN_FILE, THROUGHPUT_FILE
from hpcbench.sweeps.plan import read_sweep
from support import ROOT
from synthetic_sweep import write_sweep

FILES = (RUN_FILE, THROUGHPUT_FILE, ACCURACY_FILE)
BYTES = st.sampled_from(
    [
        b"",
        b"\0",
        b"\xff\xfe",
        b",",
        b"\n",
        b'"',
        b"nan",
        b"-1",
        b"1e999",
        b"{",
        b"null",
        b"[]",
        b"\r",
    ]
)


@st.composite
def damages(draw):
    """What happens to a file: cut off, overwritten, doubled, or with something put into it."""
    place, kind = draw(st.floats(0, 1)), draw(st.sampled_from(["cut", "over", "into", "double"]))
    bit = draw(BYTES | st.binary(max_size=6))

    def damage(content):
        at = int(place * len(content))
        return {
            "cut": content[:at],
            "over": content[:at] + bit + content[at + len(bit) :],
            "into": content[:at] + bit + content[at:],
            "double": content[:at] + content[at // 2 :],
        }[kind]

    return damage


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "sweep"
    write_sweep(folder, (1, 2), repeats=2, intervals=3, models=["cnn-2"], strategies=["horovod"])
    return folder, read_results(folder.parent)


@settings(max_examples=40)
@given(damage=damages(), file=st.sampled_from(FILES), number=st.integers(0, 3))
def test_a_damaged_run_costs_no_other_and_no_traceback(
    tmp_path_factory, sweep, damage, file, number
):
    undamaged, whole = sweep
    folder = tmp_path_factory.mktemp("damaged") / "sweep"
    shutil.copytree(undamaged, folder)
    hit = sorted(path for path in folder.iterdir() if path.is_dir())[number]
    content = (hit / file).read_bytes()
    (hit / file).write_bytes(damage(content))
    results = read_results(folder.parent)
    others = whole.throughput[whole.throughput["run_id"] != hit.name].reset_index(drop=True)
    rest = results.throughput[results.throughput["run_id"].isin(others["run_id"])]
    columns = ["run_id", "interval", "samples", "seconds"]
    pd.testing.assert_frame_equal(
        rest[columns].reset_index(drop=True), others[columns], check_dtype=False
    )
    # Of the run itself: read, or named.
    read = {document["run_id"] for document in results.runs} - set(others["run_id"])
    named = len(results.failed) + len(results.skipped)
    assert read or named
    if results.runs:
        points_of(results, observe(results))


SWEEP = (ROOT / "jobs" / "sweeps" / "default.toml").read_text()
SITE = (ROOT / "jobs" / "sites" / "generic.toml").read_text()
ODD = st.sampled_from(
    [
        "",
        "0",
        "-1",
        "[]",
        "[1,",
        '"x"',
        "nan",
        "true",
        "{}",
        "1e99",
        "[[1]]",
        "=",
        "\n[models]\n",
        "#",
    ]
)


@settings(max_examples=150)
@given(st.sampled_from(["sweep", "site"]), st.data())
def test_a_broken_file_is_one_sentence(tmp_path_factory, kind, data):
    text = SWEEP if kind == "sweep" else SITE
    values = [match.span(1) for match in re.finditer(r"= *(\S[^\n#]*)", text)]
    start, end = data.draw(st.sampled_from(values))
    broken = text[:start] + data.draw(ODD | st.text(max_size=5)) + text[end:]
    path = tmp_path_factory.mktemp("file") / f"{kind}.toml"
    path.write_text(broken, encoding="utf-8", errors="replace")
    said = "one"
    try:
        read_sweep(path) if kind == "sweep" else read_site(str(path))
    except ConfigError as error:
        said = str(error).strip()
    assert said
    assert "\n" not in said
