"""The sites of real machines, and what each makes of 1, 4, 8 and 16 devices."""

import io
import json
import re
import shlex
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest

from hpcbench.analysis.report.provenance import facts_of
from hpcbench.cluster.launchers import LAUNCHERS, Placement
from hpcbench.cluster.schedulers import Allocation, Job
from hpcbench.cluster.site import SAID_IN, Site, read_site, site_of_job
from hpcbench.config import OutputConfig, RunConfig
from hpcbench.errors import ConfigError, EnvironmentLacks
from hpcbench.sweeps.arrays import right_sized
from hpcbench.sweeps.commands import job_command
from hpcbench.sweeps.plan import PlannedRun
from hpcbench.sweeps.queueing import Queueing
from support import ROOT

GOLDEN = ROOT / "tests" / "golden" / "sites"
COUNTS = (1, 4, 8, 16)
FILES = {path.stem: path for path in sorted((ROOT / "jobs" / "sites").glob("*.toml"))}
MACHINES = [name for name in FILES if name not in ("generic", "local-cluster")]
FILES["demanding"] = GOLDEN / "demanding.toml"


def lines_of(site: Site, name: str, devices: int) -> list[str]:
    """sbatch's line for a run on so many devices, the launcher's within the job, and sbatch's for
    the analysis; of a count that is not taken the sentence that says so."""
    config = RunConfig(
        model="cnn-pytorch", framework="torch", strategy="ddp", devices=devices, repeat=0
    )
    run = PlannedRun(config, Path("results"))
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            Queueing("golden", site, name, Path("results"), None, True).submit([run], right_sized)
        launcher, *arguments = job_command(run, OutputConfig(), site)
    except ConfigError as error:
        return [str(error)]
    program = arguments.index("-m")
    # Wherever this machine has the launcher, and its Python.
    step = [Path(launcher).name, *arguments[: program - 1], "python", *arguments[program:]]
    job, analysis = printed.getvalue().splitlines()
    return [job, shlex.join(step), analysis]


def golden_text(name: str, file: Path) -> str:
    site = read_site(str(file))
    found = {devices: lines_of(site, name, devices) for devices in COUNTS}
    parts = [f"# devices: {devices}\n" + "\n".join(of[:2]) for devices, of in found.items()]
    return "\n\n".join([*parts, f"# the analysis\n{found[1][-1]}"]) + "\n"


@pytest.mark.parametrize("name", [*MACHINES, "demanding"])
def test_the_lines_of_a_site(monkeypatch, name):
    monkeypatch.chdir(ROOT)
    assert golden_text(name, FILES[name]) == (GOLDEN / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", MACHINES)
def test_partitions_take_all_that_a_site_promises(name):
    site = read_site(str(FILES[name]))
    assert site.name == name
    powers = [2**power for power in range(20) if 2**power <= site.max_devices]
    chosen = [site.partition(devices) for devices in [*powers, site.max_devices]]
    counts = range(1, site.max_devices + 1)
    for partition in site.partitions:
        assert partition in chosen, "no count of a sweep comes to it"
        assert partition.min_devices <= partition.max_devices <= site.max_devices
        wanted = [n for n in counts if partition.min_devices <= n <= partition.max_devices]
        assert all(site.partition(n) == partition for n in wanted), "partitions overlap"


@pytest.mark.parametrize("name", MACHINES)
def test_a_site_says_after_what_it_is_written_and_when(name):
    lines = FILES[name].read_text().splitlines()
    head = " ".join(line[2:] for line in lines[: lines.index(f'name = "{name}"')])
    assert re.search(r"https://\S+", head)
    assert re.search(r"\bread \d{4}-\d{2}-\d{2}\b", head)
    assert "Not tried there" in head
    assert "Fill in: " in head
    assert "Not found: " in head


def test_a_suffix_reaches_the_runs_as_a_variable():
    site = read_site(str(FILES["juwels-booster"]))
    told = {"HPCBENCH_RENDEZVOUS_SUFFIX": "i"}
    assert (site.environment | told).items() <= site.variables.items()
    assert told.keys().isdisjoint(read_site(str(FILES["delta"])).variables)


def test_a_partition_without_a_name_wants_what_else_chooses_it(tmp_path):
    text = FILES["jean-zay-h100"].read_text()
    path = tmp_path / "site.toml"
    path.write_text(text.replace("constraint = ", "# constraint = "))
    with pytest.raises(ConfigError, match="without a name wants a qos or a constraint"):
        read_site(str(path))


def test_a_job_as_typed_is_bound_as_its_partition_says_and_has_the_devices_of_its_site():
    lumi = read_site(str(FILES["lumi-g"]))
    of_job = {"nodes": 1, "cpus_per_node": 56, "tasks_per_node": 8, "cpus_per_task": 7}
    job = Job(scheduler="slurm", partition="standard-g", allocation=Allocation(**of_job))
    with pytest.raises(
        EnvironmentLacks, match="devices of site lumi-g are GPUs, and this job is told of none"
    ):
        site_of_job(job, 56, lumi)
    job = replace(job, allocation=Allocation(**of_job, gpus_per_node=8))
    (mask,) = site_of_job(job, 56, lumi).options_of_srun(8)
    assert mask.startswith("--cpu-bind=mask_cpu:")
    assert site_of_job(replace(job, partition="small-g"), 56, lumi).options_of_srun(8) == []


def test_the_report_says_what_a_partition_and_the_environment_were():
    for name, devices, told, untold in (
        ("lumi-g", 16, ["partition standard-g", "srun_options --cpu-bind=mask"], "small-g"),
        ("lumi-g", 4, ["partition small-g"], "cpu-bind"),
        ("perlmutter", 2, ["qos shared", "exclusive False"], "regular"),
        ("alps", 8, ["NCCL_NET=AWS Libfabric"], "max_devices 64;"),
    ):
        says = json.loads(read_site(str(FILES[name])).variables[SAID_IN])
        document = {"provenance": {"site": says}}
        facts = dict(facts_of([document], devices))["site"]
        assert all(part in facts for part in told), facts
        assert untold not in facts


def test_one_task_a_node_has_all_of_its_nodes_gpus():
    placement = Placement(
        ranks=2, per_node=1, nodes=2, gpus=True, gpus_per_rank=4, gpu_request="per-task"
    )
    assert "--gpus-per-task=4" in LAUNCHERS["srun"].command(["true"], placement)
    a_node = LAUNCHERS["srun"].command(["true"], replace(placement, gpu_request="gres"))
    assert "--gres=gpu:4" in a_node


@pytest.mark.parametrize(
    ("name", "devices", "says"),
    [
        ("mahti", 3, "no partition of site mahti takes 3 devices"),
        ("expanse", 32, "site expanse has at most 16 devices for a job, not 32"),
    ],
)
def test_a_count_that_a_machine_does_not_take(name, devices, says):
    assert lines_of(read_site(str(FILES[name])), name, devices) == [says]
