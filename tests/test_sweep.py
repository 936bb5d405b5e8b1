"""A sweep file becomes runs; finished ones are not run again."""

import pytest
from conftest import ROOT, run

from hpcbench.errors import ConfigError
from hpcbench.sweep import command, plan, read_sweep

SMALL = """
name = "small"
repeats = 1
devices = [1, 2]
strategies = ["horovod", "mirrored"]
[settings]
train_samples = 2560
epochs = 1
[[models]]
model = "fc-64"
"""


def sweep_file(tmp_path, text=SMALL):
    path = tmp_path / "sweep.toml"
    path.write_text(text)
    return path


def test_the_default_sweep_is_three_models_two_strategies_two_counts_three_repeats(tmp_path):
    runs = plan(read_sweep(ROOT / "jobs" / "sweeps" / "default.toml"), tmp_path)
    assert len(runs) == 36
    assert len({run.config.run_id for run in runs}) == 36
    assert [run.config.repeat for run in runs] == sorted(run.config.repeat for run in runs)
    first = [(r.config.model, r.config.strategy, r.config.devices) for r in runs[:12]]
    second = [(r.config.model, r.config.strategy, r.config.devices) for r in runs[12:24]]
    assert sorted(first) == sorted(second)
    assert first != second, "the order is not drawn anew for each repeat"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('name = "small"', 'name = "a; rm -rf b"'), "name a; rm"),
        (('name = "small"', 'name = "../up"'), "name ../up"),
        (("devices = [1, 2]", "devices = [0]"), "devices.0 0"),
        (("devices", "device"), "did you mean 'devices'"),
        (('model = "fc-64"', 'model = "$(reboot)"'), "unknown model"),
        (("epochs = 1", "epoch = 1"), "did you mean 'epochs'"),
        (("[settings]", "[settings"), "sweep file"),
    ],
)
def test_a_bad_sweep_file_is_refused(tmp_path, change, says):
    with pytest.raises(ConfigError) as error:
        plan(read_sweep(sweep_file(tmp_path, SMALL.replace(*change))), tmp_path)
    assert says in str(error.value)


def test_the_command_line_holds_the_whole_configuration(tmp_path):
    planned = plan(read_sweep(sweep_file(tmp_path)), tmp_path)[0]
    line = command(planned, tmp_path, "small", None)
    for flag in ("--epochs=1", "--train-samples=2560", "--repeat=0", "--sweep=small"):
        assert flag in line


def test_a_sweep_runs_plots_and_skips_what_is_done(tmp_path):
    path = sweep_file(tmp_path)
    results = tmp_path / "results"
    sweep = ["python", "-m", "hpcbench.sweep", "run", path, "--results", results]
    first = run(sweep)
    assert first.status == 0, first.output + first.errors
    assert first.output.count(": done,") == 4
    again = run(sweep)
    assert again.status == 0
    assert "4 complete already" in again.output
    plots = run(["python", "analysis/plot_scaling.py", results, "--output", tmp_path / "figures"])
    assert plots.status == 0, plots.errors
    for name in ("overview", "throughput", "speedup", "efficiency", "accuracy_epochs"):
        for suffix in ("png", "svg"):
            assert (tmp_path / "figures" / f"{name}.{suffix}").stat().st_size > 5000
    assert (tmp_path / "figures" / "scaling.csv").read_text().count("\n") == 5


def test_a_failed_run_is_told_and_run_again(tmp_path):
    bad = SMALL.replace("epochs = 1", "epochs = 1\nlearning_rate = 1e30\noptimizer = 'sgd'")
    bad = bad.replace("[1, 2]", "[1]").replace('"horovod", ', "")
    path = sweep_file(tmp_path, bad)
    sweep = ["python", "-m", "hpcbench.sweep", "run", path, "--results", tmp_path / "results"]
    for _ in range(2):
        done = run(sweep)
        assert done.status == 4
        assert "FAILED (4)" in done.output
        assert "0 complete already" in done.output


def test_plotting_nothing_is_one_sentence(tmp_path):
    missing = run(["python", "analysis/plot_scaling.py", tmp_path / "none"])
    empty = run(["python", "analysis/plot_scaling.py", tmp_path])
    assert (missing.status, empty.status) == (2, 3)
    assert "does not exist" in missing.errors
    assert "no complete run" in empty.errors
