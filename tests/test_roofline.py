"""The roofline: operations a byte at most, the roofs, and what is drawn below them."""

import json
import math

import numpy as np
import pytest

from hpcbench.analysis.answers import answer
from hpcbench.analysis.figures import style
from hpcbench.analysis.figures.every import all_figures
from hpcbench.analysis.figures.roofline import roofline_figure
from hpcbench.analysis.load import observe
from hpcbench.analysis.machine import least_bytes, under_roofs, work_of
from hpcbench.analysis.report.machine import machine_report
from hpcbench.analysis.scaling import scaling_table
from hpcbench.calibration.writing import write
from hpcbench.records.reader import read_results
from hpcbench.records.schema import RUN_FILE
from support import ROOT
from support.records import write_run

WORKSHOP = ROOT / "analysis" / "examples" / "workshop"
KIND = "a device"


def document(
    optimizer="adam", momentum=0.0, precision="float32", trained=100, copies=1, strategy="ddp"
):
    """Of a run of 110 weights and 64 samples a step, of 1,000 operations each."""
    return {
        "schema_version": 6,
        "identity": {"precision": precision, "strategy": strategy},
        "parameters": 110,
        "trainable_parameters": trained,
        "flops_per_sample": 1000,
        "schedule": {
            "optimizer": optimizer,
            "momentum": momentum,
            "global_batch": 64,
            "world_size": copies,
        },
    }


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        # Read: 110 weights and 2 * 100 moments; written: 100 weights and as many moments.
        ({}, 4 * (110 + 200 + 100 + 200)),
        ({"precision": "float64"}, 8 * 610),
        ({"precision": "mixed_bfloat16"}, 4 * 610),
        ({"optimizer": "adadelta"}, 4 * 610),
        ({"optimizer": "sgd", "momentum": 0.9}, 4 * (110 + 100 + 100 + 100)),
        ({"optimizer": "sgd"}, 4 * (110 + 100)),
        ({"optimizer": "somebody's own"}, math.nan),
        ({"trained": None}, math.nan),
        # All are gathered and read, a fourth of them updated.
        ({"strategy": "fsdp", "copies": 4}, 4 * (110 + 25 + 2 * 50)),
    ],
)
def test_a_step_moves_at_least_its_weights_and_what_the_optimizer_keeps(of, expected):
    assert least_bytes(document(**of)) == pytest.approx(expected, nan_ok=True)
    work = work_of(document(**of))
    operations = 64_000 / of.get("copies", 1)
    assert work["flops_per_byte"] == pytest.approx(operations / expected, nan_ok=True)


def test_operations_a_byte_are_those_of_one_copy_of_the_model():
    """Four copies share the batch; one that is split over devices has all of it."""
    whole = work_of(document())["flops_per_byte"]
    assert work_of(document(copies=4))["flops_per_byte"] == pytest.approx(whole / 4)


def calibrate(folder, kind, memory, **teraflops):
    products = [
        {"precision": name, "side": 1024, "teraflops": value, "low": value, "high": value}
        for name, value in teraflops.items()
    ]
    content = {"framework": "torch", "device_kind": kind, "products": products}
    write(folder, content | {"memory": memory and {"gigabytes_per_second": memory}})


def measure(folder, devices=1, precision="float32", kind=KIND, **facts):
    write_run(folder, devices=devices, precision=precision, device_kind=kind)
    path = folder / RUN_FILE
    of_run = document() | facts
    del of_run["schema_version"], of_run["identity"]
    path.write_text(json.dumps(json.loads(path.read_text()) | of_run))


def points_of(folder):
    return scaling_table(observe(read_results(folder)).runs)


def lines_of(axes):
    """The roof, and the marks in their order."""
    marks = [line for line in axes.lines if line.get_marker() in style.MARKERS]
    return axes.lines[0].get_xydata(), [tuple(mark) for of in marks for mark in of.get_xydata()]


def test_the_roof_is_bandwidth_times_intensity_up_to_the_peak(tmp_path):
    """Of the faster calibration each; a mark a line, at its smallest count."""
    calibrate(tmp_path, KIND, 20.0, float32=0.1)
    (tmp_path / "sweep").mkdir()
    calibrate(tmp_path / "sweep", KIND, 10.0, float32=0.5)
    measure(tmp_path / "sweep" / "one")
    measure(tmp_path / "sweep" / "two", devices=2)
    points = points_of(tmp_path / "sweep")
    shown = under_roofs(points)
    assert shown["devices"].tolist() == [1]
    axes = roofline_figure(shown).axes[0]
    roof, (mark,) = lines_of(axes)
    peak, bandwidth = 0.5e12, 20e9
    assert roof[1] == pytest.approx([peak / bandwidth, peak])
    assert roof[0, 1] == pytest.approx(bandwidth * roof[0, 0])
    assert roof[2, 1] == peak
    rate = points["samples_per_second"].iloc[0]
    assert mark == pytest.approx((64_000 / 2440, 1000 * rate))
    report = machine_report(points)
    assert "FLOP a byte, at most" in report.header
    assert "26.2" in [cell.text for cell in report.rows[0]]


def test_each_kind_of_device_and_precision_has_roofs_of_its_own(tmp_path):
    calibrate(tmp_path, "slow", 10.0, float32=0.1, float64=0.05)
    calibrate(tmp_path, "fast", 1000.0, float32=50.0, float64=25.0)
    for kind in ("slow", "fast"):
        for precision in ("float32", "float64"):
            measure(tmp_path / f"{kind}-{precision}", kind=kind, precision=precision)
    grid = [axes for axes in roofline_figure(under_roofs(points_of(tmp_path))).axes if axes.lines]
    assert [lines_of(axes)[0][-1, 1] for axes in grid] == pytest.approx([50e12, 25e12, 1e11, 5e10])
    assert [axes.get_title().split("\n")[:2] for axes in grid] == [
        *(["fast", "float32"], ["fast", "float64"], ["slow", "float32"], ["slow", "float64"])
    ]


def test_without_a_roof_or_operations_a_byte_there_is_no_mark(tmp_path):
    calibrate(tmp_path, KIND, None, float32=1.0)
    calibrate(tmp_path, "another", 10.0, float32=1.0)
    measure(tmp_path / "no-bandwidth")
    measure(tmp_path / "no-peak", kind="another", precision="float64")
    measure(tmp_path / "no-parameters", kind="another", parameters=None)
    assert under_roofs(points_of(tmp_path)).empty
    answers = answer(read_results(tmp_path), (), None)
    drawn = all_figures(
        *(answers.points, answers.runs, answers.curves, answers.observed.epochs),
        *(answers.extrapolations, answers.collectives.points),
    )
    assert "roofline" not in drawn
    assert "throughput" in drawn


def test_the_workshops_networks_are_below_their_roof():
    shown = under_roofs(points_of(WORKSHOP))
    assert shown["model"].nunique() == 16
    roof = np.minimum(
        shown["calibrated_teraflops"],
        shown["calibrated_gigabytes_per_second"] * shown["flops_per_byte"] / 1e3,
    )
    assert (shown["teraflops"] < roof).all()
    figure = roofline_figure(shown)
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == [*sorted(shown["model"].unique()), "measured roof"]
    _, marks = lines_of(figure.axes[0])
    assert len(set(marks)) == len(shown)
