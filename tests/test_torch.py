"""PyTorch beside TensorFlow: the same network, the same optimizers, real ranks under DDP."""

import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hpcbench.cluster.site import Machine
from hpcbench.config import RunConfig
from hpcbench.errors import ConfigError, EnvironmentLacks
from hpcbench.frameworks import FRAMEWORKS
from hpcbench.models import MODELS, BuildContext
from hpcbench.records.reader import read_results
from hpcbench.runs.faults import refuse_lost_gpus
from hpcbench.schedule import make_schedule
from hpcbench.sweeps.plan import SweepFile, make_plan
from hpcbench.training.beside import phases_of
from support import RANKS, launcher, only_run, run, train

torch = pytest.importorskip("torch", reason="PyTorch is an optional extra")

TORCH_WEIGHTS = RANKS / "torch_weights.py"
SHAPE = (28, 28, 1)
FLAGS = ("--framework=torch", "--model=cnn-pytorch")


def both_networks():
    """The network in Keras and in PyTorch, with the same weights."""
    keras = pytest.importorskip("keras")
    spec = MODELS["cnn-pytorch"]
    theirs = spec.builders["torch"](SHAPE, 10)
    ours = spec.build(BuildContext(SHAPE, 10, 0, "float32", keras.layers.BatchNormalization))
    weights = [weight.detach().numpy() for weight in theirs.parameters()]
    # Convolutions are (out, in, height, width) there and (height, width, in, out) here.
    for place in (0, 2):
        weights[place] = weights[place].transpose(2, 3, 1, 0)
    # What goes into the first dense layer is flattened channels first there, last here.
    dense = weights[4].reshape(128, 64, 12, 12).transpose(2, 3, 1, 0)
    weights[4], weights[6] = dense.reshape(9216, 128), weights[6].T
    ours.set_weights(weights)
    return ours, theirs


