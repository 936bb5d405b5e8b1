"""What a referee would object to is said, and nothing else."""

import re

import numpy as np
import pytest

from hpcbench.analysis.report.summary import summary
from hpcbench.analysis.scaling import scaling_table
from hpcbench.analysis.validity import busy_machine, cautions, drift
from support.runs import points_of, rows, runs_of


def words_of(runs):
    return "\n".join(map(str, cautions(scaling_table(runs), runs)))


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ((rows(1, [100] * 5),), "1 of 1 points have fewer than 6 runs"),
        ((rows(1, [100, 80, 120, 90, 110, 100]),), "intervals wider than 5%"),
        ((rows(1, [100] * 6), rows(2, [210] * 6)), "superlinear speedup"),
        (
            (rows(1, [100]), rows(2, [214])),
            "with too few runs to tell it from noise.* at 2 \\(107%",
        ),
        ((rows(2, [100] * 6),), "no run on one device"),
        (
            ([row | {"seconds": 0.02} for row in rows(1, [100] * 6)],),
            r"last less than 0.1 s.*fc-64 at 1 \(could change a result by up to 22 %\)",
        ),
        ((rows(1, [100.1, 100, 100.2, 99.9, 100, 70]),), "outliers among the runs.*-30%"),
        (
            (rows(1, np.linspace(100, 110, 12)), rows(2, np.linspace(200, 220, 12))),
            "rates drifted: the last repeat is .* faster",
        ),
        (
            (
                rows(1, [100] * 6),
                rows(2, [180] * 6),
                rows(1, [100] * 6, strategy="mirrored"),
                rows(2, [179, 180, 181, 180, 180, 180], strategy="mirrored"),
            ),
            "throughput is statistically indistinguishable: horovod and mirrored fc-64 at 2",
        ),
    ],
)
def test_doubts_are_said_in_words(parts, says):
    runs = runs_of(*parts)
    said = words_of(runs)
    assert re.search(says, said), said


def test_steps_that_only_meet_and_are_slower_are_said():
    """Once: where those without exchange are slower too, that is said."""
    runs = runs_of(rows(1, [100] * 6), rows(2, [180] * 6))
    two = {"communication_efficiency": [1.0, 0.8], "transfer_efficiency": [1.0, 1.2]}
    said = "\n".join(map(str, cautions(scaling_table(runs).assign(**two), runs)))
    assert re.search(r"only meet were slower than whole ones.*too much: .* at 2 \(.* 20 %\)", said)
    two["communication_efficiency"] = [1.0, 1.1]
    said = "\n".join(map(str, cautions(scaling_table(runs).assign(**two), runs)))
    assert "steps without exchange were slower" in said
    assert "only meet" not in said


def test_why_nothing_is_said_of_scaling_is_true():
    one_count = rows(2, [100], batch_per_device=64), rows(2, [200])
    assert summary(points_of(*one_count)) == [
        "All runs are on one device count, so scaling cannot be assessed."
    ]
    kinds = [rows(count, [100], device_kind=kind) for count, kind in ((1, "A100"), (8, "H100"))]
    (sentence,) = summary(points_of(*kinds))
    assert "so scaling cannot be assessed" in sentence
    assert sentence.endswith("count: device_kind (A100 at 1, H100 at 8).")


@pytest.mark.parametrize(("trend", "most", "least"), [(0.0, 0.08, 0.0), (-0.1, 1.0, 0.9)])
def test_drift_is_a_trend_of_repeats_and_not_their_spread(trend, most, least):
    """Eight repeats that each are off by 1 % as a whole, with and without 10 % of drift."""
    generator = np.random.default_rng(3)
    runs = runs_of(*(rows(n, [100.0 * n] * 8) for n in (1, 2)))
    told = 0
    for _ in range(200):
        repeats = 0.01 * generator.standard_normal(8) + np.linspace(0, trend, 8)
        logs = repeats[runs["repeat"]] + 0.003 * generator.standard_normal(len(runs))
        rates = runs["samples_per_second"] * np.exp(logs)
        told += any(
            "drifted" in said.sentence for said in drift(runs.assign(samples_per_second=rates))
        )
    assert least <= told / 200 <= most


def test_drift_is_told_of_the_sweep_that_drifted():
    """A sweep on a slower day after one that was steady is no drift."""
    steady, falling = [100.0] * 8, np.linspace(100, 80, 8)
    parts = [
        [row | {"run_id": f"{sweep}-{row['run_id']}", "sweep": sweep} for row in rows(1, rates)]
        for sweep, rates in (("monday", steady), ("tuesday", falling))
    ]
    (said,) = drift(runs_of(*parts))
    assert "of sweep tuesday is" in said.sentence
    assert list(drift(runs_of(parts[0], rows(1, [80.0] * 8, sweep="friday")))) == []


def test_points_of_one_model_are_named_by_what_they_differ_in():
    wild = [100, 50, 150, 90, 60, 140]
    parts = [
        [
            row | {"run_id": f"{batch}-{row['run_id']}", "batch_per_device": batch}
            for row in rows(1, wild)
        ]
        for batch in (64, 512)
    ]
    runs = runs_of(*parts)
    said = words_of(runs)
    assert re.search(
        r"batch 64 at 1 \(.*batch 512 at 1 \(|batch 512 at 1 \(.*batch 64 at 1 \(", said
    )


