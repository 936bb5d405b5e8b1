"""How much of the machine training uses: peaks, calibration, and what the report makes of them."""

import json
import math

import numpy as np
import pytest

from hpcbench.analysis.load import observe
from hpcbench.analysis.machine import FIRST_COUNTED_SCHEMA, GIB, work_of
from hpcbench.analysis.report.machine import machine_report, machine_sentences, over_the_peak
from hpcbench.analysis.scaling import scaling_table
from hpcbench.calibration.measure import ROUNDS, products, rate_of
from hpcbench.calibration.writing import write
from hpcbench.devices.peaks import vendor_teraflops
from hpcbench.records.reader import read_results
from hpcbench.records.schema import RUN_FILE
from support import ROOT, only_run, run, train
from support.records import write_run

KIND = "NVIDIA H200"


def products_of(teraflops):
    return [
        {"precision": "float32", "side": 4096, "teraflops": teraflops, "low": 1.0, "high": 99.0},
        {"precision": "float64", "side": 4096, "teraflops": 1.0, "low": 1.0, "high": 1.0},
    ]


def calibration(teraflops, framework="torch", kind=KIND):
    return {"framework": framework, "device_kind": kind, "products": products_of(teraflops)}


def points(folder, flops, memory=3 * GIB):
    """Of one run that took ``flops`` for each sample."""
    write_run(folder / "sweep" / "run", device_kind=KIND)
    path = folder / "sweep" / "run" / RUN_FILE
    document = json.loads(path.read_text())
    document |= {"flops_per_sample": flops, "peak_memory_bytes": memory}
    path.write_text(json.dumps(document))
    results = read_results(folder / "sweep")
    return results, scaling_table(observe(results).runs)


def test_shares_are_the_rate_times_the_operations_over_the_peak(tmp_path):
    """The largest of what was calibrated counts, beside the runs or above them."""
    (tmp_path / "sweep").mkdir()
    write(tmp_path, calibration(40.0))
    write(tmp_path / "sweep", calibration(50.0, "jax"))
    write(tmp_path / "sweep", calibration(90.0, "torch", "NVIDIA H100 PCIe"))
    results, table = points(tmp_path, flops=2.5e9)
    assert (results.skipped, len(results.calibrations)) == ([], 3)
    (row,) = table.to_dict("records")
    expected = row["samples_per_second"] * 2.5e9 / row["devices"] / 1e12
    assert row["teraflops"] == pytest.approx(expected)
    assert row["share_of_calibrated"] == pytest.approx(expected / 50)
    assert row["share_of_vendor"] == pytest.approx(expected / 66.9)
    assert row["memory_gib"] == 3
    (cells,) = machine_report(table).rows
    assert [cell.text for cell in cells][-1] == "3.0"
    (sentence,) = machine_sentences(table)
    assert "of what products of large matrices reach" in sentence
    assert "of the vendor's peak" in sentence
    assert over_the_peak(table) == []


def test_of_many_series_the_least_and_the_largest_share_are_said(tmp_path):
    for number in range(6):
        write_run(tmp_path / f"run{number}", model=f"net-{number}", device_kind=KIND)
        path = tmp_path / f"run{number}" / RUN_FILE
        document = json.loads(path.read_text()) | {"flops_per_sample": (number + 1) * 1e9}
        path.write_text(json.dumps(document))
    (sentence,) = machine_sentences(scaling_table(observe(read_results(tmp_path)).runs))
    assert sentence.startswith("On their smallest counts lines reach ")
    assert "net-0) to " in sentence
    assert "net-5) of the vendor's peak." in sentence


def test_more_than_all_is_said(tmp_path):
    _, table = points(tmp_path, flops=1e15)
    (sentence,) = over_the_peak(table)
    assert "more than all" in sentence
    assert "its vendor's peak" in sentence


def test_what_is_not_known_is_blank(tmp_path):
    _, table = points(tmp_path, flops=None, memory=None)
    (row,) = table.to_dict("records")
    assert all(math.isnan(row[n]) for n in ("teraflops", "share_of_vendor", "memory_gib"))
    assert machine_report(table) is None
    assert machine_sentences(table) == []


def test_the_first_schema_counted_too_much(tmp_path):
    document = {"schema_version": FIRST_COUNTED_SCHEMA - 1, "flops_per_sample": 5}
    assert math.isnan(work_of(document)["flops_per_sample"])
    assert work_of(document | {"schema_version": 2})["flops_per_sample"] == 5
    example = read_results(ROOT / "analysis" / "examples" / "default")
    assert scaling_table(observe(example).runs)["teraflops"].isna().all()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "Expecting"),
        ("[]", "not a calibration"),
        ('{"calibration": 2}', "not a calibration of this version"),
        ('{"calibration": 1, "device_kind": "a"}', "names no device or has no products"),
        ('{"calibration": 1, "device_kind": "a", "products": [{"precision": "x"}]}', "no measure"),
        (json.dumps({"calibration": 1} | calibration(-1.0)), "has a product that is no measure"),
        (
            json.dumps({"calibration": 1, "memory": {}} | calibration(1.0)),
            "has a bandwidth of memory that is no measure",
        ),
    ],
)
def test_a_file_that_is_no_calibration_is_named(tmp_path, content, reason):
    (tmp_path / "calibration-x.json").write_text(content)
    results = read_results(tmp_path)
    assert results.calibrations == []
    (sentence,) = results.skipped
    assert "calibration-x.json" in sentence
    assert reason in sentence


