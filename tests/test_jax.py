"""JAX as a framework: one process or several, what is kept, and what it refuses."""

import json
import sys

import pytest

from hpcbench.errors import CommunicationFailed, OutOfMemory
from hpcbench.frameworks import FRAMEWORKS
from hpcbench.records.reader import read_results
from hpcbench.training.beside import phases_of
from support import RANKS, launcher, only_run, run
from support.networks import AUGMENTED

jax = pytest.importorskip("jax", reason="JAX is an optional extra")

FLAGS = ("--framework=jax", "--model=fc-64")


@pytest.mark.slow
def test_two_ranks_learn_and_time_their_phases(results):
    samples = ("--train-samples=6000", "--test-samples=500", "--epochs=2")
    done = run(
        [
            *launcher("jax-distributed", 2),
            *(sys.executable, "-X", "importtime", "-m", "hpcbench.train", f"--results={results}"),
            *(*FLAGS, *samples, "--checkpoint"),
        ]
    )
    assert done.status == 0, done.errors
    assert "keras.src" in done.errors
    assert "tensorflow.python" not in done.errors, "seconds of start-up for nothing"
    folder, document = only_run(results)
    assert (folder / "model.keras").exists()
    assert document["provenance"]["packages"]["jax"] == jax.__version__
    read = read_results(results)
    assert set(read.accuracy["framework"]) == {"jax"}
    assert set(read.accuracy["strategy"]) == {"jax-distributed"}
    losses = read.accuracy["train_loss"].tolist()
    assert losses[1] < losses[0]
    assert {"train", *phases_of(2)} == set(read.ranks["phase"])
    assert read.throughput["cpu_math"].str.startswith("XLA ").all()


RESUMED = """
import sys
import numpy as np
from hpcbench.cluster.launchers import Launch
from hpcbench.config import RunConfig
from hpcbench.datasets import DATASETS, synthetic
from hpcbench.frameworks import FRAMEWORKS
from hpcbench.frameworks.backend import Exchange, Workload
from hpcbench.schedule import make_schedule
from hpcbench.strategies import STRATEGIES

model, name, devices = sys.argv[1], sys.argv[2], int(sys.argv[3])
FRAMEWORKS["jax"].prepare(1, devices, 0)
strategy = STRATEGIES[name](Launch(), devices, "flat")
spec = DATASETS["mnist"]
data = synthetic.arrays(spec, seed=0).first(200, 50)
config = RunConfig(model=model, framework="jax", batch=8)

def backend():
    schedule = make_schedule(config, devices, 200)
    return FRAMEWORKS["jax"].backend(Workload(config, schedule, 0, spec, data, strategy))

def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))

order = np.random.default_rng(0).integers(0, 200, (6, devices, 8), np.int32)
rates = np.full(3, 0.1)
trained, fresh = backend(), backend()
start = trained.state()
assert same(start, fresh.state())

def after(*parts):
    # The state after parts of the training from its start.
    trained.restore(start)
    for part in parts:
        part(trained)
    trained.average_batch_norm_state()
    return trained.state()

def first_half(one):
    one.steps(order[:3], rates)

def second_half(one):
    one.steps(order[3:], rates, 3)

def whole(one):
    one.steps(order, np.full(6, 0.1))

def phases(one):
    before = one.state()
    with one.put_back():
        one.steps(order[3:], rates, exchange=Exchange.NONE)
        one.steps(order[:3], rates, exchange=Exchange.ONE_ELEMENT)
        one.exchanges(3, Exchange.GRADIENTS)
        assert not same(before, one.state())

half, through = after(first_half), after(first_half, second_half)
assert same(through, after(first_half, phases, second_half)), "phases change the training"
assert not same(half, through)
assert same(through, after(whole)), "another training where more steps are given at a time"
fresh.restore(half)
second_half(fresh)
fresh.average_batch_norm_state()
if model != "cnn-batchnorm" or devices == 1:
    # Of several devices only the averages of their moving statistics are kept.
    assert same(fresh.state(), through), "a resumed run is another"
try:
    fresh.restore(half[::-1])
except ValueError as error:
    print(error)
try:
    fresh.restore(half[1:])
except ValueError as error:
    print(error)
print(*fresh.evaluate(0, 50), *fresh.evaluate(0, 30) + fresh.evaluate(30, 50))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "strategy", "devices"),
    [("cnn-dropout", "single", 1), ("cnn-batchnorm", "sharded", 2), ("augmented.py", "single", 1)],
)
def test_state_is_kept_and_put_back(tmp_path, model, strategy, devices):
    if model == "augmented.py":
        (tmp_path / model).write_text(AUGMENTED)
        model = tmp_path / model
    done = run([sys.executable, "-c", RESUMED, model, strategy, str(devices)])
    assert done.status == 0, done.errors
    *errors, sums = done.output.splitlines()
    assert [error.partition(" ")[0] for error in errors] == ["shape", "shape"]
    loss, right, of_parts, right_of_parts = map(float, sums.split())
    assert right == right_of_parts
    assert loss == pytest.approx(of_parts, rel=1e-5)


SYNCHRONIZED = """
import numpy as np
from hpcbench.cluster.launchers import Launch
from hpcbench.config import RunConfig
from hpcbench.datasets import DATASETS, synthetic
from hpcbench.frameworks import FRAMEWORKS
from hpcbench.frameworks.backend import Workload
from hpcbench.schedule import make_schedule
from hpcbench.strategies import STRATEGIES

