"""Masked language modelling: the masks, the files, the objective, and BERT trained on them."""

import dataclasses
import sys

import numpy as np
import pytest

from hpcbench.config import RunConfig
from hpcbench.datasets import DATASETS, NOT_ASKED, synthetic
from hpcbench.datasets.masking import MASK, masked_rows
from hpcbench.datasets.sources import Source, locate_for
from hpcbench.errors import ConfigError, DataError
from hpcbench.models import MODELS
from hpcbench.runs.resolve import with_input
from support import RANKS, launcher, only_run, run, train
from test_tokens import write_tokens

BERT = MODELS["bert-base"]
WORDS = 30_522


def test_masks_are_as_in_the_paper():
    """15 % of each sample; of these 80 % masked, 10 % any word, 10 % kept, as far as 2,000 samples
    tell."""
    rows = np.random.default_rng(0).integers(1000, WORDS, (2000, 128), np.int32)
    inputs, targets = masked_rows(rows, WORDS, 0, 0)
    told = targets != NOT_ASKED
    assert set(told.sum(axis=1)) == {round(0.15 * 128)}
    assert (targets[told] == rows[told]).all()
    assert (inputs[~told] == rows[~told]).all()
    seen, before = inputs[told], rows[told]
    count = len(seen)
    other = (seen != MASK) & (seen != before)
    for found, share in ((seen == MASK, 0.8), (other, 0.1), (seen == before, 0.1)):
        assert abs(found.mean() - share) < 4 * (share * (1 - share) / count) ** 0.5
    # Words are drawn from all of the vocabulary, and places from all of the sample.
    assert seen[other].min() < 100
    assert seen[other].max() > WORDS - 100
    assert abs(told.mean(axis=0) - 19 / 128).max() < 5 * (19 / 128 * 109 / 128 / 2000) ** 0.5


def read(folder, seed, length=64):
    spec = locate_for(BERT, "auto", folder, image_size=length).spec
    paths = [folder / name for name in ("train.bin", "val.bin")]
    return Source(spec.seeded(spec, seed), paths).read()


def test_masks_follow_from_the_seed_and_the_place(tmp_path):
    """In any order, in any part, and the test's are the same for all seeds."""
    write_tokens(tmp_path, val=200, first=1)
    first, again, other = read(tmp_path, 3), read(tmp_path, 3), read(tmp_path, 4)
    for part in ("train_inputs", "train_targets"):
        whole = np.asarray(getattr(first, part))
        assert whole.shape == (15, 64)
        assert (whole == np.asarray(getattr(again, part))).all()
        assert (whole != np.asarray(getattr(other, part))).any()
        assert (getattr(first, part)[np.array([[9, 2]])] == whole[[[9, 2]]]).all()
        assert (np.asarray(getattr(first.first(4), part)) == whole[:4]).all()
    for part in ("test_inputs", "test_targets"):
        tests = [np.asarray(getattr(data, part)) for data in (first, other)]
        assert (tests[0] == tests[1]).all()
    # Both are of the same draws.
    inputs, targets = (np.asarray(part) for part in (first.train_inputs, first.train_targets))
    tokens = (1 + np.arange(15 * 64) % 700).reshape(15, 64)
    assert (np.where(targets == NOT_ASKED, inputs, targets) == tokens).all()


def test_made_up_tokens_are_masked_too():
    spec = dataclasses.replace(
        locate_for(BERT, "auto", image_size=32, made_up=True).spec, train_samples=8, test_samples=4
    )
    data, again = synthetic.arrays(spec, 0), synthetic.arrays(spec, 0)
    assert data.train_inputs.shape == (8, 32)
    assert ((data.train_targets != NOT_ASKED).sum(axis=1) == round(0.15 * 32)).all()
    assert (data.train_inputs == again.train_inputs).all()
    # Nothing stands for padding.
    assert data.train_inputs.min() > 0 or MASK in data.train_inputs


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"first": WORDS}, f"{WORDS} is the size of BERT's vocabulary"),
        ({"first": 0}, "has token 0, BERT's padding"),
    ],
)
def test_files_that_do_not_serve_are_named(tmp_path, files, reason):
    write_tokens(tmp_path, **files)
    with pytest.raises(DataError, match=r"train\.bin.*" + reason):
        np.asarray(read(tmp_path, 0).train_inputs)


@pytest.mark.parametrize(
    ("model", "dataset", "reason"),
    [
        ("bert-base", "tokens", "bert-base takes masked tokens, tokens holds tokens"),
        ("gpt-124m", "masked-tokens", "takes tokens, masked-tokens holds masked tokens"),
    ],
)
def test_no_network_gets_what_gives_its_targets_away(model, dataset, reason):
    with pytest.raises(ConfigError, match=reason):
        locate_for(MODELS[model], dataset, made_up=True)


