"""What others add without touching the package: by entry points, or by a file of their own."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from hpcbench.config import RunConfig
from hpcbench.errors import ConfigError
from hpcbench.models import MODELS, BuildContext
from hpcbench.records.reader import read_results
from hpcbench.runs.resolve import with_digest
from support import ROOT, environment, only_run, run
from support.networks import AUGMENTED

TOYS = ROOT / "tests" / "toys"
TRAIN = [sys.executable, "-m", "hpcbench.train", "--dataset=mnist-5k", "--epochs=2"]


def install(folder: Path, **groups: str) -> dict[str, str]:
    """The environment in which a package of one module for each group of ours is installed."""
    info = folder / "toys-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    lines = [f"[hpcbench.{group}]\ntoy = {module}\n" for group, module in groups.items()]
    (info / "entry_points.txt").write_text("".join(lines))
    for module in groups.values():
        shutil.copy(TOYS / f"{module}.py", folder)
    return environment(PYTHONPATH=str(folder))


@pytest.mark.slow
def test_a_framework_is_one_file(tmp_path, results):
    here = install(tmp_path, frameworks="toy_framework", models="toy_framework")
    done = run([*TRAIN, "--framework=toy", "--model=toy-linear", f"--results={results}"], env=here)
    assert done.status == 0, done.errors
    rows = read_results(results)
    assert set(rows.throughput["framework"]) == {"toy"}
    assert set(rows.throughput["cpu_math"]) == {"no oneDNN numpy's own (1 thread)"}
    assert rows.accuracy["test_metric"].iloc[-1] > 0.8
    # What it does not claim to have is refused.
    done = run([*TRAIN, "--framework=toy", "--model=toy-linear", "--xla"], env=here)
    assert (done.status, "--xla is not supported with framework toy" in done.errors) == (2, True)
    # And what else there is goes on without it.
    done = run([*TRAIN, "--model=fc-64", "--framework=toy"], env=here)
    assert "model fc-64 is not written for toy; choose from toy-linear" in done.errors


@pytest.mark.slow
def test_a_launcher_and_a_scheduler_are_one_file_each(tmp_path):
    """Two ranks of a sweep that is handed to a queue, with a site that names both."""
    here = install(tmp_path, launchers="toy_launcher", schedulers="toy_scheduler")
    site, sweep = tmp_path / "toy.toml", tmp_path / "sweep.toml"
    site.write_text(
        'name = "toy"\nscheduler = "toy-queue"\nlauncher = "toy-start"\ndevice = "cpu"\n'
        "devices_per_node = 2\ncores_per_device = 1\nmax_devices = 2\n"
    )
    sweep.write_text(
        'name = "s"\nrepeats = 1\ndevices = [1, 2]\nstrategies = ["multiworker"]\n'
        'datasets = ["mnist-5k"]\n[[models]]\nmodel = "fc-64"\nepochs = 1\n'
    )
    command = [sys.executable, "-m", "hpcbench", "sweep"]
    more = [sweep, "--site", site, "--results", tmp_path / "results"]
    done = run([*command, "submit", *more], env=here)
    assert done.status == 0, done.errors
    assert "sweep s: 2 done" in run([*command, "status", *more], env=here).output
    document = json.loads(next((tmp_path / "results").rglob("run.json")).read_text())
    assert "TOY_JOB_ID" in document["provenance"]["scheduler"]
    assert (tmp_path / "results" / "s" / "figures" / "report.html").exists()
    # Without the package, the site's words are not known.
    unknown = run([*command, "plan", *more], env=environment())
    assert unknown.status == 2
    assert "scheduler toy-queue: choose from slurm" in unknown.errors


@pytest.mark.slow
def test_a_package_that_does_not_load_is_named(tmp_path):
    here = install(tmp_path, launchers="toy_launcher")
    (tmp_path / "toy_launcher.py").write_text("import what_is_not_there\n")
    done = run([*TRAIN], env=here)
    assert done.status == 2
    assert "launcher 'toy' of package toys does not load: No module named" in done.errors


NET = """
def build(context):
    from keras import Input, Sequential, layers

    logits = layers.Dense(context.outputs, dtype=context.logits_dtype)
    return Sequential([Input(context.input_shape), layers.Flatten(), logits])
"""
TWO = """
from hpcbench.models import MODELS, ModelSpec

for name in ("small-net", "large-net"):
    MODELS.add(name, ModelSpec(name=name, build=lambda context: None, batch=7))
