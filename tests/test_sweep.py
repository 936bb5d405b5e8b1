"""A sweep file becomes runs and job scripts' lines; finished runs are not run again."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbench import train
from hpcbench.cli import Parser
from hpcbench.cluster.schedulers import SCHEDULERS, ArrayJob, Job
from hpcbench.cluster.site import Site, read_site
from hpcbench.config import OutputConfig
from hpcbench.errors import ConfigError
from hpcbench.sweeps.arrays import right_sized
from hpcbench.sweeps.commands import job_command, local_command, train_command
from hpcbench.sweeps.failures import said_last
from hpcbench.sweeps.plan import Plan, SweepFile, make_plan, read_sweep
from hpcbench.sweeps.runner import Runner
from support import ROOT, environment, run
from support.sweeps import SMALL, TWO, sweep_file


def test_the_default_sweep_is_three_models_two_strategies_two_counts_three_repeats(tmp_path):
    runs = make_plan(read_sweep(ROOT / "jobs" / "sweeps" / "default.toml"), tmp_path, TWO).runs
    assert len(runs) == 36
    assert len({run.config.run_id for run in runs}) == 36
    assert [run.config.repeat for run in runs] == sorted(run.config.repeat for run in runs)
    first = [(r.config.model, r.config.strategy, r.config.devices) for r in runs[:12]]
    second = [(r.config.model, r.config.strategy, r.config.devices) for r in runs[12:24]]
    assert sorted(first) == sorted(second)
    assert first != second, "the order is not drawn anew for each repeat"


def test_run_ids_of_the_first_default_sweep_are_those_of_the_first_version(tmp_path):
    """Results on disk carry them: they change only when what is measured does. Today's default
    sweep measures for two seconds at least."""
    text = (ROOT / "jobs" / "sweeps" / "default.toml").read_text()
    assert "\nseconds = 2\n" in text
    sweep = read_sweep(sweep_file(tmp_path, text.replace("\nseconds = 2\n", "\n")))
    # Planning looks where the data are and reads none.
    (tmp_path / "mnist.npz").touch()
    runs = make_plan(sweep, tmp_path, TWO, data_dir=tmp_path).runs
    golden = json.loads((ROOT / "tests" / "golden" / "run_ids.json").read_text())
    assert {str(run): run.config.run_id for run in runs} == golden


def test_a_model_may_have_strategies_and_device_counts_of_its_own(tmp_path):
    (tmp_path / "mnist.npz").touch()
    own = [
        {"model": "fc-64"},
        {"model": "cnn-1", "strategies": ["single"], "devices": [1]},
        {"model": "cnn-2", "devices": [2]},
    ]
    sweep = SweepFile(name="own", repeats=1, devices=[1, 2], strategies=["mirrored"], models=own)

    def planned(counts=None, machine=TWO):
        runs = make_plan(sweep, tmp_path, machine, tmp_path, counts).runs
        return sorted((r.config.model, r.config.strategy, r.config.devices) for r in runs)

    shared = [("fc-64", "mirrored", 1), ("fc-64", "mirrored", 2)]
    assert planned() == [("cnn-1", "single", 1), ("cnn-2", "mirrored", 2), *shared]
    assert planned([2]) == [("cnn-2", "mirrored", 2), ("fc-64", "mirrored", 2)]
    four = replace(TWO, devices_per_node=4, max_devices=4)
    assert planned([4], four) == [("fc-64", "mirrored", 4)]
    assert sweep.device_counts(4) == [1, 2]
    without = {"name": "own", "repeats": 1, "models": [own[1]]}
    assert SweepFile(**without).device_counts(4) == [1]
    with pytest.raises(ValueError, match="strategies is missing or empty"):
        SweepFile(**without | {"models": own})


def test_the_workshops_sweep_has_all_of_its_networks(tmp_path):
    """AlexNet's halves on two devices of one process, the others as their entries say."""
    sweep = read_sweep(ROOT / "jobs" / "sweeps" / "workshop.toml")
    for name in ("mnist.npz", "boston_housing.npz"):
        (tmp_path / name).touch()
    cifar = tmp_path / "cifar-10-batches-py"
    cifar.mkdir()
    for part in (*map("data_batch_{}".format, range(1, 6)), "test_batch"):
        (cifar / part).touch()
    runs = make_plan(sweep, tmp_path, TWO, data_dir=tmp_path).runs
    seven = {"fc-64", "fc-512", "fc-512x3", "cnn-1", "cnn-2", "cnn-dropout", "cnn-batchnorm"}
    assert seven < {run.config.model for run in runs}
    split = {run.config.devices for run in runs if run.config.strategy == "model-parallel"}
    assert split == {2}