def test_strategies_are_told_apart_by_the_interval_of_their_ratio():
    """Each interval holds the other's median, and the faster was faster in each repeat."""
    rates = 100 * np.exp(np.array([0.05, -0.04, 0.02, -0.05, 0.04, -0.02]))
    times = ["0", "2", "4", "6", "8", "A"], ["1", "3", "5", "7", "9", "B"]
    for factor, alike in ((1.02, False), (1.0, True)):
        noise = 1 + 0.001 * np.array([1, -1, 1, -1, 1, -1])
        pairs = [(rates, "horovod"), (factor * rates * noise, "mirrored")]
        parts = [
            [*rows(1, rate, strategy=name), *rows(2, 1.9 * rate, strategy=name)]
            for rate, name in pairs
        ]
        runs = runs_of(*parts)
        started = {name: dict(enumerate(t)) for (_, name), t in zip(pairs, times, strict=True)}
        runs["started"] = [
            started[row["strategy"]][row["repeat"]] for row in runs.to_dict("records")
        ]
        said = words_of(runs)
        assert ("statistically indistinguishable" in said) == alike, said


def test_a_sound_sweep_raises_no_doubt():
    noise = 1 + 0.001 * np.array([0, 1, -1, 0.5, -0.5, 0])
    runs = runs_of(rows(1, 100 * noise), rows(2, 190 * noise))
    assert cautions(scaling_table(runs), runs) == []


def test_what_runs_have_in_common_is_bounded_by_the_others_of_their_points():
    """Runs that began on a busy machine are 5 % slower, or as fast as the others."""
    generator = np.random.default_rng(8)
    runs = runs_of(*(rows(n, [100.0 * n] * 8) for n in (1, 2)))
    busy = (runs["repeat"] % 2 == 0).to_numpy()
    runs["load_average"] = np.where(busy, 7.5, 0.0)
    held = 0
    for slower in (0.05, 0.0) * 100:
        noise = np.exp(0.01 * generator.standard_normal(len(runs)))
        rates = runs["samples_per_second"] * (1 - slower * busy) * noise
        (said,) = busy_machine(runs.assign(samples_per_second=rates))
        held += slower <= said.effect < slower + 0.03
    assert held >= 190
    assert "8 of 16 runs began with a load average above half the cores (up to 7.5)" in str(said)
    (said,) = busy_machine(runs.assign(load_average=7.5))
    assert said.effect is None, "there are no other runs beside them"


def test_where_a_run_looked_who_else_computed_its_load_average_is_no_news():
    runs = runs_of(*(rows(n, [100.0 * n] * 8) for n in (1, 2))).assign(load_average=7.5)
    assert list(busy_machine(runs.assign(cores_taken_share=0.01))) == []
    taken = np.where(runs["repeat"] == 3, 0.4, 0.01)
    (said,) = busy_machine(runs.assign(cores_taken_share=taken))
    assert "in 2 of 16 runs other processes took more than 5% of" in str(said)


def test_the_gravest_comes_first_and_says_how_far_it_could_move_a_number():
    """A sweep that drifts by 10 %, of which a run of four devices is 40 % off, on shared nodes,
    with too few runs of eight, and more than ideal at sixteen."""
    trend = np.linspace(1, 0.9, 8)
    off = np.where(np.arange(8) == 3, 0.6, 1.0)
    level = 1 + 0.0003 * np.array([1, -1, 1, -1, 1, -1, 1, -1])
    runs = runs_of(
        rows(1, 100 * trend),
        rows(2, 190 * trend),
        rows(4, 380 * level * off),
        rows(8, [700, 701, 702]),
        rows(16, 2000 * level),
    )
    found = cautions(scaling_table(runs), runs.assign(whole_nodes=False))
    effects = [one.effect for one in found]
    bounded = [effect for effect in effects if effect is not None]
    assert effects == [None] * (len(effects) - len(bounded)) + sorted(bounded, reverse=True)
    starts = [
        *("have fewer than 6 runs", "runs were on nodes", "superlinear speedup", "drifted"),
        *("outliers among the runs",),
    ]
    places = [next(i for i, one in enumerate(found) if words in one.sentence) for words in starts]
    assert places[:2] == [0, 1]
    assert places == sorted(places)
    by_words = {words: found[place] for words, place in zip(starts, places, strict=True)}
    assert by_words["superlinear speedup"].effect == pytest.approx(2000 / 16 / 95 - 1, rel=0.01)
    assert "effect unknown" in str(by_words["runs were on nodes"])
    assert by_words["outliers among the runs"].effect < 0.001, "a median hardly moves by one run"


def test_energy_of_packages_is_doubted_where_counts_differ():
    runs = runs_of(rows(1, [100] * 6), rows(2, [190] * 6))
    assert "samples per joule" not in words_of(runs)
    assert "samples per joule rise with the device count" in words_of(
        runs.assign(counted="CPU packages")
    )
    assert "samples per joule" not in words_of(runs.assign(counted="GPUs"))


def test_runs_that_never_became_steady_are_doubted():
    runs = runs_of(rows(1, [100] * 6), rows(2, [190] * 6))
    assert "steady" not in words_of(runs.assign(steady=True))
    said = words_of(runs.assign(steady=[None] * 6 + [True] * 4 + [False] * 2))
    assert "the step time of 2 of 12 runs was not steady yet" in said
    assert "horovod fc-64 at 2" in said
