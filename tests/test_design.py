"""The order in which a sweep runs, as planned and queued: a machine that drifts, and nodes that
differ, do not look like scaling."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbench.analysis.pairing import rate_ratio
from hpcbench.analysis.scaling import scaling_table
from hpcbench.analysis.validity import cautions
from hpcbench.cluster.site import Site
from hpcbench.sweeps.arrays import cost, one_allocation, right_sized
from hpcbench.sweeps.plan import in_order, make_plan, read_sweep
from support.runs import rows as rows_of
from support.runs import runs_of

COUNTS = (1, 2, 4, 8)
SITE = Site(name="s", devices_per_node=4, cores_per_device=2, max_devices=64, throttle=8)
SWEEP = f"""
name = "design"
devices = {list(COUNTS)}
strategies = ["horovod"]
[[models]]
model = "fc-64"
[settings]
train_samples = 2560
epochs = 1
"""


def planned(folder, text=SWEEP):
    path = folder / "sweep.toml"
    path.write_text(text)
    return make_plan(read_sweep(path), folder, SITE.machine).runs


def here(runs, _):
    """The order of a local sweep; the machine is one allocation."""
    return [[("machine", run) for run in runs]]


def queued(design):
    """(job, run) in the order in which jobs begin, where they run one at a time."""

    def ordered(runs, site):
        arrays = design(runs, site)
        return [
            [(f"{number}.{index}", run) for run in task]
            for number, array in enumerate(arrays)
            for index, task in enumerate(array.tasks)
        ]

    return ordered


def by_count(runs, _):
    """What not to do: counts one after another, each in an allocation of its own."""
    runs = sorted(runs, key=lambda run: run.devices)
    return [[(str(run.devices), run) for run in runs]]


def skeleton(order):
    """A run table of one run after another, whose rates are yet to be measured."""
    jobs = [pair for task in order for pair in task]
    parts = [
        rows_of(run.devices, [1.0])[0] | {"repeat": run.config.repeat, "run_id": f"{place:02}"}
        for place, (_, run) in enumerate(jobs)
    ]
    facts = pd.DataFrame(
        {
            "run_id": [part["run_id"] for part in parts],
            "started": [f"2026-01-01T00:{place:02}:00" for place in range(len(jobs))],
            "allocation": [job for job, _ in jobs],
        }
    )
    return runs_of(parts).merge(facts, on="run_id")


def measured(table, generator, drift=-0.1, nodes=0.02, noise=0.005):
    """``table`` with rates that scale by 0.9 with each doubling, of allocations that differ, on a
    machine whose speed changes by ``drift`` from the first run to the last."""
    place = np.arange(len(table)) / (len(table) - 1)
    names, job = np.unique(table["allocation"], return_inverse=True)
    changes = drift * place + nodes * generator.standard_normal(len(names))[job]
    noises = np.exp(noise * generator.standard_normal(len(table)))
    ideal = 1000 * table["devices"] * 0.9 ** np.log2(table["devices"])
    return table.assign(samples_per_second=ideal * (1 + changes) * noises)


def coverage(order, simulations=250):
    """How often the interval of the speedup holds the truth, by device count."""
    generator, table = np.random.default_rng(1), skeleton(order)
    held = dict.fromkeys(COUNTS[1:], 0)
    for _ in range(simulations):
        of_count = dict(list(measured(table, generator).groupby("devices")))
        for devices in held:
            speedup = rate_ratio(of_count[devices], of_count[1], (devices, 1))
            truth = devices * 0.9 ** np.log2(devices)
            held[devices] += speedup.low <= truth <= speedup.high
    return {devices: count / simulations for devices, count in held.items()}


@pytest.mark.parametrize(
    "design",
    [queued(right_sized), queued(one_allocation), here],
    ids=["a job a run", "one allocation", "local"],
)
def test_intervals_hold_the_truth_on_a_cluster_that_drifts_with_nodes_that_differ(tmp_path, design):
    runs = planned(tmp_path)
    assert len(runs) == 6 * len(COUNTS)
    assert min(coverage(design(runs, SITE)).values()) >= 0.93


def test_counts_one_after_another_are_doubted_and_blocks_are_not(tmp_path):
    runs, generator = planned(tmp_path), np.random.default_rng(0)
    assert max(coverage(by_count(runs, SITE), 100).values()) < 0.7
    confounded = ("in few separate allocations", "before or after all runs of their base")
    for design, doubted in ((by_count, True), (queued(right_sized), False), (here, False)):
        table = measured(skeleton(design(runs, SITE)), generator)
        sentences = " | ".join(map(str, cautions(scaling_table(table), table)))
        assert [words in sentences for words in confounded] == [doubted, doubted], sentences


def test_runs_on_nodes_that_others_use_are_doubted(tmp_path):
    table = measured(skeleton(here(planned(tmp_path), SITE)), np.random.default_rng(0))
    assert not any(
        "other jobs could use" in text.sentence for text in cautions(scaling_table(table), table)
    )
    table["whole_nodes"] = [False] * 3 + [True] * (len(table) - 3)
    assert any(
        text.sentence.startswith("3 of 24 runs") for text in cautions(scaling_table(table), table)
    )


@given(st.integers(0, 1000), st.lists(st.integers(), unique=True, max_size=20))
def test_a_steady_drift_cancels_over_two_repeats(repeat, block):
    first, second = in_order(block, 2 * repeat), in_order(block, 2 * repeat + 1)
    assert sorted(first) == sorted(block)
    for item in block:
        assert first.index(item) + second.index(item) == len(block) - 1


def test_no_repeat_begins_before_the_one_before_it_is_over(tmp_path):
    arrays = right_sized(planned(tmp_path), SITE)
    repeats = [{run.config.repeat for task in array.tasks for run in task} for array in arrays]
    for array, (repeat,) in zip(arrays, repeats, strict=True):
        before = {place for place, of in enumerate(repeats) if of == {repeat - 1}}
        assert before <= set(array.after)
        # Parts of a node one at a time, whole ones as the site allows.
        whole = array.devices % SITE.devices_per_node == 0
        assert array.throttle == (8 if whole else 1)
        assert SITE.request(array.devices).whole_nodes == whole
    of_parts = [n for n, a in enumerate(arrays) if a.devices < 4 and repeats[n] == {0}]
    assert arrays[of_parts[1]].after == [of_parts[0]]
    (one,) = one_allocation(planned(tmp_path), SITE)
    assert (one.devices, one.throttle, len(one.tasks)) == (8, 1, 6)
    assert [len(task) for task in one.tasks] == [4] * 6


def test_what_a_design_costs(tmp_path):
    """Six repeats of runs of a minute on 1, 2, 4 and 8 devices, four to a node."""
    runs = planned(tmp_path)
    sized = cost(right_sized(runs, SITE), SITE, lambda run: 60)
    assert (sized.jobs, sized.device_hours) == (24, pytest.approx(6 * 15 / 60))
    assert (sized.least_minutes, sized.most_minutes) == (12, 24)
    one = cost(one_allocation(runs, SITE), SITE, lambda run: 60)
    assert (one.jobs, one.device_hours) == (6, pytest.approx(6 * 4 * 8 / 60))
    assert (one.least_minutes, one.most_minutes) == (24, 24)
    assert str(one) == "6 jobs, 3.20 device-hours, 24 minutes"
    held = SITE.model_copy(update={"exclusive": True})
    assert cost(right_sized(runs, held), held, lambda run: 60).device_hours == 6 * 20 / 60