@pytest.mark.slow
def test_both_frameworks_compute_the_same():
    ours, theirs = both_networks()
    images = np.random.default_rng(0).random((8, *SHAPE), np.float32)
    theirs.eval()
    with torch.no_grad():
        expected = theirs(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    assert np.abs(ours(images, training=False).numpy() - expected).max() < 1e-5
    count = sum(weight.numel() for weight in theirs.parameters())
    assert count == ours.count_params() == MODELS["cnn-pytorch"].parameters


def test_first_weights_are_drawn_alike():
    """Uniformly within 1 / sqrt(fan in), kernels and biases, as PyTorch's layers start."""
    theirs = MODELS["cnn-pytorch"].builders["torch"](SHAPE, 10)
    ours = MODELS["cnn-pytorch"].build(
        BuildContext(SHAPE, 10, 0, "float32", lambda: None)  # it has no normalization
    )
    fan_in = [9, 9 * 32, 9216, 128]
    torch_weights = [weight.detach().numpy() for weight in theirs.parameters()]
    for weights in (torch_weights, ours.get_weights()):
        for index, drawn in enumerate(weights):
            bound = fan_in[index // 2] ** -0.5
            assert np.abs(drawn).max() <= bound * 1.001
            if drawn.size > 1000:
                assert drawn.std() == pytest.approx(bound / 3**0.5, rel=0.05)


@pytest.mark.parametrize("name", ["adadelta", "adam", "larc", "sgd"])
def test_optimizers_are_those_of_the_other_framework(name):
    import tensorflow as tf

    from hpcbench.frameworks.tensorflow import optimizers
    from hpcbench.frameworks.torch.optimizers import make_optimizer

    generator = np.random.default_rng(0)
    start = generator.normal(size=(5, 3)).astype(np.float32)
    rate = 0.1
    planned = make_schedule(
        RunConfig(model="cnn-pytorch", optimizer=name, learning_rate=rate, momentum=0.9), 1, 1000
    )
    weight = torch.nn.Parameter(torch.from_numpy(start.copy()))
    theirs = make_optimizer(planned, [weight])
    variable = tf.Variable(start)
    ours = optimizers.make(name, [variable], planned.momentum)
    scalars = ours.scalars(0, np.full(20, rate))
    for row in scalars:
        gradient = generator.normal(size=start.shape).astype(np.float32)
        weight.grad = torch.from_numpy(gradient)
        theirs.step()
        ours.update(tf.constant(row), [tf.constant(gradient)])
    assert np.abs(variable.numpy() - weight.detach().numpy()).max() < 1e-5


@pytest.mark.slow
def test_one_device_with_32_is_two_with_16(tmp_path):
    """In one part or in several; a remainder of 5 samples makes the last step one of unequal
    shares, of fewer samples than parts."""

    def trained(strategy: str, ranks: int, parts: int) -> list[list[np.ndarray]]:
        """The state of each rank, or of the only one that has all of it."""
        folder = tmp_path / f"{strategy}-{ranks}-{parts}"
        folder.mkdir()
        command = [*(launcher(strategy, ranks) if ranks > 1 else []), sys.executable]
        done = run([*command, TORCH_WEIGHTS, folder, str(parts), strategy])
        assert done.status == 0, done.errors
        states = []
        for path in sorted(folder.iterdir()):
            with np.load(path) as file:
                states.append([file[name] for name in file.files])
        assert len(states) == (1 if strategy == "fsdp" else ranks)
        return states

    (alone,) = trained("single", 1, 1)
    runs = [("ddp", 2, 1), ("single", 1, 4), ("ddp", 2, 4), ("fsdp", 2, 1), ("fsdp", 2, 4)]
    for strategy, ranks, parts in runs:
        first, *others = trained(strategy, ranks, parts)
        assert all(np.array_equal(a, b) for o in others for a, b in zip(first, o, strict=True))
        assert max(np.abs(a - b).max() for a, b in zip(alone, first, strict=True)) < 1e-9


@pytest.mark.slow
def test_torchrun_starts_two_ranks_that_learn(results):
    done = run(
        [
            Path(sys.executable).parent / "torchrun",
            "--nproc-per-node=2",
            "-m",
            "hpcbench.train",
            f"--results={results}",
            *FLAGS,
            "--train-samples=3000",
            "--test-samples=500",
            "--epochs=2",
            "--checkpoint",
        ]
    )
    assert done.status == 0, done.errors
    folder, document = only_run(results)
    assert (folder / "model.pt").exists()
    assert document["provenance"]["packages"]["torch"] == torch.__version__
    read = read_results(results)
    assert set(read.accuracy["framework"]) == {"torch"}
    assert set(read.accuracy["strategy"]) == {"ddp"}
    losses = read.accuracy["train_loss"].tolist()
    assert losses[1] < losses[0]
    # The network's rate is multiplied by 0.7 after each epoch.
    assert read.accuracy["learning_rate"].tolist() == [1.0, pytest.approx(0.7)]
    assert set(read.throughput["phase"]) == {"train"}
    assert {"train", *phases_of(2)} == set(read.ranks["phase"])


@pytest.mark.slow
def test_it_goes_on_from_a_checkpoint_as_if_it_had_never_stopped(tmp_path):
    from hpcbench.cluster.launchers import Launch
    from hpcbench.datasets import DATASETS, synthetic
    from hpcbench.frameworks.backend import Workload
    from hpcbench.frameworks.torch.backend import TorchBackend
    from hpcbench.strategies.single import Single

    spec, config = DATASETS["mnist"], RunConfig(model="cnn-pytorch", framework="torch", batch=16)
    data = synthetic.arrays(spec, seed=0).first(200)
    strategy = Single(Launch("none"), 1, "none")

    def backend():
        planned = make_schedule(config, 1, 200)
        return TorchBackend(Workload(config, planned, 0, spec, data, strategy))

    order = np.random.default_rng(0).integers(0, 200, (6, 1, 16), np.int32)
    through, first, second = backend(), backend(), backend()
    through.steps(order[:3], np.full(3, 0.5))
    through.steps(order[3:], np.full(3, 0.5), 3)
    first.steps(order[:3], np.full(3, 0.5))
    second.restore(first.state())
    second.steps(order[3:], np.full(3, 0.5), 3)
    for a, b in zip(through.state(), second.state(), strict=True):
        assert np.array_equal(a, b)
    with pytest.raises(ValueError, match=r"shape|longer|shorter"):
        second.restore(first.state()[::-1])


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (
            ["--framework=torch", "--model=fc-64"],
            "is not written for torch; choose from bert-base, gpt-124m, cnn-py",
        ),
        (["--framework=toch"], "did you mean 'torch'"),
        ([*FLAGS, "--devices=2"], "start it with torchrun --nproc-per-node 2"),
        ([*FLAGS, "--xla"], "--xla is not supported with framework torch"),
        ([*FLAGS, "--strategy=horovod"], "not for framework torch, which has ddp, fsdp, single"),
        (["--model=cnn-pytorch", "--strategy=ddp"], "not for framework tensorflow"),
    ],
)
def test_what_does_not_fit_is_refused(results, flags, says):
    done = run([sys.executable, "-m", "hpcbench.train", f"--results={results}", *flags])
    assert done.status == 2
    assert says in done.errors


