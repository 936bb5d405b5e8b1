"""Published figures as runs: the tables, the page about them, the sweeps that measure the same."""

import csv
import re
from collections import defaultdict
from pathlib import Path
from statistics import median

import pytest

from hpcbench.analysis.load import observe
from hpcbench.analysis.scaling import scaling_table
from hpcbench.cluster.site import Machine
from hpcbench.import_logs import main
from hpcbench.logs import LeftOut
from hpcbench.logs.published import COLUMNS
from hpcbench.models import MODELS
from hpcbench.records.reader import read_results
from hpcbench.sweeps.plan import make_plan, read_sweep
from support import ROOT, call, run
from support.prints import found

TABLES = sorted((ROOT / "analysis" / "published").glob("*.csv"))
PAGE = ROOT / "docs" / "published.md"
ROW = {
    "tool": "Tool",
    "model": "resnet-50",
    "dataset": "imagenet",
    "strategy": "ddp",
    "devices": "8",
    "batch_per_device": "32",
    "precision": "tf32",
    "xla": "yes",
    "input": "synthetic",
    "device_kind": "A GPU",
    "software": "torch 2.0.0+cu117, horovod 0.28.1",
    "run": "1",
    "samples_per_second": "5,898.84",
    "published": "2026-01-09",
    "source": "https://a.example/b",
}


def table(**changed):
    row = ROW | changed
    cells = (f'"{row[name]}"' for name in COLUMNS)
    return "\n".join(["# a remark", ",".join(COLUMNS), ",".join(cells)])


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_is_a_run():
    (one,) = found(table())
    assert (one.tool, one.model, one.strategy, one.devices) == ("Tool", "resnet-50", "ddp", 8)
    assert one.intervals == [(1, 5898.84)]
    assert (one.xla, one.precision, one.device) == (True, "tf32", "A GPU")
    assert one.software == {"torch": "2.0.0+cu117", "horovod": "0.28.1"}
    assert one.origin == "published 2026-01-09: https://a.example/b"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"samples_per_second": ""}, "has no samples_per_second"),
        ({"source": " "}, "has no source"),
        ({"samples_per_second": "OOM"}, "no devices, batch or rate in numbers"),
        ({"devices": "0"}, "no devices, batch or rate in numbers"),
        ({"xla": "True"}, "xla True, not yes or no"),
    ],
)
def test_a_row_that_says_too_little_is_left_out(changed, why):
    (left_out,) = found(table(**changed))
    assert isinstance(left_out, LeftOut)
    assert why in left_out.why


def test_all_tables_are_imported(tmp_path):
    """Each row once, with where it is from, and equal rates of two runs as two."""
    done = call(main, *TABLES, "--results", tmp_path / "published")
    assert done.status == 0, done.errors
    rows = [row for path in TABLES for row in rows_of(path)]
    results = read_results(tmp_path)
    assert len(results.runs) == len(rows) > 100
    assert sorted(results.throughput["samples_per_second"]) == pytest.approx(
        sorted(float(row["samples_per_second"]) for row in rows)
    )
    for document in results.runs:
        assert re.search(r"published 20\d\d-.*: https://", document["provenance"]["imported_from"])
        # Their models are those of the same name here.
        assert MODELS[document["identity"]["model"]].datasets == ("imagenet",)
    points = scaling_table(observe(results).runs)
    horovod = points[(points["strategy"] == "horovod") & (points["batch"] == 128)]
    at_32 = horovod[horovod["devices"] == 32].iloc[0]
    assert at_32["runs"] == 6
    # As DLPerf prints it: 26.25 times the rate of one.
    assert at_32["speedup"] == pytest.approx(26.25, abs=0.005)


def test_the_page_has_the_tables_numbers():
    medians = set()
    for path in TABLES:
        points = defaultdict(list)
        for row in rows_of(path):
            point = tuple(row[n] for n in COLUMNS if n not in ("run", "samples_per_second"))
            points[tuple(cell for cell in point if not re.match(r"20\d\d-", cell))].append(
                float(row["samples_per_second"])
            )
        medians |= {round(median(rates), 1) for rates in points.values()}
    shown = [
        float(cell.replace(",", ""))
        for line in PAGE.read_text().splitlines()
        if re.match(r"\| (Horovod, |`tf.dist|A100-|V100, |B[04], |Mahti|Puhti|LUMI)", line)
        for cell in re.findall(r"(?<=\| )[\d,.]+(?= \|)", line)
    ]
    assert len(shown) > 60
    assert [rate for rate in shown if round(rate, 1) not in medians] == []


def test_a_table_is_drawn(tmp_path):
    """Nothing is known of nodes, and nobody is bothered with that."""
    done = run(["hpcbench", "import", TABLES[0], "--results", tmp_path / "r"])
    assert done.status == 0, done.errors
    done = run(["hpcbench", "plot", tmp_path / "r", "--output", tmp_path / "f"])
    assert done.status == 0
    assert "Warning:" not in done.errors
    assert (tmp_path / "f" / "overview.png").stat().st_size > 10_000
    assert "published 2026-01-09: https://" in (tmp_path / "f" / "report.html").read_text()


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_a_sweep_measures_each_table(path, monkeypatch, tmp_path):
    """On a machine without ImageNet: models, batches, precisions and counts that were published."""
    for name in ("HPCBENCH_DATA", "KERAS_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    sweep = read_sweep(Path(path.stem))
    planned = make_plan(sweep, tmp_path, Machine("a cluster", 8, 64, None, gpus=True))
    assert planned.left_out == []
    here = {
        (one.kind.model, one.config.batch, one.config.precision, one.kind.strategy, one.devices)
        for one in planned.runs
    }
    theirs = {
        (r["model"], int(r["batch_per_device"]), r["precision"], r["strategy"], int(r["devices"]))
        for r in rows_of(path)
    }
    # Of Horovod's there is one in float32.
    assert len(here & theirs) >= (1 if path.stem == "horovod-synthetic" else 4)
    assert {point[0] for point in here} == {point[0] for point in theirs}
    assert {one.config.input for one in planned.runs} == {"synthetic"}
    assert {one.config.repeat for one in planned.runs} == set(range(6))
    # A step takes no more samples than are made up, however many devices there are.
    for one in planned.runs:
        assert one.train_samples >= one.config.batch * one.devices
