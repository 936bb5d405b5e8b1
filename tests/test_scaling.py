"""Rates, speedup and efficiency against published ones, arithmetic, and by simulation."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbench.analysis.estimates import Estimate
from hpcbench.analysis.load import mixed
from hpcbench.analysis.pairing import in_blocks, rate_ratio, run_ratios
from hpcbench.analysis.scaling import (
    largest_efficient,
    scaling_table,
    serial_fraction,
    with_failures,
)
from support import IDENTITY
from support.runs import points_of, rows, runs_of

# DLPerf (Oneflow-Inc/DLPerf): ResNet-50 in float32, batch 128 a device, on V100-16GB.
PUBLISHED = {
    "horovod": (362.4, {1: 100.0, 4: 96.0, 8: 93.9, 16: 87.9, 32: 82.0}),
    # MirroredStrategy up to 8, then MultiWorkerMirroredStrategy with another configuration.
    "mirrored": (321.8, {1: 100.0, 2: 89.3, 4: 88.8, 8: 95.5, 16: 94.2, 32: 91.5}),
}


@pytest.mark.parametrize("strategy", PUBLISHED)
def test_published_efficiencies_come_back(strategy):
    rate, efficiency = PUBLISHED[strategy]
    parts = [rows(n, [rate * n * e / 100] * 6, strategy=strategy) for n, e in efficiency.items()]
    result = points_of(*parts).set_index("devices")
    for devices, expected in efficiency.items():
        assert 100 * result.loc[devices, "efficiency"] == pytest.approx(expected, abs=0.05)
    assert (result["base_samples_per_second"] == rate).all()
    assert result["enough_runs"].all()


def test_intervals_hold_the_median_and_narrow_with_the_spread():
    noise = np.linspace(-1, 1, 8)
    wide = points_of(rows(1, 100 + 10 * noise), rows(2, 180 + 20 * noise))
    narrow = points_of(rows(1, 100 + noise), rows(2, 180 + 2 * noise))
    for table in (wide, narrow):
        for value in ("samples_per_second", "speedup", "efficiency"):
            assert (table[f"{value}_low"] <= table[value]).all()
            assert (table[value] <= table[f"{value}_high"]).all()
    widths = [(t["efficiency_high"] - t["efficiency_low"]).max() for t in (wide, narrow)]
    assert widths[0] > 5 * widths[1]


def test_intervals_cover_what_they_promise():
    """95 % intervals of 1,000 made-up sweeps of six runs hold the truth in 93 to 97 %."""
    generator = np.random.default_rng(20)
    inside = np.zeros((1000, 2), bool)
    for sweep in inside:
        base, two = (n * np.exp(0.05 * generator.standard_normal(6)) for n in (100, 170))
        # As many resamples as the analysis takes, and another seed each time.
        seed = int(generator.integers(2**31))
        rate, at_two = Estimate.of(base, seed), Estimate.of(two, seed + 1)
        efficiency = at_two.over(rate).times(0.5)
        for index, (estimate, truth) in enumerate(((rate, 100), (efficiency, 0.85))):
            low, high = estimate.interval()
            sweep[index] = low <= truth <= high
    for coverage in inside.mean(axis=0):
        assert 0.93 <= coverage <= 0.97


NOISES = {
    "normal": lambda generator: generator.standard_normal(6),
    "heavy tails": lambda generator: generator.standard_t(3, 6) / 3**0.5,
    "skewed": lambda generator: generator.exponential(1, 6) - 1,
}


def blocks(generator, draw, effect, within, truth=0.9):
    """Six runs each of one device and of two, which share what happened to their repeat."""
    common = effect * generator.standard_normal(6)
    rates = [n * e * np.exp(common + within * draw(generator)) for n, e in ((100, 1), (200, truth))]
    return [
        pd.DataFrame(
            {"sweep": "s", "repeat": range(6), "samples_per_second": rate, "started": times}
        )
        for rate, times in zip(rates, ("02468A", "13579B"), strict=True)
        for times in [list(times)]
    ]


@pytest.mark.parametrize("missing", [[], [2]], ids=["all runs", "one missing"])
@pytest.mark.parametrize("noise", NOISES)
def test_what_slows_a_whole_repeat_does_not_widen_the_efficiency(noise, missing):
    """A block effect of 5 % and 1 % within: the interval is of the 1 %, and holds the truth."""
    generator = np.random.default_rng(7)
    inside, width = [], []
    for _ in range(400):
        one, two = blocks(generator, NOISES[noise], 0.05, 0.01)
        ratio = rate_ratio(two.drop(index=missing), one, (2, 1)).times(0.5)
        inside.append(ratio.low <= 0.9 <= ratio.high)
        width.append(ratio.high - ratio.low)
    assert 0.92 <= np.mean(inside) <= 0.98
    assert np.mean(width) < 0.03
    # Counts one after another: nothing is shared, and nothing can be paired.
    later = two.assign(started=["C" + time for time in two["started"]])
    alone = rate_ratio(later, one, (2, 1)).times(0.5)
    assert alone.high - alone.low > 0.05


def test_repeats_are_blocks_only_if_none_began_before_another_ended():
    one, two = blocks(np.random.default_rng(0), NOISES["normal"], 0.05, 0.01)
    both = pd.concat([one, two])
    assert in_blocks(both)
    assert not in_blocks(both.assign(started=""))
    assert not in_blocks(both.drop(columns="started"))
    mixed_up = both.assign(started=[*"02468A", *"1357B9"])
    assert not in_blocks(mixed_up)
    # A run that is missing leaves its partner without one; the others are pairs still.
    few = rate_ratio(two.iloc[:5], one, (2, 1))
    assert few == rate_ratio(two.iloc[:5], one.iloc[:5], (2, 1))
    assert np.isnan(run_ratios(two, one.iloc[1:])).tolist() == [True, *[False] * 5]
    # So many that most have none: medians, as without blocks.
    fewer = rate_ratio(two.iloc[:3], one, (2, 1))
    medians = [group["samples_per_second"].median() for group in (two.iloc[:3], one)]
    assert fewer.value == medians[0] / medians[1]


def test_one_job_for_all_is_no_block_of_each_repeat():
    one, two = blocks(np.random.default_rng(0), NOISES["normal"], 0.05, 0.01)
    both = pd.concat([one, two.assign(started=["C" + time for time in two["started"]])])
    assert not in_blocks(both.assign(allocation="job 1"))
    assert in_blocks(both.assign(allocation="job " + both["repeat"].astype(str)))


def test_strong_scaling_compares_equal_global_batches():
    strong = [
        row | {"scaling": "strong", "global_batch": 128, "batch_per_device": 128 // n}
        for n in (1, 2)
        for row in rows(n, [100 * n])
    ]
    assert points_of(strong)["speedup"].tolist() == [1.0, 2.0]


def test_both_bases_are_used():
    """Speedup over the strategy on one device, and over the best serial program."""
    table = points_of(
        rows(1, [100] * 6, strategy="single", exchange="none"),
        rows(1, [80] * 6),
        rows(2, [120] * 6),
    )
    two = table[table["devices"] == 2].iloc[0]
    assert (two["base_samples_per_second"], two["serial_samples_per_second"]) == (80, 100)
    assert (two["efficiency"], two["serial_efficiency"]) == (0.75, 0.6)


def test_runs_that_are_not_pairs_are_not_resampled_as_pairs():
    """The same rates in the same order, of runs that have nothing to do with each other."""
    rates = [100, 90, 110, 95, 105, 100]
    table = points_of(rows(1, rates, strategy="single", exchange="none"), rows(1, rates))
    horovod = table[table["strategy"] == "horovod"].iloc[0]
    assert horovod["serial_efficiency_low"] < 0.97
    assert horovod["serial_efficiency_high"] > 1.03


def test_one_run_has_no_interval_and_a_product_of_pop_factors_is_the_efficiency():
    alone = [
        row | {"phase": "no_exchange", "seconds": 1.2, "mean_rank_seconds": 1.1}
        for row in rows(2, [200])
    ]
    trained = [row | {"seconds": 1.6, "steps": 1} for row in rows(2, [200])]
    table = points_of(rows(1, [100]), trained, alone)
    two = table[table["devices"] == 2].iloc[0]
    assert np.isnan(two["efficiency_low"])
    assert two["load_balance"] == pytest.approx(1.1 / 1.2)
    assert two["communication_efficiency"] == pytest.approx(1.2 / 1.6)
    factors = ("load_balance", "communication_efficiency", "computation_efficiency")
    assert np.prod([two[name] for name in factors]) == pytest.approx(two["efficiency"])


@given(st.floats(0, 1), st.integers(2, 4096))
def test_serial_fractions_come_back(serial, devices):
    amdahl = 1 / (serial + (1 - serial) / devices)
    gustafson = serial + (1 - serial) * devices
    assert serial_fraction(amdahl, devices, "strong") == pytest.approx(serial, abs=1e-9)
    assert serial_fraction(gustafson, devices, "weak") == pytest.approx(serial, abs=1e-9)


@pytest.mark.parametrize("scaling", ["weak", "strong"])
def test_of_ideal_speedups_no_serial_part_is_left_by_rounding(scaling):
    ideal = [serial_fraction(devices * (1 + 4e-16), devices, scaling) for devices in (2, 3, 7, 96)]
    assert ideal == [0.0] * 4
    assert serial_fraction(1.99, 2, scaling) > 0.001


def test_the_largest_count_that_is_worth_it():
    table = points_of(rows(1, [100]), rows(2, [170]), rows(4, [310]), rows(8, [700]))
    (row,) = largest_efficient(table).to_dict("records")
    assert (row["devices"], row["largest_measured"]) == (2, 8), "4 lies below 80 %, so 8 is no use"
    assert np.isnan(row["surely"]), "runs without repeats have no interval"
    noise = np.linspace(-0.04, 0.04, 6)
    table = points_of(
        rows(1, 100 * (1 + noise / 4)),
        rows(2, 180 * (1 + noise / 4)),
        rows(4, 324 * (1 + noise)),
        rows(8, 700 * (1 + noise / 4)),
    )
    (row,) = largest_efficient(table).to_dict("records")
    assert (row["devices"], row["surely"]) == (8, 2), "the interval of 4 reaches below 80 %"


def test_what_is_made_of_rates_and_steps_has_their_intervals():
    """Two runs of two devices: everything is known by hand, and an interval is their range."""
    trained, alone = [], []
    for repeat, (step, slowest, mean) in enumerate(((1.6, 1.2, 1.1), (1.8, 1.3, 1.2))):
        of_run = rows(2, [0] * repeat + [200])[repeat]
        trained.append(of_run | {"seconds": step})
        alone.append(of_run | {"phase": "no_exchange"} | {"seconds": slowest} | _mean(mean))
    two = points_of(rows(1, [100, 100]), trained, alone).query("devices == 2").iloc[0]
    for name, low, high in (
        ("exchange_seconds", 0.4, 0.5),
        ("waiting_seconds", 0.1, 0.1),
        ("extra_compute_seconds", 0.1, 0.2),
        ("step_seconds", 1.6, 1.8),
        ("device_hours_per_million_samples", 2e6 / 125 / 3600, 2e6 / (200 / 1.8) / 3600),
    ):
        assert two[f"{name}_low"] == pytest.approx(low), name
        assert two[f"{name}_high"] == pytest.approx(high), name
        assert low - 1e-9 <= two[name] <= high + 1e-9
    assert two["base_compute_seconds"] == 1.0


def _mean(seconds):
    return {"mean_rank_seconds": seconds}


def test_a_run_that_failed_counts_on_the_point_of_its_own_framework():
    torch = rows(2, [150], framework="torch", strategy="single")
    points = scaling_table(runs_of(rows(2, [190], strategy="single"), torch))
    for document in (
        {
            "config": {
                "model": "fc-64",
                "framework": "torch",
                "strategy": "single",
                "devices": 2,
                "dataset": "mnist",
                "exchange": "flat",
            }
        },
        {
            "identity": asdict(IDENTITY)
            | {"framework": "torch", "strategy": "single", "devices": 2, "global_batch": 256}
        },
    ):
        table = with_failures(points, [document])
        assert table.set_index("framework")["failed"].to_dict() == {"tensorflow": 0, "torch": 1}
    # Nor on one whose options it did not have.
    sync = document | {"config": {"batchnorm": "sync"}}
    alone = with_failures(points, [sync]).set_index("options")["failed"]
    assert (alone[""].sum(), alone["batchnorm sync"]) == (0, 1)
    # Nor on one of another machine, nor of any where it does not say which.
    kinds = [
        [row | {"run_id": kind} for row in rows(2, [100], device_kind=kind)]
        for kind in ("A100", "H100")
    ]
    of_kinds = scaling_table(runs_of(*kinds))
    known = asdict(IDENTITY) | {"devices": 2, "global_batch": 256}
    lost = [{"identity": known | {"device_kind": kind}} for kind in ("H100", "H100", "unknown")]
    found = with_failures(of_kinds, lost).set_index("device_kind")["failed"]
    assert found.to_dict() == {"A100": 0, "H100": 2, "": 1}
    # Where kinds were put together it counts on them.
    together = scaling_table(mixed(runs_of(*kinds), ["device_kind"]))
    assert with_failures(together, lost)["failed"].tolist() == [3]
    unknown = with_failures(points, [{"config": {"model": "gone"}}, {}])
    assert unknown["failed"].sum() == 0


def test_a_shorter_step_at_the_end_of_an_epoch_is_no_step_of_the_split():
    """Of 2 whole steps of 1.2 s and one of a quarter of a batch in 0.4 s: 0.2 s are exchange, where
    all three together would say that none is."""
    (whole,) = rows(2, [512])
    trained = [
        whole | {"samples": 512, "steps": 2, "seconds": 2.4},
        whole | {"samples": 64, "steps": 1, "seconds": 0.4},
    ]
    alone = [
        whole | {"phase": "no_exchange", "samples": 512, "steps": 2, "seconds": 2.0} | _mean(1.9)
    ]
    two = points_of(rows(1, [100]), trained, alone).query("devices == 2").iloc[0]
    assert two["step_seconds"] == pytest.approx(1.2)
    assert two["exchange_seconds"] == pytest.approx(0.2)
    assert two["samples_per_second"] == pytest.approx(576 / 2.8), "the rate is of all samples"


def test_one_process_cannot_tell_the_balance_of_its_devices():
    alone = [row | {"phase": "no_exchange"} for row in rows(2, [200])]
    two = points_of(rows(1, [100]), rows(2, [200]), alone).query("devices == 2").iloc[0]
    assert np.isnan(two["load_balance"])
    assert two["communication_efficiency"] == 1


def test_on_a_base_of_several_devices_the_product_is_over_that_of_the_base():
    parts = []
    for devices, step, slowest, mean in ((2, 1.4, 1.1, 1.0), (4, 2.0, 1.5, 1.2)):
        (row,) = rows(devices, [128 * devices])
        parts.append([row | {"seconds": step} | _mean(step)])
        parts.append([row | {"phase": "no_exchange", "seconds": slowest} | _mean(mean)])
    base, four = points_of(*parts).sort_values("devices").to_dict("records")
    factors = ("load_balance", "communication_efficiency", "computation_efficiency")
    products = [np.prod([row[name] for name in factors]) for row in (base, four)]
    assert products[1] / products[0] == pytest.approx(four["efficiency"]) == pytest.approx(0.7)