OWN = """
from torch import nn
from hpcbench.models import MODELS, ModelSpec


class Net(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.inner, self.unused = nn.Linear(784, outputs), nn.Linear(3, 3)

    def forward(self, images):
        return {returns}


# One for each folder that it lies in.
build = {{"torch": lambda shape, outputs: {builds}}}
MODELS.add(__file__.removesuffix(".py"), ModelSpec("net", builders=build))
"""
RETURNS, BUILDS = "self.inner(images.flatten(1))", "Net(outputs)"


@pytest.mark.parametrize(
    ("returns", "builds", "says"),
    [
        (f"({RETURNS}, images)", BUILDS, "gives tuple where it should give one tensor"),
        (RETURNS, "Net(12)", "gives (1, 12) of one sample where it should give (1, 10)"),
        ("self.inner(images)", BUILDS, "fails as it is built or on one sample: RuntimeError: mat1"),
        (RETURNS, "None", "returns no torch.nn.Module but NoneType"),
    ],
)
def test_what_a_users_network_gives_is_looked_at(tmp_path, returns, builds, says):
    from hpcbench.datasets import DATASETS
    from hpcbench.frameworks.torch.model import build_model

    (tmp_path / "net.py").write_text(OWN.format(returns=returns, builds=builds))
    with pytest.raises(ConfigError) as refused:
        build_model(str(tmp_path / "net.py"), DATASETS["mnist"], torch.device("cpu"), torch.float32)
    assert says in str(refused.value)


@pytest.mark.slow
def test_weights_that_are_not_used_are_refused_by_ddp_in_a_sentence(tmp_path, results):
    (tmp_path / "net.py").write_text(OWN.format(returns=RETURNS, builds=BUILDS))
    own = (f"--model={tmp_path}/net.py", "--framework=torch", "--dataset=mnist-5k", "--epochs=1")
    for strategy, status in (("ddp", 2), ("fsdp", 0)):
        command = [sys.executable, "-m", "hpcbench.train", f"--results={results}", *own]
        done = run([*launcher(strategy, 2), *command, f"--strategy={strategy}", "--batch=32"])
        assert done.status == status, done.errors
        assert ("does not depend on all weights" in done.errors) == (status != 0)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_rank_that_nobody_started_is_alone(results, strategy):
    """As under Horovod, so that one device needs no launcher."""
    done = train(results, *FLAGS, f"--strategy={strategy}", "--train-samples=640", "--epochs=1")
    assert done.status == 0, done.errors
    assert only_run(results)[1]["config"]["devices"] == 1


def test_what_ddp_rounds_on_gpus_alone_is_refused(results):
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    done = train(results, *FLAGS, "--strategy=ddp", "--compression=bf16")
    assert done.status == 3
    assert "compression to bf16 on GPUs alone; take fp16" in done.errors


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_tf32_is_refused_where_it_would_be_float32(results, framework):
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    flags = [f"--framework={framework}", "--model=cnn-pytorch", "--input=synthetic"]
    done = train(results, *flags, "--train-samples=64", "--precision=tf32")
    assert done.status == 3
    assert "needs an NVIDIA GPU of Ampere or newer" in done.errors