def test_horovod_exchanges_on_gpus_as_its_users_have_it(tmp_path):
    """Tensor by tensor, unless that is measured to be slower, as it is on CPUs."""
    sweep = read_sweep(ROOT / "jobs" / "sweeps" / "default.toml")
    (tmp_path / "mnist.npz").touch()
    ways = {}
    for machine in (TWO, replace(TWO, gpus=True)):
        runs = make_plan(sweep, tmp_path, machine, data_dir=tmp_path).runs
        ways[machine.gpus] = {run.config.strategy: run.config.exchange for run in runs}
    assert ways == {
        False: {"horovod": "flat", "mirrored": "flat"},
        True: {"horovod": "per-tensor", "mirrored": "flat"},
    }


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('name = "small"', 'name = "a; rm -rf b"'), "name a; rm"),
        (('name = "small"', 'name = "../up"'), "name ../up"),
        (("devices = [1, 2]", "devices = [0]"), "devices.0 0"),
        (("devices =", "device ="), "did you mean 'devices'"),
        (('model = "fc-64"', 'model = "$(reboot)"'), "unknown model"),
        (("epochs = 1", "epoch = 1"), "did you mean 'epochs'"),
        (("[settings]", "[settings"), "sweep file"),
        (
            ("[settings]", "[settings]\ndevices = 4"),
            "devices is set for the whole sweep",
        ),
        (
            ('model = "fc-64"', 'model = "fc-64"\nstrategy = "single"'),
            "strategy is set by strategies, a list",
        ),
        (("devices = [1, 2]", "devices = [true]"), "devices.0 True"),
    ],
)
def test_a_bad_sweep_file_is_refused(tmp_path, change, says):
    with pytest.raises(ConfigError) as error:
        make_plan(read_sweep(sweep_file(tmp_path, SMALL.replace(*change))), tmp_path, TWO)
    assert says in str(error.value)


def test_an_editors_mark_of_the_encoding_does_not_matter(tmp_path):
    path = sweep_file(tmp_path, SMALL)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_sweep(path).name == "small"


def test_a_sweep_without_models_says_so(tmp_path):
    text = SMALL.partition("[[models]]")[0].replace("[settings]", "models = []\n[settings]")
    with pytest.raises(ConfigError, match=r"sweep.toml: models is missing or empty$"):
        read_sweep(sweep_file(tmp_path, text))


SITE = Site(name="s", devices_per_node=4, cores_per_device=2, max_devices=64)


def planned(tmp_path, text, site=SITE) -> Plan:
    return make_plan(read_sweep(sweep_file(tmp_path, text)), tmp_path, site.machine)


def test_device_counts_are_powers_of_two_up_to_what_there_is(tmp_path):
    text = SMALL.replace("devices = [1, 2]\n", "").replace("train_samples = 2560", "batch = 16")
    counts = {run.devices for run in planned(tmp_path, text).runs}
    assert counts == {1, 2, 4, 8, 16, 32, 64}
    text = text.replace("[settings]", "max_devices = 9\n[settings]")
    assert {run.devices for run in planned(tmp_path, text).runs} == {1, 2, 4, 8}


