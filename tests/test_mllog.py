"""MLPerf's log, read back by MLPerf's own parser."""

import re

import pandas as pd
import pytest
from mlperf_logging.compliance_checker import mlp_parser

from support import only_run, train

pytestmark = pytest.mark.slow

EPOCHS = 6


@pytest.mark.parametrize(
    ("target", "status", "devices"), [(0.85, "success", 1), (0.85, "success", 2), (2, "aborted", 1)]
)
def test_time_to_train_is_read_from_the_log(results, target, status, devices):
    done = train(
        results,
        "--dataset=mnist-5k",
        f"--epochs={EPOCHS}",
        "--mllog",
        f"--target={target}",
        "--seed=7",
        strategy="mpi" if devices > 1 else "single",
        devices=devices,
    )
    assert done.status == 0, done.errors
    folder, document = only_run(results)
    lines, errors = mlp_parser.parse_file(folder / "mllog.txt", ruleset="4.1.0")
    assert not errors
    events = {line.key: line for line in lines}
    order = [line.key for line in lines if not re.match("epoch|eval_a|eval_s", line.key)]
    assert [order[0], *order[-3:]] == ["init_start", "init_stop", "run_start", "run_stop"]
    times = [line.timestamp for line in lines]
    assert times == sorted(times)
    assert events["seed"].value["value"] == 7
    assert events["global_batch_size"].value["value"] == document["schedule"]["global_batch"]
    assert events["run_stop"].value["metadata"]["status"] == status
    # Training ends at the first evaluation that is good enough, and the log says the same.
    epochs = pd.read_csv(folder / "accuracy.csv")
    logged = [line.value["value"] for line in lines if line.key == "eval_accuracy"]
    assert logged == pytest.approx(epochs["test_metric"].tolist())
    assert [value >= target for value in logged[:-1]] == [False] * (len(logged) - 1)
    assert (logged[-1] >= target) == (status == "success")
    assert len(logged) < EPOCHS if status == "success" else len(logged) == EPOCHS
    # Its clock holds evaluations and compiling too, so it is longer than the training's.
    seconds = (events["run_stop"].timestamp - events["run_start"].timestamp) / 1000
    assert seconds > epochs["train_seconds"].sum()


def test_a_log_without_a_target_is_refused(results):
    done = train(results, "--mllog")
    assert done.status == 2
    assert "--target" in done.errors
    assert not list(results.rglob("*"))