def test_sizes_that_cannot_be_are_refused(results):
    with pytest.raises(ConfigError, match="--image-size is not for model bert-base"):
        with_input(RunConfig(model="bert-base", image_size=32), None)
    done = train(results, "--model=bert-base", "--sequence-length=513")
    assert done.status == 2
    assert "BERT has 512 positions, and no more" in done.errors


def test_the_objective_is_the_mean_of_what_is_asked_for():
    """In all three frameworks, by the definition."""
    tf, torch = pytest.importorskip("tensorflow"), pytest.importorskip("torch")
    jax = pytest.importorskip("jax")
    from hpcbench.frameworks.jax import objectives as of_jax
    from hpcbench.frameworks.tensorflow import objectives as of_tensorflow
    from hpcbench.frameworks.torch import backend

    spec = DATASETS["masked-tokens"]
    rows = np.random.default_rng(0).integers(0, 200, (5, 20), np.int32)
    _, targets = masked_rows(rows, 200, 0, 0)
    outputs = np.random.default_rng(1).normal(size=(5, 20, 200)).astype(np.float32)
    # Some are right.
    outputs[0, targets[0] != NOT_ASKED, targets[0][targets[0] != NOT_ASKED]] += 8
    likely = outputs - np.log(np.exp(outputs.astype(float)).sum(axis=-1, keepdims=True))
    losses, right = np.zeros(5), np.zeros(5)
    for sample, place in zip(*np.nonzero(targets != NOT_ASKED), strict=True):
        losses[sample] -= likely[sample, place, targets[sample, place]] / 3
        right[sample] += (outputs[sample, place].argmax() == targets[sample, place]) / 3
    assert 1 <= right.sum() < 5
    objective = of_tensorflow.objective(spec)
    given = tf.constant(targets), tf.constant(outputs)
    np.testing.assert_allclose(objective.losses(*given), losses, rtol=1e-4)
    np.testing.assert_allclose(objective.tally(*given), [right.sum()], rtol=1e-5)
    objective = of_jax.objective(spec)
    given = jax.numpy.asarray(targets), jax.numpy.asarray(outputs)
    np.testing.assert_allclose(objective.losses(*given), losses, rtol=1e-4)
    np.testing.assert_allclose(objective.tally(*given), right, rtol=1e-5)
    given = torch.from_numpy(outputs), torch.from_numpy(targets).long()
    sums = backend._sums(backend._loss(*given), *given)
    np.testing.assert_allclose(sums.numpy(), [losses.sum(), right.sum()], rtol=1e-4)


def trained(folder, framework, strategy, devices):
    """The state after training the small one, of rank 0."""
    folder.mkdir()
    ranks = launcher(strategy, devices)
    program = [sys.executable, RANKS / "framework_weights.py", framework, strategy, devices, 0]
    done = run([*ranks, *program, folder, "bert-base"])
    assert done.status == 0, done.errors
    with np.load(folder / "rank0.npz") as file:
        return [file[name] for name in file.files]


@pytest.mark.slow
def test_one_device_with_32_is_two_with_16_in_every_framework(tmp_path):
    """Weights of TensorFlow and JAX are the same after the same steps from the same weights. Of
    attention, JAX computes the softmax in float32 whatever it is asked for."""
    several = {"tensorflow": "mpi", "jax": "jax-distributed", "torch": "ddp"}
    alone = {}
    for framework, strategy in several.items():
        pytest.importorskip(framework)
        alone[framework] = trained(tmp_path / framework, framework, "single", 1)
        shared = trained(tmp_path / f"{framework}2", framework, strategy, 2)
        for one, two in zip(alone[framework], shared, strict=True):
            assert np.abs(one - two).max() < (1e-7 if framework == "jax" else 1e-12), framework
    for ours, theirs in zip(alone["tensorflow"], alone["jax"], strict=True):
        assert np.abs(ours - theirs).max() < 1e-6


@pytest.mark.slow
def test_bert_base_trains_on_files(tmp_path, results):
    """All of its weights, on short samples."""
    write_tokens(tmp_path, first=1)
    flags = ["--model=bert-base", f"--data-dir={tmp_path}", "--sequence-length=16", "--batch=2"]
    done = train(results, *flags, "--train-samples=8", "--epochs=2", "--warmup-steps=1")
    assert done.status == 0, done.errors
    _, document = only_run(results)
    # With all positions, also those that these samples do not have.
    assert document["parameters"] == 109_514_298
    assert document["tokens_per_sample"] == 16
    assert document["config"]["input"] == "resident"