def test_what_a_node_cannot_hold_is_left_out_and_said(tmp_path):
    text = SMALL.replace("devices = [1, 2]", "devices = [1, 4, 8]")
    found = planned(tmp_path, text.replace('["horovod"', '["single", "horovod"'))
    by_strategy = {}
    for one in found.runs:
        by_strategy.setdefault(one.config.strategy, set()).add(one.devices)
    assert by_strategy == {"single": {1}, "horovod": {1, 4, 8}, "mirrored": {1, 4}}
    assert found.left_out == [
        "single on 4 devices: it runs on one device",
        "single on 8 devices: it runs on one device",
        "mirrored on 8 devices: it runs on one node",
    ]


@given(runs=st.integers(1, 60), limit=st.integers(2, 20))
def test_arrays_split_at_the_sites_limit_and_lose_nothing(tmp_path_factory, runs, limit):
    site = SITE.model_copy(update={"max_array_size": limit})
    # All runs of a repeat on one device become one array, if the site's are large enough.
    models = "\n".join(f'[[models]]\nmodel = "fc-64"\nepochs = {n}' for n in range(1, runs + 1))
    text = SMALL.replace('[[models]]\nmodel = "fc-64"', models).replace('"horovod", ', "")
    found = planned(tmp_path_factory.mktemp("sweep"), text, site)
    split = right_sized(found.runs, site)
    assert all(0 < len(array.tasks) <= limit for array in split)
    ids = [run.config.run_id for array in split for task in array.tasks for run in task]
    assert sorted(ids) == sorted(run.config.run_id for run in found.runs)
    assert all(place < number for number, array in enumerate(split) for place in array.after)


@pytest.mark.parametrize("launcher", ["srun", "mpirun", "horovodrun"])
def test_launchers_start_the_ranks_of_a_job(tmp_path, launcher):
    text = SMALL.replace("devices = [1, 2]", "devices = [2, 8]")
    site = SITE.model_copy(update={"launcher": launcher})
    lines = {}
    for one in planned(tmp_path, text, site).runs:
        if one.config.strategy == "horovod" and (launcher, one.devices) == ("horovodrun", 8):
            with pytest.raises(ConfigError, match="ssh"):
                job_command(one, OutputConfig(), site)
            continue
        lines[one.config.strategy, one.devices] = job_command(one, OutputConfig(), site)
    assert lines["mirrored", 2][1:3] == ["-m", "hpcbench.train"], "one process needs no launcher"
    two = lines["horovod", 2]
    assert two[two.index("-m") :] != []
    start = " ".join(two[: two.index("-m") - 1])
    assert {
        "srun": "srun --export=ALL --mpi=pmix --nodes=1 --ntasks=2 --ntasks-per-node=2 "
        "--cpus-per-task=2 --gpus-per-node=2 --kill-on-bad-exit=1",
        "mpirun": "mpirun -np 2 --map-by ppr:2:node --bind-to none --oversubscribe",
        "horovodrun": "horovodrun -np 2",
    }[launcher] in start


@pytest.mark.slow
def test_a_container_wraps_the_program_and_not_the_launcher(tmp_path, monkeypatch):
    data = tmp_path / "data"
    data.mkdir()
    monkeypatch.setenv("HPCBENCH_DATA", str(data))
    site = SITE.model_copy(update={"container": Path("/images/a b.sif")})
    (one,) = planned(tmp_path, SMALL.replace("[1, 2]", "[2]").replace(', "mirrored"', "")).runs
    line = job_command(one, OutputConfig(), site)
    assert line[0] == "srun"
    program = line[line.index("apptainer") :]
    python = "/opt/hpcbench/.venv/bin/python"
    assert program[:3] == ["apptainer", "exec", "--nv"]
    folders = {part for part in program if part.startswith("--bind=")}
    assert {f"--bind={ROOT}", f"--bind={ROOT / 'results'}", f"--bind={data}"} <= folders
    assert program[3 + len(folders) :][:4] == [f"--pwd={ROOT}", "/images/a b.sif", python, "-m"]


