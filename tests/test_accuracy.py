"""Accuracy, time to a target, and what devices cost of both."""

from dataclasses import asdict

import numpy as np
import pandas as pd

from hpcbench.analysis.accuracy import accuracy_table
from support import IDENTITY


def epochs_of(devices, finals, seconds=10.0, metric="accuracy"):
    """Runs of two epochs: half the final metric, then all of it."""
    base = asdict(IDENTITY) | {
        "devices": devices,
        "batch": 128,
        "subject": "horovod fc-64",
        "line": "horovod fc-64",
        "placement": "packed",
        "software": "",
        "sweeps": "s",
        "options": "",
        "training": "",
        "metric": metric,
    }
    return [
        base
        | {
            "run_id": f"{devices}-{repeat}",
            "epoch": epoch,
            "test_metric": final * epoch / 2,
            "elapsed_seconds": seconds * epoch,
        }
        for repeat, final in enumerate(finals)
        for epoch in (1, 2)
    ]


def test_devices_that_cost_accuracy_are_told():
    good = [0.97, 0.971, 0.972, 0.969, 0.97, 0.968]
    worse = [value - 0.02 for value in good]
    rows_of = [*epochs_of(1, good), *epochs_of(2, good, 6.0), *epochs_of(4, worse, 3.0)]
    table = accuracy_table(pd.DataFrame(rows_of), asked=0.965).set_index("devices")
    assert table["verdict"].to_dict() == {1: "base", 2: "no loss seen", 4: "worse"}
    assert table["seconds_to_target"].to_dict() == {1: 20.0, 2: 12.0, 4: np.inf}
    assert table["reached"].to_dict() == {1: 6, 2: 6, 4: 0}
    few = accuracy_table(pd.DataFrame([*epochs_of(1, good[:2]), *epochs_of(2, worse[:2])]))
    assert few["verdict"].tolist() == ["base", "too few runs to tell"]
    assert (few["target"] <= 0.95).all(), "all points reach the target that was not asked for"


def test_of_errors_less_is_better():
    low = [2.0, 2.1, 1.9, 2.05, 1.95, 2.0]
    high = [value + 1 for value in low]
    rows_of = [
        *epochs_of(1, low, metric="mean_absolute_error"),
        *epochs_of(2, high, metric="mean_absolute_error"),
    ]
    table = accuracy_table(pd.DataFrame(rows_of)).set_index("devices")
    assert table["verdict"].to_dict() == {1: "base", 2: "worse"}
    assert table["target"].tolist() == [3.0, 3.0]
    assert table["epochs_to_target"].to_dict() == {1: 1.0, 2: 1.0}
    assert accuracy_table(pd.DataFrame(rows_of), asked=0.9)["reached"].tolist() == [0, 0]


def test_two_sweeps_with_the_same_configurations_keep_their_own_accuracies():
    """A run id is the hash of a configuration, and does not tell machines apart."""
    one = [row | {"sweep": "a", "device_kind": "a"} for row in epochs_of(1, [0.9] * 6)]
    two = [row | {"sweep": "b", "device_kind": "b"} for row in epochs_of(1, [0.8] * 6)]
    table = accuracy_table(pd.DataFrame(one + two)).set_index("device_kind")
    assert table["runs"].to_dict() == {"a": 6, "b": 6}
    assert table["final_accuracy"].to_dict() == {"a": 0.9, "b": 0.8}


def test_a_loss_that_so_few_runs_could_not_show_is_not_denied():
    """Of 20 comparisons, four runs against four cannot be significant, whatever their order."""
    rows_of = [row for n in range(1, 21) for row in epochs_of(n, [0.97, 0.971, 0.972, 0.969])]
    rows_of += epochs_of(32, [0.4, 0.41, 0.42, 0.43])
    table = accuracy_table(pd.DataFrame(rows_of)).set_index("devices")
    assert set(table["verdict"].iloc[1:]) == {"too few runs to tell"}