@pytest.mark.parametrize(
    ("kind", "precision", "expected"),
    [
        ("NVIDIA H200", "mixed_bfloat16", 989.4),
        ("NVIDIA H200 NVL", "mixed_bfloat16", 835),
        ("NVIDIA A100-SXM4-80GB", "tf32", 156),
        ("A100-SXM4-40GB", "float32", 19.5),
        ("Tesla V100-SXM2-16GB", "mixed_float16", 125),
        # It has none.
        ("Tesla V100-SXM2-16GB", "mixed_bfloat16", math.nan),
        # Leonardo's own, with other peaks; and whatever nobody has looked up.
        ("NVIDIA A100-SXM-64GB", "float32", math.nan),
        ("NVIDIA L4000", "float32", math.nan),
        ("AMD EPYC (1 core)", "float32", math.nan),
    ],
)
def test_vendors_peaks(kind, precision, expected):
    assert vendor_teraflops(kind, precision) == pytest.approx(expected, nan_ok=True)


def test_a_rate_is_what_was_done_over_what_it_took(monkeypatch):
    """By a clock of its own: each time takes 0.03 s, and the first one 1 s."""
    now, done = [0.0], []

    def work(count):
        now[0] += 0.03 * count + (0 if done else 1)
        done.append(count)

    monkeypatch.setattr("hpcbench.calibration.measure.time.perf_counter", lambda: now[0])
    rate = rate_of(work, 6.0, 0.5)
    assert (rate.value, rate.low, rate.high) == pytest.approx((200, 200, 200))
    assert done[-ROUNDS:] == [17] * ROUNDS


def test_larger_matrices_are_tried_until_no_more_is_gained(monkeypatch):
    """Operations of a product are 2 n^3; a machine that gains nothing beyond 4096."""
    now, sides = [0.0], []
    speeds = {1024: 5e12, 2048: 8e12, 4096: 9e12, 8192: 9.01e12}

    def make(side):
        sides.append(side)

        def work(count):
            now[0] += count * 2 * side**3 / speeds[side]

        return work

    monkeypatch.setattr("hpcbench.calibration.measure.time.perf_counter", lambda: now[0])
    found = {side: rate.value for side, rate in products(make, 0.5)}
    assert sides == [1024, 2048, 4096, 8192]
    assert found == pytest.approx(speeds)


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["tensorflow", "torch", "jax"])
def test_this_machine_is_calibrated_and_training_is_a_share_of_it(tmp_path, framework):
    """In each framework; then the report of a run on the same cores says so."""
    pytest.importorskip(framework)
    flags = [f"--framework={framework}", "--seconds=0.02", f"--results={tmp_path}"]
    command = ["hpcbench", "calibrate", *flags, "--cores-per-device=1", "--precisions=float32"]
    done = run([*command])
    assert done.status == 0, done.errors
    assert "GFLOP/s at" in done.output
    assert "GB/s" in done.output
    model = "cnn-pytorch" if framework == "torch" else "fc-64"
    sweep = tmp_path / "sweep"
    flags = [f"--framework={framework}", f"--model={model}", "--train-samples=1280", "--epochs=1"]
    done = train(sweep, *flags, "--test-samples=100", "--cores-per-device=1")
    assert done.status == 0, done.errors
    _, document = only_run(sweep)
    assert 50 * 2**20 < document["peak_memory_bytes"] < 50 * 2**30
    results = read_results(sweep)
    table = scaling_table(observe(results).runs)
    assert (table["share_of_calibrated"] > 0).all()
    done = run(["hpcbench", "plot", sweep, "--format=md", f"--output={tmp_path / 'figures'}"])
    assert done.status == 0, done.errors
    assert "How much of the machine" in (tmp_path / "figures" / "report.md").read_text()
    # Memory is measured where there is room for the arrays.
    roofed = results.calibrations[0]["memory"] is not None
    assert (tmp_path / "figures" / "roofline.png").exists() == roofed


@pytest.mark.parametrize(
    ("flags", "status", "reason"),
    [
        (["--precisions=float23"], 2, "did you mean 'float32'?"),
        (["--framework=torch", "--precisions=mixed_float16"], 2, "precision of torch"),
        (["--seconds=0"], 2, "--seconds 0"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(tmp_path, flags, status, reason):
    done = run(["hpcbench", "calibrate", f"--results={tmp_path}", *flags])
    assert done.status == status
    assert reason in done.errors
    assert list(tmp_path.iterdir()) == []


def test_a_peak_that_the_device_does_not_have_is_refused_or_left_out(tmp_path):
    """TF32 on a CPU: refused where it was asked for."""
    pytest.importorskip("torch")
    flags = ["--framework=torch", "--precisions=tf32", f"--results={tmp_path}"]
    done = run(["hpcbench", "calibrate", *flags])
    assert done.status == 3
    assert "tf32 needs an NVIDIA GPU" in done.errors


def test_points_of_several_runs_have_an_interval(tmp_path):
    for number in range(6):
        write_run(tmp_path / f"run{number}", repeat=number, device_kind=KIND)
        path = tmp_path / f"run{number}" / RUN_FILE
        document = json.loads(path.read_text()) | {"flops_per_sample": 1e9}
        path.write_text(json.dumps(document))
    (row,) = scaling_table(observe(read_results(tmp_path)).runs).to_dict("records")
    assert np.isfinite([row["teraflops_low"], row["teraflops_high"]]).all()