@pytest.mark.parametrize("site", ["generic", "local-cluster"])
def test_the_sbatch_lines_of_a_sweep(tmp_path, site):
    sweep = ["python", "-m", "hpcbench.sweep", "submit", "tests/golden/sweep.toml"]
    done = run([*sweep, "--site", site, "--results", tmp_path, "--dry-run"])
    assert done.status == 0, done.errors
    lines = done.output.replace(str(tmp_path), "RESULTS")
    assert lines == (ROOT / "tests" / "golden" / f"{site}.txt").read_text()
    assert not list(tmp_path.iterdir()), "a dry run wrote something"


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--array=1-9", "--array is what the harness sets itself"),
        ("--time=2", "--time is what time says"),
        ("--gpus-per-node=8", "--gpus-per-node is what gpu_request says"),
        ("-C gpu", "is not like --name or --name=value"),
        ("--mem 0", "is not like --name or --name=value"),
        ("$(reboot)", "is not like --name or --name=value"),
        ("--parti=cpu", "--parti is short for --partition; write options in full"),
        ("--gres=gpu:1", "--gres=gpu:1: GPUs are what gpu_request and gpu_type say"),
        ("--no-requeue", "--no-requeue is what the harness sets itself"),
    ],
)
@pytest.mark.parametrize("key", ["sbatch_options", "srun_options"])
def test_an_option_that_is_not_the_sites_to_set(tmp_path, key, option, says):
    path = tmp_path / "site.toml"
    path.write_text(
        'name = "s"\ndevices_per_node = 1\ncores_per_device = 1\nmax_devices = 1\n'
        f"{key} = ['{option}']\n"
    )
    with pytest.raises(ConfigError, match=re.escape(says)):
        read_site(str(path))


def test_ranks_have_the_whole_environment_of_their_job(tmp_path):
    path = tmp_path / "site.toml"
    text = 'name = "s"\ndevices_per_node = 1\ncores_per_device = 1\nmax_devices = 1\n'
    path.write_text(text + 'sbatch_options = ["--export=NONE"]\n')
    assert read_site(str(path)).sbatch_options == ["--export=NONE"]
    path.write_text(text + 'srun_options = ["--export=NONE"]\n')
    with pytest.raises(ConfigError, match="ranks get the whole environment of their job"):
        read_site(str(path))


def test_further_generic_resources_stand_beside_the_gpus(tmp_path):
    """Of two options Slurm would take the last."""
    path = tmp_path / "site.toml"
    path.write_text(
        'name = "s"\ndevices_per_node = 4\ncores_per_device = 1\nmax_devices = 4\n'
        'gpu_request = "gres"\nsbatch_options = ["--gres=tmp:10G", "--exclude=n1"]\n'
    )
    job = ArrayJob("a", 1, read_site(str(path)).request(4), Path("r"), Path("l"), 1)
    options = [each for each in SCHEDULERS["slurm"].array_command(job) if each.startswith("--gres")]
    assert options == ["--gres=gpu:4,tmp:10G"]


@pytest.mark.parametrize(
    "change",
    [
        ('name = "s"', 'name = "s; reboot"'),
        ("time = '1'", "time = '1 --wrap=reboot'"),
        ("launcher = 'srun'", "launcher = 'sh'"),
        ("gpu_type = 'a'", "gpu_type = '$(reboot)'"),
        ("A = '1'", "'A B' = '1'"),
    ],
)
def test_a_hostile_site_file_is_refused(tmp_path, change):
    text = """name = "s"
time = '1'
launcher = 'srun'
gpu_type = 'a'
devices_per_node = 1
cores_per_device = 1
max_devices = 1
environment = {A = '1'}
"""
    path = tmp_path / "site.toml"
    path.write_text(text)
    assert read_site(str(path)).environment == {"A": "1"}
    path.write_text(text.replace(*change))
    done = run(["python", "-m", "hpcbench.sweep", "plan", sweep_file(tmp_path), "--site", path])
    assert done.status == 2
    assert done.errors.startswith("hpcbench: site file")
    assert "Traceback" not in done.errors


