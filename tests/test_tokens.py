"""Tokens from files as nanoGPT writes them, and GPT-2 trained on them."""

import numpy as np
import pytest

from hpcbench.config import RunConfig
from hpcbench.datasets.sources import locate_for
from hpcbench.datasets.tokens import GPT_2
from hpcbench.errors import ConfigError, DataError
from hpcbench.models import MODELS
from hpcbench.runs.resolve import with_input
from support import only_run, train

GPT = MODELS["gpt-124m"]


def write_tokens(folder, train=1000, val=100, first=0):
    for name, count in (("train.bin", train), ("val.bin", val)):
        tokens = first + np.arange(count) % 700
        tokens.astype("<u2").tofile(folder / name)


def test_each_sample_is_told_one_token_later(tmp_path):
    write_tokens(tmp_path)
    source = locate_for(GPT, "auto", tmp_path, image_size=64)
    assert (source.spec.train_samples, source.spec.test_samples) == (15, 1)
    assert source.spec.title == f"tokens {tmp_path.name}"
    data = source.read()
    assert data.train_inputs.shape == data.train_targets.shape == (15, 64)
    inputs, targets = (np.asarray(part) for part in (data.train_inputs, data.train_targets))
    assert (inputs.ravel() == np.arange(960) % 700).all()
    assert (targets.ravel() == np.arange(1, 961) % 700).all()
    # Streamed: whichever are asked for, in any shape.
    assert (data.train_targets[np.array([[3, 1]])] == targets[[[3, 1]]]).all()


def test_made_up_tokens_have_the_next_as_targets():
    from hpcbench.datasets import synthetic

    spec = locate_for(GPT, "auto", image_size=32, made_up=True).spec
    data = synthetic.arrays(spec, 0)
    assert data.train_inputs.shape == (4096, 32)
    assert (data.train_targets[:, :-1] == data.train_inputs[:, 1:]).all()
    assert data.train_inputs.max() < GPT_2.size


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"train": 64}, "holds less than a sample of 64 tokens"),
        ({"val": 0}, "holds less than a sample of 64 tokens"),
        ({"first": GPT_2.size}, f"{GPT_2.size} is the size of GPT-2's vocabulary"),
    ],
)
def test_files_that_do_not_serve_are_named(tmp_path, files, reason):
    write_tokens(tmp_path, **files)
    with pytest.raises(DataError, match=r"(train|val)\.bin.*" + reason):
        np.asarray(locate_for(GPT, "auto", tmp_path, image_size=64).read().train_inputs)


def test_a_set_of_which_a_part_is_missing_is_named(tmp_path):
    write_tokens(tmp_path)
    (tmp_path / "val.bin").unlink()
    with pytest.raises(DataError, match=r"1 of the 2 files of a data set and not val\.bin"):
        locate_for(GPT, "tokens", tmp_path)


@pytest.mark.parametrize(
    ("model", "option"), [("gpt-124m", "image_size"), ("cnn-1", "sequence_length")]
)
def test_sizes_are_of_what_a_model_takes(model, option):
    with pytest.raises(ConfigError, match=f"--{option.replace('_', '-')} is not for model {model}"):
        with_input(RunConfig(model=model, **{option: 32}), None)


@pytest.mark.slow
def test_gpt_2_trains_on_files(tmp_path, results):
    """All of its weights, on short samples; every token of these follows from the one before."""
    write_tokens(tmp_path)
    flags = ["--model=gpt-124m", f"--data-dir={tmp_path}", "--sequence-length=16", "--batch=2"]
    done = train(results, *flags, "--train-samples=8", "--epochs=2", "--warmup-steps=1")
    assert done.status == 0, done.errors
    _, document = only_run(results)
    # Without positions that these samples do not have.
    assert document["parameters"] == 124_439_808 - (1024 - 16) * 768
    assert document["tokens_per_sample"] == 16
    assert document["config"]["input"] == "resident"
    assert document["schedule"]["samples"] == 8
