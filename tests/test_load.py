"""From rows to runs, and which runs may be points of one line."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbench.analysis.accuracy import accuracy_table
from hpcbench.analysis.figures.panels import looks
from hpcbench.analysis.load import kept_apart, mixed, observe, run_table, software, with_names
from hpcbench.analysis.reading import read_folder
from hpcbench.analysis.scaling import scaling_table
from support import IDENTITY
from support.runs import rows, runs_of
from synthetic_sweep import write_run


@given(st.lists(st.tuples(st.integers(1, 999), st.floats(0.01, 9)), min_size=1, max_size=9))
def test_a_runs_rate_is_all_samples_over_all_seconds(intervals):
    table = pd.DataFrame(
        [rows(1, [samples])[0] | {"seconds": seconds} for samples, seconds in intervals]
    )
    rate = run_table(table)["samples_per_second"].item()
    samples, seconds = np.array(intervals).T
    assert rate == pytest.approx(samples.sum() / seconds.sum())
    assert min(samples / seconds) * 0.999 <= rate <= max(samples / seconds) * 1.001


def test_what_is_not_comparable_is_one_line_only_if_allowed():
    parts = [rows(1, [100]), rows(2, [190]), rows(2, [150], precision="mixed_bfloat16")]
    runs = runs_of(*parts)
    apart = scaling_table(runs)
    assert apart.groupby("precision")["base_devices"].first().to_dict() == {
        "float32": 1,
        "mixed_bfloat16": 2,
    }
    (sentence,) = kept_apart(runs)
    assert "precision (float32 | mixed_bfloat16)" in sentence
    joined = scaling_table(mixed(runs, ["precision"]))
    assert joined["precision"].unique().tolist() == ["float32 + mixed_bfloat16"]
    assert joined.set_index("devices")["runs"].to_dict() == {1: 1, 2: 2}


def test_sweeps_in_one_folder_are_put_together_only_if_asked():
    parts = [rows(n, [rate], sweep=s) for s, rate in (("a", 100), ("b", 90)) for n in (1, 2)]
    runs = runs_of(*parts)
    assert scaling_table(runs)["samples_per_second"].tolist() == [100, 100, 90, 90]
    (sentence,) = kept_apart(runs)
    assert "runs differ in sweeps (a | b)" in sentence
    joined = scaling_table(mixed(runs, ["sweeps"]))
    assert (
        joined[["sweeps", "samples_per_second", "runs"]].values.tolist() == [["a + b", 95, 2]] * 2
    )


@pytest.mark.parametrize(
    ("name", "value", "column"),
    [
        ("batchnorm", "sync", "options"),
        ("optimizer", "larc", "options"),
        ("image_size", 64, "options"),
        ("train_samples", 2560, "options"),
        ("interval_steps", 7, "options"),
        ("a_setting_that_comes_later", 1, "options"),
        ("epochs", 3, "training"),
        ("epochs_rule", "horovod", "training"),
        ("lr_decay", 0.7, "training"),
        ("momentum", 0.0, "training"),
        ("target", 0.9, "training"),
        ("test_samples", 500, "training"),
        ("repeat", 3, None),
        ("checkpoint", True, None),
    ],
)
def test_runs_that_differ_in_a_setting_are_not_one_point(tmp_path, name, value, column):
    generator = np.random.default_rng(0)
    for repeat, config in enumerate([{"xla": False, "optimizer": None}, {name: value}]):
        identity = replace(IDENTITY, run_id=f"run-{repeat}", repeat=repeat)
        write_run(tmp_path / str(repeat), identity, 1000.0, 5, generator, config=config)
    observed = observe(read_folder(tmp_path))
    assert len(scaling_table(observed.runs)) == (2 if column == "options" else 1)
    assert len(accuracy_table(observed.epochs)) == (1 if column is None else 2)
    assert any(f"options ( | {name} {value})" in said for said in observed.apart) == (
        column == "options"
    )


def test_more_nodes_for_the_same_devices_are_another_line():
    spread = [row | {"run_id": "spread"} for row in rows(2, [120], nodes=2)]
    runs = runs_of(rows(2, [190], nodes=1), spread)
    assert sorted(runs["placement"]) == ["1 a node", "packed"]


def test_strategies_that_differ_in_more_than_the_strategy_are_told():
    runs = runs_of(rows(1, [100]), rows(1, [80], strategy="mirrored", precision="mixed_bfloat16"))
    (sentence,) = kept_apart(runs)
    assert "differ in more than the strategy: precision" in sentence


def test_what_comes_with_a_framework_is_no_difference_between_strategies():
    """But within one framework it is; and a run's software is of its framework alone."""
    ours = rows(1, [100], cpu_math="oneDNN AVX2 (1 thread)")
    other = {"framework": "jax", "strategy": "sharded", "cpu_math": "XLA AVX2 (1 thread)"}
    runs = runs_of(ours, rows(1, [80], **other))
    assert list(kept_apart(runs)) == []
    assert sorted(look.label for look in looks(scaling_table(runs)).values()) == [
        "jax sharded",
        "tensorflow horovod",
    ]
    slow = rows(1, [70], strategy="mirrored", cpu_math="no oneDNN AVX2 (1 thread)")
    (sentence,) = kept_apart(runs_of(ours, slow, rows(1, [80], **other)))
    assert "more than the strategy: cpu_math (no oneDNN AVX2" in sentence
    packages = {"tensorflow-cpu": "2.18.1", "torch": "2.13.0", "jax": "0.10.2", "mpi4py": "4.1"}
    provenance = {"provenance": {"packages": packages}}
    assert software(provenance | {"identity": {"framework": "jax"}}) == "jax 0.10.2, mpi4py 4.1"
    assert software(provenance | {"identity": {"framework": "torch"}}) == "mpi4py 4.1, torch 2.13.0"


def test_frameworks_are_named_where_there_are_several():
    """A sentence says "torch single fc-64" only where another framework occurs too."""
    one = runs_of(rows(1, [100]))
    assert set(one["subject"]) == {"horovod fc-64"}
    torch = [row | {"run_id": "t"} for row in rows(1, [90], framework="torch", strategy="ddp")]
    both = runs_of(rows(1, [100]), torch)
    assert set(both["subject"]) == {"tensorflow horovod fc-64", "torch ddp fc-64"}
    labels = {look.label for look in looks(scaling_table(both)).values()}
    assert {label.split(",")[0] for label in labels} == {"tensorflow horovod", "torch ddp"}


def test_what_is_not_known_is_not_named():
    """Of imported runs no options are known: their label does not end in an empty one."""
    both = [row | {"run_id": "own"} for row in rows(1, [90])]
    runs = runs_of(rows(1, [100]), both)
    runs = with_names(runs.assign(options=["", "optimizer sgd"]))
    labels = {look.label for look in looks(scaling_table(runs)).values()}
    assert labels == {"horovod", "horovod, options optimizer sgd"}
    three = with_names(pd.concat([runs, runs.tail(1).assign(options="optimizer adam")]))
    assert three["line"].iloc[0] == "horovod fc-64"