FRAMEWORKS["jax"].prepare(1, 2, 0)
spec = DATASETS["mnist"]
data = synthetic.arrays(spec, seed=0).first(200, 50)
order = np.random.default_rng(0).integers(0, 200, (6, 1, 16), np.int32)
states = {}
for mode in ("sync", "local"):
    for name, devices in (("single", 1), ("sharded", 2)):
        strategy = STRATEGIES[name](Launch(), devices, "flat")
        settings = {"precision": "float64", "optimizer": "sgd", "batch": 16 // devices}
        config = RunConfig(model="cnn-strided-bn", framework="jax", batchnorm=mode, **settings)
        workload = Workload(config, make_schedule(config, devices, 200), 0, spec, data, strategy)
        backend = FRAMEWORKS["jax"].backend(workload)
        backend.steps(order.reshape(6, devices, 16 // devices), np.full(6, 0.01))
        backend.average_batch_norm_state()
        states[mode, devices] = backend.state()

def apart(mode):
    pairs = zip(states[mode, 1], states[mode, 2], strict=True)
    return max(np.abs(one - two).max() for one, two in pairs)

print(apart("sync"), apart("local"))
"""

IN_PARTS = """
import numpy as np
from hpcbench.cluster.launchers import Launch
from hpcbench.config import RunConfig
from hpcbench.datasets import DATASETS, synthetic
from hpcbench.frameworks import FRAMEWORKS
from hpcbench.frameworks.backend import Workload
from hpcbench.schedule import make_schedule
from hpcbench.strategies import STRATEGIES

class OptimizerInParts(STRATEGIES["sharded"]):
    shards_optimizer = True

FRAMEWORKS["jax"].prepare(1, 4, 0)
spec = DATASETS["mnist"]
data = synthetic.arrays(spec, seed=0).first(200, 50)
order = np.random.default_rng(0).integers(0, 200, (6, 16), np.int32)
single, sharded = STRATEGIES["single"], STRATEGIES["sharded"]
ways = [(single, 1, 1), (single, 1, 4), (sharded, 2, 4), (OptimizerInParts, 4, 2)]
states, sums = [], []
for kind, devices, parts in ways:
    strategy = kind(Launch(), devices, "flat")
    settings = {"precision": "float64", "optimizer": "sgd", "momentum": 0.5}
    settings |= {"batch": 16 // devices, "accumulate": parts}
    config = RunConfig(model="fc-64", framework="jax", **settings)
    workload = Workload(config, make_schedule(config, devices, 200), 0, spec, data, strategy)
    backend = FRAMEWORKS["jax"].backend(workload)
    of_steps = backend.steps(order.reshape(6, devices, -1), np.full(6, 0.01))
    of_rest = backend.partial_step(np.array_split(order[0, :5], devices), np.full(1, 0.01), 5, 6)
    backend.gather()
    states.append(np.concatenate([value.ravel() for value in backend.state()]))
    sums.append(np.concatenate([of_steps, of_rest]))
whole = len(states[0])
print(len(states[3]) - whole)
print(*(np.abs(state[:whole] - states[0]).max() for state in states))
print(*(np.abs(each - sums[0]).max() for each in sums))
"""


@pytest.mark.slow
def test_batches_and_optimizers_in_parts_train_as_whole_ones_do():
    done = run([sys.executable, "-c", IN_PARTS])
    assert done.status == 0, done.errors
    filled_up, *apart = done.output.split()
    # 55,050 weights over four devices.
    assert filled_up == "2"
    assert len(apart) == 8
    assert max(map(float, apart)) < 1e-9


@pytest.mark.slow
def test_statistics_of_all_devices_make_2_x_8_the_step_on_16():
    done = run([sys.executable, "-c", SYNCHRONIZED])
    assert done.status == 0, done.errors
    synchronized, local = map(float, done.output.split())
    # Keras normalizes in float32 whatever the precision, which would decide a tie of a pool.
    assert synchronized < 1e-6
    assert local > 1e-4


STREAMED = """
import sys
import numpy as np
from hpcbench.cluster.launchers import Launch
from hpcbench.config import RunConfig
from hpcbench.datasets import DATASETS, synthetic
from hpcbench.frameworks import FRAMEWORKS
from hpcbench.frameworks.backend import Workload
from hpcbench.frameworks.jax import feeding
from hpcbench.schedule import make_schedule
from hpcbench.strategies import STRATEGIES

# So that a call has room for three steps.
feeding.STREAMED_BYTES = 3 * 2 * 8 * (784 + 4) + 5
FRAMEWORKS["jax"].prepare(1, 2, 0)
strategy = STRATEGIES["sharded"](Launch(), 2, "flat")
spec = DATASETS["mnist"]
data = synthetic.arrays(spec, seed=0).first(200, 50)
order = np.random.default_rng(0).integers(0, 200, (11, 2, 8), np.int32)
rates = np.full(11, 0.1)
states, sums = [], []
for way in ("resident", "stream"):
    config = RunConfig(model="fc-64", framework="jax", batch=8, input=way)
    schedule = make_schedule(config, 2, 200)
    workload = Workload(config, schedule, 0, spec, data, strategy)
    backend = FRAMEWORKS["jax"].backend(workload)
    sums.append(backend.steps(order, rates))
    sums.append(backend.steps(order[:5], rates[:5], 11, held=backend.hold(order[0])))
    sums.append(backend.partial_step([order[0, 0, :3], order[0, 1, :2]], rates[:1], 5, 16))
    states.append(backend.state())
    print(backend._feed.steps)
assert all(np.array_equal(a, b) for a, b in zip(*states, strict=True)), "another training"
assert all(np.allclose(sums[n], sums[n + 3], rtol=1e-6) for n in range(3)), sums
"""


@pytest.mark.slow
def test_streamed_samples_train_as_resident_ones_do(results):
    done = run([sys.executable, "-c", STREAMED])
    assert done.status == 0, done.errors
    assert done.output.split() == ["12", "3"]
    flags = ("--input=stream", "--train-samples=2560", "--test-samples=100", "--epochs=2")
    line = [sys.executable, "-m", "hpcbench.train", f"--results={results}", *FLAGS, *flags]
    done = run(line)
    assert done.status == 0, done.errors
    losses = read_results(results).accuracy["train_loss"].tolist()
    assert losses[1] < losses[0]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--devices=2", "--strategy=single"], "strategy single has one device, not 2"),
        (["--xla"], "--xla is not supported with framework jax"),
        (["--augment=noise"], "--augment noise is not supported with framework jax"),
        (["--strategy=zero-1", "--optimizer=larc"], "larc needs the norms of whole layers"),
        (["--strategy=horovod"], "which has jax-distributed, sharded, single, zero-1"),
    ],
)
def test_what_does_not_fit_is_refused(results, flags, says):
    done = run([sys.executable, "-m", "hpcbench.train", f"--results={results}", *FLAGS, *flags])
    assert done.status == 2
    assert says in done.errors


def test_errors_of_xla_are_told_by_their_kind():
    framework = FRAMEWORKS["jax"]
    error = jax.errors.JaxRuntimeError
    out = framework.translate(error("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."))
    assert isinstance(out, OutOfMemory)
    lost = framework.translate(error("UNKNOWN: Gloo all-reduce failed: Connection closed by peer"))
    assert isinstance(lost, CommunicationFailed)
    assert framework.translate(error("INVALID_ARGUMENT: a shape")) is None
    assert framework.translate(ValueError("gloo")) is None


@pytest.mark.slow
def test_tables_texts_and_storms_are_learned():
    """Image networks are in the tests above."""
    names = ["climate-tiny", "mlp-boston", "text-average"]
    done = run([sys.executable, RANKS / "every_model.py", "single", "1", "jax", *names])
    assert done.status == 0, done.errors
    lines = [json.loads(line) for line in done.output.splitlines() if line.startswith("{")]
    assert [found["model"] for found in lines] == names
    assert all(found["losses"][-1] < found["losses"][0] for found in lines), lines


@pytest.mark.slow
def test_networks_with_layers_of_ours_need_no_tensorflow():
    """As where JAX alone is installed."""
    names = ["alexnet-grouped", "climate", "unet"]
    code = (
        f"import runpy, sys; sys.modules['tensorflow'] = None; sys.path.insert(0, {str(RANKS)!r}); "
    )
    code += f"runpy.run_path({str(RANKS / 'every_model.py')!r})"
    done = run([sys.executable, "-c", code, "single", "1", "jax", *names])
    assert done.status == 0, done.errors
    lines = [json.loads(line) for line in done.output.splitlines() if line.startswith("{")]
    assert {found["model"] for found in lines} == set(names)
    assert all(found["losses"][-1] < found["losses"][0] for found in lines), lines


def test_without_jax_one_sentence_says_what_to_install(results):
    code = "import sys; sys.modules['jax'] = None; from hpcbench.train import main; "
    code += "sys.exit(main(sys.argv[1:]))"
    done = run([sys.executable, "-c", code, *FLAGS, f"--results={results}"])
    assert done.status == 3
    assert "containers/setup.sh --jax" in done.errors
