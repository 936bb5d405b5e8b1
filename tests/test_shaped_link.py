"""A network that is slow between two nodes is what a step is said to lose its time to."""

import json
import math

import pytest

import hpcbench
from support import RANKS, ROOT
from support.slurm import Cluster, cluster_in

pytestmark = pytest.mark.slow

MEGABITS = 200
# Of fc-512, in float32.
GRADIENT_BYTES = 4 * (784 * 512 + 512 + 512 * 10 + 10)
# Of the network in torch_loop.py.
PROGRAMS_BYTES = 4 * 203_530
SWEEP = """name = "sweep"
repeats = 2
devices = [1, 2]
strategies = ["mpi"]
[settings]
train_samples = 2560
test_samples = 500
epochs = 2
interval_steps = 4
[[models]]
model = "fc-512"
"""


@pytest.fixture(scope="module")
def shaped(tmp_path_factory):
    """Two nodes with such a link between them."""
    with cluster_in("--rate", f"{MEGABITS}mbit") as folder:
        if not (folder / "run" / "bridge").exists():
            pytest.skip("nodes have no network of their own here")
        yield Cluster(folder, tmp_path_factory.mktemp("shaped") / "results")


def test_a_slow_link_between_nodes_is_blamed_by_its_milliseconds(shaped, tmp_path):
    """It is what the link takes, and no more than was lost."""
    sweep, results = tmp_path / "sweep.toml", tmp_path / "results"
    sweep.write_text(SWEEP)
    script = ("--nodes=2", "--ntasks-per-node=1", "--array=1-2%1", "jobs/scale_sweep.sh")
    shaped.sbatch(*script, "--sweep", sweep, "--results", results)
    shaped.wait_for_empty_queue()
    (row,) = hpcbench.load(results).why.to_dict("records")
    assert row["blamed"][0] == "exchange"
    # Each of two ranks sends as much as there is.
    assert row["exchange_seconds"] > 0.8 * 8 * GRADIENT_BYTES / (MEGABITS * 1e6)
    assert row["exchange_seconds"] < 1.2 * row["loss_seconds"]


def test_pytorchs_profiler_sees_the_same_exchange(shaped):
    """What phases tell by leaving the exchange out, its trace shows as time of a step in which
    gradients are under way and nothing of the model runs."""
    pytest.importorskip("torch")
    line = ("srun", "--nodes=2", "--ntasks-per-node=1", "python")
    done = shaped.run(*line, RANKS / "profiled_exchange.py")
    assert done.status == 0, done.errors
    (told,) = (json.loads(line) for line in done.output.splitlines() if line.startswith("{"))
    assert told["phases"] > 0.8 * 8 * GRADIENT_BYTES / (MEGABITS * 1e6)
    assert math.isclose(told["profiler"], told["phases"], rel_tol=0.2)
    assert told["profiler_without"] < 0.01 * told["profiler"]


def test_a_program_that_nobody_edited_is_told_that_its_exchange_is_slow(shaped):
    """By the times that DDP takes itself; it is what the link takes, and no more than was lost."""
    pytest.importorskip("torch")
    torchrun = ("torchrun", "--nnodes={nodes}", "--nproc-per-node={devices_per_node}")
    meet = ("--rdzv-backend=c10d", "--rdzv-endpoint={main_address}:{main_port}")
    line = ("scale", "--devices=1,2", "--repeats=2", "--start=per-node", "--interval-seconds=0.02")
    where = ("--site=local-cluster", "--results", shaped.results)
    program = (ROOT / "tests" / "programs" / "torch_loop.py", "short")
    done = shaped.run("python", "-m", "hpcbench", *line, *where, "--", *torchrun, *meet, *program)
    assert done.status == 0, done.errors
    shaped.wait_for_empty_queue()
    (row,) = hpcbench.load(shaped.results).why.to_dict("records")
    assert row["blamed"][0] == "extra_exchange"
    assert row["extra_exchange_seconds"] > 0.8 * 8 * PROGRAMS_BYTES / (MEGABITS * 1e6)
    assert row["extra_exchange_seconds"] < 1.2 * row["loss_seconds"]