def test_planning_and_status_load_no_framework(tmp_path):
    code = (
        "import sys; from hpcbench.sweep import main; status = main(sys.argv[1:]);"
        "sys.exit(status or bool({'tensorflow', 'keras', 'horovod', 'mpi4py'} & set(sys.modules)))"
    )
    for command in ("plan", "status"):
        done = run(["python", "-c", code, command, sweep_file(tmp_path), "--results", tmp_path])
        assert done.status == 0, done.errors


def test_the_command_line_holds_the_whole_configuration(tmp_path):
    planned = make_plan(read_sweep(sweep_file(tmp_path)), tmp_path, TWO).runs[0]
    line = local_command(planned, OutputConfig(sweep="small"))
    for flag in ("--epochs=1", "--train-samples=2560", "--repeat=0", "--sweep=small"):
        assert flag in line


@pytest.mark.parametrize(
    "name", [path.stem for path in sorted((ROOT / "jobs" / "sweeps").glob("*.toml"))]
)
def test_what_is_planned_is_what_the_command_line_asks_for(tmp_path, name, monkeypatch):
    """Of each run of the sweeps that come with the program, as its process reads the line."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("HPCBENCH_DATA", raising=False)
    for file in ("datasets/mnist.npz", "datasets/boston_housing.npz", "datasets/cifar10.npz"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        np.savez(tmp_path / file, x_train=np.zeros((50_000, 1)))
    runs = make_plan(read_sweep(ROOT / "jobs" / "sweeps" / f"{name}.toml"), tmp_path, TWO).runs
    parser = Parser(prog="hpcbench train")
    train.add_arguments(parser)
    for planned in runs:
        line = train_command(planned.config, OutputConfig(), "python")
        assert train.asked(parser.parse(line[3:])).run_id == planned.config.run_id, planned


def test_a_sweep_of_which_nothing_fits_is_refused(tmp_path):
    path = sweep_file(tmp_path, SMALL.replace("[1, 2]", "[2]").replace('"horovod"', '"single"'))
    path.write_text(path.read_text().replace(', "mirrored"', ""))
    done = run(["python", "-m", "hpcbench.sweep", "plan", path])
    assert done.status == 2
    assert "sweep small has no run left: single on 2 devices: it runs on one device" in done.errors


def test_plotting_nothing_is_one_sentence(tmp_path):
    missing = run(["python", "analysis/plot_scaling.py", tmp_path / "none"])
    empty = run(["python", "analysis/plot_scaling.py", tmp_path])
    assert (missing.status, empty.status) == (2, 3)
    assert "does not exist" in missing.errors
    assert "no complete run" in empty.errors


DASHES = 60 * "-" + "\n"


def failing(planned, folder, printed, written=""):
    """What becomes of a run whose program prints this and ends with 3, perhaps after a run.json."""
    folder.mkdir(exist_ok=True)
    lines = [f"print({printed!r})", "import sys", "from pathlib import Path"]
    if written:
        lines.append(f"Path({str(planned.folder / 'run.json')!r}).write_text({written!r})")
    program = "\n".join([*lines, "sys.exit(3)"])
    return Runner(folder).run(planned, [sys.executable, "-c", program])


def test_why_a_run_failed_is_its_own_word_and_of_its_last_attempt(tmp_path):
    planned = make_plan(read_sweep(sweep_file(tmp_path)), tmp_path, TWO).runs[0]
    logs, document = tmp_path / "logs", planned.folder / "run.json"
    # mpirun draws pages around what its ranks said.
    said = f"hpcbench: there is no disk\n{DASHES}mpirun noticed that a rank died\n{DASHES}"
    outcome = failing(planned, logs, said)
    assert outcome.reason == "there is no disk"
    assert "FAILED (3): there is no disk; see" in str(outcome)
    assert json.loads(document.read_text())["message"] == "there is no disk"
    # Another reason at the next try, in the same log; and no word at all.
    failing(planned, logs, "slurmstepd: killed\n" + DASHES)
    assert json.loads(document.read_text())["message"] == "slurmstepd: killed"
    failing(planned, logs, "")
    assert json.loads(document.read_text())["message"] == "nothing stands in its log"
    assert said_last(logs / "deleted.log", 0) == "its log is gone"
    # A run that is complete, or that another process is writing, is not ours to call failed.
    for state in ("complete", "running"):
        theirs = json.loads(document.read_text()) | {"status": state, "message": "theirs"}
        document.write_text(json.dumps(theirs))
        failing(planned, logs, "hpcbench: another process is writing the run")
        assert json.loads(document.read_text()) == theirs
    # Of an earlier failure only the reason is replaced; what the trainer wrote itself stays.
    document.write_text(json.dumps(theirs | {"status": "failed", "provenance": {"a": 1}}))
    failing(planned, logs, "hpcbench: anew")
    now = json.loads(document.read_text())
    assert (now["message"], now["provenance"]) == ("anew", {"a": 1})
    failing(planned, logs, "hpcbench: other", written='{"message": "mine"}')
    assert json.loads(document.read_text())["message"] == "mine"


def test_jobs_that_may_cost_much_want_a_yes(tmp_path):
    """Before anything is queued, and where nobody can be asked."""
    site = tmp_path / "large.toml"
    site.write_text(
        'name = "large"\ndevices_per_node = 1\ncores_per_device = 4\nmax_devices = 2\n'
        'time = "2-00:00:00"\n'
    )
    file = sweep_file(tmp_path)
    line = ("python", "-m", "hpcbench.sweep", "submit", file, "--site", site)
    done = run([*line, "--results", tmp_path / "results"])
    assert done.status == 2
    assert (
        "the time limits of these jobs add up to 192 node-hours: --yes queues them" in done.errors
    )
    assert not (tmp_path / "results").exists()


def test_a_job_downloads_nothing(tmp_path):
    nowhere = {"HOME": str(tmp_path), "HPCBENCH_DATA": "", "KERAS_HOME": str(tmp_path / "keras")}
    line = ["python", "-m", "hpcbench.train", "--model=cnn-cifar", f"--results={tmp_path / 'r'}"]
    done = run(line, env=environment(SLURM_JOB_ID="1", **nowhere))
    assert done.status == 3
    assert "nothing is downloaded in a job" in done.errors
    assert "on a login node, python -m hpcbench.datasets.sources cifar10" in done.errors


def test_the_data_of_a_sweep_are_fetched(tmp_path):
    done = run(["python", "-m", "hpcbench.sweep", "fetch", sweep_file(tmp_path)])
    assert done.status == 0
    assert re.match("(fashion-)?mnist(-5k)?: /", done.output)


def test_what_slurm_prints_of_a_step_that_it_ends():
    """Between a program's own lines; a step that is cancelled without a reason had a rank die."""
    step = "slurmstepd: error: *** STEP 7.0 ON n1 CANCELLED AT 2026-01-01T00:00:00"
    for printed, failure, message in (
        (f"{step} DUE TO TIME LIMIT ***", "timeout", "time limit"),
        (f"{step} DUE TO NODE FAILURE ***", "node-lost", "a node failed"),
        (f"{step} DUE TO PREEMPTION ***", "preempted", "another job"),
        ("srun: error: Node failure on n2", "node-lost", "node n2 failed"),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=7.0.", "out-of-memory", "memory"),
        ("slurmstepd: error: Detected 2 oom-kill event(s) in step 7.0", "out-of-memory", "memory"),
        ("srun: error: n1: task 0: Out Of Memory", "out-of-memory", "memory"),
    ):
        found = SCHEDULERS["slurm"].ending(Job(), f"epoch 1\n{printed}\nepoch 2\n")
        assert found is not None
        assert found.failure == failure
        assert message in found.message
    for printed in (f"{step} ***", "srun: error: n1: task 1: Killed", "Node failure is no joke"):
        assert SCHEDULERS["slurm"].ending(Job(), printed) is None