@pytest.mark.slow
def test_bfloat16_computes_close_to_float32(results):
    """The losses of the first epoch agree to bfloat16's eight bits, and are not the same."""
    losses = {}
    for precision in ("float32", "mixed_bfloat16"):
        done = train(
            results / precision,
            *FLAGS,
            "--input=synthetic",
            "--train-samples=640",
            "--test-samples=64",
            "--epochs=1",
            f"--precision={precision}",
        )
        assert done.status == 0, done.errors
        losses[precision] = read_results(results / precision).accuracy["train_loss"].item()
    assert losses["float32"] != losses["mixed_bfloat16"]
    assert losses["mixed_bfloat16"] == pytest.approx(losses["float32"], rel=0.05)


def test_two_ranks_on_one_gpu_are_told_so():
    """What NCCL says of it, as PyTorch hands it on."""
    said = (
        "NCCL error in: NCCLUtils.cpp:93, invalid usage (run with NCCL_DEBUG=WARN for details)\n"
        "ncclInvalidUsage: This usually reflects invalid usage of NCCL library.\nLast error:\n"
        "Duplicate GPU detected : rank 0 and rank 1 both on CUDA device 60"
    )
    error = FRAMEWORKS["torch"].translate(RuntimeError(said))
    assert isinstance(error, EnvironmentLacks)
    assert "rank 0 and rank 1 both on CUDA device 60" in str(error)


@pytest.mark.parametrize(
    ("gpus", "seen", "variable", "says"),
    [
        (1, None, "3", "finds none with CUDA_VISIBLE_DEVICES='3'"),
        (4, None, None, "torch finds none: hpcbench doctor"),
        (0, None, "", None),
        (1, None, "", None),
        (4, None, "NoDevFiles", None),
        (2, "NVIDIA H200", None, None),
    ],
)
def test_nobody_trains_on_the_cpu_beside_gpus_without_a_word(tmp_path, gpus, seen, variable, says):
    for number in range(gpus):
        (tmp_path / f"nvidia{number}").touch()

    class Framework(type(FRAMEWORKS["torch"])):
        def gpu_name(self):
            return seen

    shown = {} if variable is None else {"CUDA_VISIBLE_DEVICES": variable}
    with pytest.raises(EnvironmentLacks, match=says) if says else nullcontext():
        refuse_lost_gpus(Framework(), shown, tmp_path)


def test_without_pytorch_one_sentence_says_what_to_install(results):
    code = "import sys; sys.modules['torch'] = None; from hpcbench.train import main; main()"
    done = run(
        [
            sys.executable,
            "-c",
            f"{code.replace('main()', 'sys.exit(main(sys.argv[1:]))')}",
            *FLAGS,
            f"--results={results}",
        ]
    )
    assert done.status == 3
    assert "containers/setup.sh --torch" in done.errors


@pytest.mark.slow
def test_one_sweep_holds_both_frameworks(tmp_path):
    both = [{"model": "cnn-pytorch", "framework": name} for name in ("tensorflow", "torch")]
    sweep = SweepFile(
        name="both", repeats=1, devices=[1], strategies=["single", "horovod", "ddp"], models=both
    )
    planned = make_plan(sweep, tmp_path, Machine("here", 2, 2, 1))
    combinations = {(run.config.framework, run.config.strategy) for run in planned.runs}
    assert combinations == {
        ("tensorflow", "single"),
        ("tensorflow", "horovod"),
        ("torch", "single"),
        ("torch", "ddp"),
    }
    with pytest.raises(ConfigError, match="not written for torch"):
        make_plan(
            SweepFile(
                **sweep.model_dump() | {"models": [{"model": "fc-64", "framework": "torch"}]}
            ),
            tmp_path,
            Machine("here", 2, 2, 1),
        )


@pytest.mark.slow
def test_images_too_small_are_one_sentence(results):
    table = pd.DataFrame(np.arange(90).reshape(10, 9) % 256).assign(label=np.arange(10) % 2)
    results.mkdir()
    table.to_csv(results / "train.csv", index=False)
    done = train(
        results,
        "--model=cnn-pytorch",
        "--framework=torch",
        "--dataset=pixel-csv",
        "--batch=2",
        f"--data-dir={results}",
    )
    assert done.status == 2
    assert "cannot be built for inputs of 3 x 3 x 1" in done.errors
