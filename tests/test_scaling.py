"""The numbers behind the plots, against published ones and against arithmetic."""

import sys
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from conftest import IDENTITY, ROOT
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(ROOT / "analysis"))

from scaling import run_rates, scaling_table


def rows(devices, rates, **changes):
    """One run for each rate, of one interval of one second."""
    base = asdict(IDENTITY) | {"devices": devices, "global_batch": 128 * devices} | changes
    return [
        base | {"run_id": f"{base['strategy']}-{devices}-{repeat}", "repeat": repeat,
                "phase": "train", "samples": rate, "seconds": 1.0, "steps": 1}
        for repeat, rate in enumerate(rates)
    ]  # fmt: skip


def test_published_efficiencies_come_back():
    """ResNet-50 on V100 with Horovod: 362.4 images/s, 96.0, 93.9, 87.9, 82.0 % (DLPerf)."""
    efficiency = {1: 1.0, 4: 0.960, 8: 0.939, 16: 0.879, 32: 0.820}
    table = pd.DataFrame(
        [row for n, e in efficiency.items() for row in rows(n, [362.4 * n * e] * 6)]
    )
    result = scaling_table(table).set_index("devices")
    for devices, expected in efficiency.items():
        assert result.loc[devices, "efficiency"] == pytest.approx(expected, abs=5e-4)
    assert (result["base_samples_per_second"] == 362.4).all()
    assert result["enough_runs"].all()


@given(st.lists(st.tuples(st.integers(1, 999), st.floats(0.01, 9)), min_size=1, max_size=9))
def test_a_runs_rate_is_all_samples_over_all_seconds(intervals):
    table = pd.DataFrame(
        [rows(1, [samples])[0] | {"seconds": seconds} for samples, seconds in intervals]
    )
    rate = run_rates(table)["samples_per_second"].item()
    samples, seconds = np.array(intervals).T
    assert rate == pytest.approx(samples.sum() / seconds.sum())
    assert min(samples / seconds) * 0.999 <= rate <= max(samples / seconds) * 1.001


def test_what_is_not_comparable_is_not_one_series():
    table = pd.DataFrame(
        rows(1, [100]) + rows(2, [190]) + rows(2, [150], precision="mixed_bfloat16", run_id="x")
    )
    result = scaling_table(table)
    assert result.groupby("precision")["base_devices"].first().to_dict() == {
        "float32": 1,
        "mixed_bfloat16": 2,
    }


def test_intervals_hold_the_median_and_narrow_with_the_spread():
    noise = np.linspace(-1, 1, 8)
    wide = scaling_table(pd.DataFrame(rows(1, 100 + 10 * noise) + rows(2, 180 + 20 * noise)))
    narrow = scaling_table(pd.DataFrame(rows(1, 100 + noise) + rows(2, 180 + 2 * noise)))
    for table in (wide, narrow):
        for value in ("samples_per_second", "speedup", "efficiency"):
            assert (table[f"{value}_low"] <= table[value]).all()
            assert (table[value] <= table[f"{value}_high"]).all()
    widths = [(t["efficiency_high"] - t["efficiency_low"]).max() for t in (wide, narrow)]
    assert widths[0] > 5 * widths[1]


def test_strong_scaling_compares_equal_global_batches():
    strong = [
        row | {"scaling": "strong", "global_batch": 128, "batch_per_device": 128 // n}
        for n in (1, 2)
        for row in rows(n, [100 * n])
    ]
    assert scaling_table(pd.DataFrame(strong))["speedup"].tolist() == [1.0, 2.0]