"""


def test_a_model_of_a_file_is_known_by_its_name_and_content(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "my_net.py").write_text(NET)
    configs = [with_digest(RunConfig(model=f"{folder}/my_net.py")) for folder in ("one", "other")]
    assert configs[0].run_id == configs[1].run_id, "the same file elsewhere is the same run"
    assert MODELS["one/my_net.py"].name == "my_net"
    (tmp_path / "changed.py").write_text(NET + "# another\n")
    (tmp_path / "my_net.py").write_text(NET + "# another\n")
    assert with_digest(RunConfig(model="my_net.py")).run_id != configs[0].run_id
    with pytest.raises(ConfigError, match="has changed since this run was planned"):
        with_digest(RunConfig(model="my_net.py", model_digest=configs[0].model_digest))
    (tmp_path / "two_nets.py").write_text(TWO)
    with pytest.raises(
        ConfigError, match=r"registers 2 models; name one, as in two_nets\.py:small"
    ):
        MODELS["two_nets.py"]
    assert MODELS["two_nets.py:large-net"].batch == 7
    (tmp_path / "self.py").write_text(TWO.replace('"small-net", "large-net"', '"self.py",'))
    assert MODELS["self.py"].name == "self.py"
    assert MODELS.source("fc-64") is None
    # As in python -m: a module of the working folder.
    assert MODELS["changed:build"].name == "changed"
    for name, says in (
        ("no.py", r"there is no file .*no\.py"),
        ("my_net.py:biuld", "did you mean 'build'"),
        ("no_such_module:build", "no_such_module does not load: ModuleNotFoundError"),
    ):
        with pytest.raises(ConfigError, match=says):
            MODELS[name]
    (tmp_path / "leaves.py").write_text("raise SystemExit(0)")
    with pytest.raises(ConfigError, match=r"leaves\.py ends the program as it loads; put"):
        MODELS["leaves.py"]
    (tmp_path / "nothing.py").write_text("")
    with pytest.raises(ConfigError, match="defines no function and registers no model"):
        MODELS["nothing.py"]
    (tmp_path / "broken.py").write_text("1 / 0")
    with pytest.raises(ConfigError, match=r"broken\.py does not load: ZeroDivisionError"):
        MODELS["broken.py"]


@pytest.mark.slow
def test_a_model_of_a_file_trains_and_is_in_provenance(tmp_path, results):
    (tmp_path / "my_net.py").write_text(NET)
    done = run([*TRAIN, f"--model={tmp_path}/my_net.py", f"--results={results}"])
    assert done.status == 0, done.errors
    _, document = only_run(results)
    assert document["identity"]["model"] == "my_net"
    assert document["model_file"]["path"] == f"{tmp_path}/my_net.py"
    assert document["config"]["model_digest"] == document["model_file"]["sha256"]
    assert document["parameters"] == 7850


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["tensorflow", "jax"])
def test_a_file_may_import_keras_as_it_loads_but_not_compute(tmp_path, results, framework):
    pytest.importorskip(framework)
    (tmp_path / "net.py").write_text(AUGMENTED)
    command = [*TRAIN, f"--framework={framework}", f"--results={results}"]
    done = run([*command, f"--model={tmp_path}/net.py"])
    assert done.status == 0, done.errors
    _, document = only_run(results)
    assert document["parameters"] == 784 + 784 * 16 + 16 + 16 * 10 + 10
    (tmp_path / "early.py").write_text(AUGMENTED + "\nkeras.ops.ones(3) + 1\n")
    done = run([*command, f"--model={tmp_path}/early.py"])
    assert done.status == 2
    assert f"hpcbench: {framework} had computed before it was told its cores" in done.errors
    assert "Traceback" not in done.errors


def context(**changes):
    values = {"input_shape": (28, 28, 1), "outputs": 10, "seed": 0, "logits_dtype": "float32"}
    return BuildContext(**values | changes, batch_normalization=lambda: None)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        ("return None", "returns no Keras model but NoneType"),
        ("return context.nothing", r"build of .*net\.py fails: AttributeError: .* 'nothing'"),
        ("raise ValueError('mine')", r"build of .*net\.py fails: ValueError: mine"),
        ("return keras.Sequential([L.Flatten(), L.Dense(7)])", r"gives \(.*7\) where .*, 10\)"),
        ("return keras.Sequential([L.Dense(10)])", r"gives \(.*28, 28, 10\) where it"),
        ("return keras.Sequential([L.Flatten(), L.Dense(10)])", None),
    ],
)
def test_what_a_users_function_returns_is_looked_at(tmp_path, build, says):
    from hpcbench.frameworks.keras_model import build_model

    net = tmp_path / "net.py"
    net.write_text(
        f"import keras\nfrom keras import layers as L\ndef build(context):\n    {build}\n"
    )
    if says is None:
        # Without an input layer, as most are written down.
        assert build_model("tensorflow", str(net), context()).count_params() == 7850
        return
    with pytest.raises(ConfigError, match=says):
        build_model("tensorflow", str(net), context())
