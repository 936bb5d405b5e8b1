"""Random changes of training images: what they do, that they repeat, and that they help."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from hpcbench.config import AUGMENTATIONS, RunConfig
from hpcbench.datasets import DATASETS
from hpcbench.datasets.sources import locate
from hpcbench.frameworks.tensorflow.augmentation import SHIFT, augmentation
from support import only_run, train


def blob(size=28):
    """A bright square in the middle of each of 200 black images."""
    images = np.zeros((200, size, size, 1), np.float32)
    images[:, size // 2 - 3 : size // 2 + 3, size // 2 - 3 : size // 2 + 3] = 1
    return tf.constant(images)


def changed(kinds, seed=(1, 2)):
    return augmentation(frozenset(kinds))(blob(), tf.constant(seed)).numpy()


def centres(images):
    places = np.arange(images.shape[1])
    weight = images.sum(axis=(1, 2, 3))
    return np.stack(
        [
            (images.sum(axis=(2, 3)) * places).sum(axis=1) / weight,
            (images.sum(axis=(1, 3)) * places).sum(axis=1) / weight,
        ]
    )


def test_each_kind_does_what_it_says():
    before = blob().numpy()
    shifted = centres(changed({"shift"})) - centres(before)
    assert np.abs(shifted).max() <= SHIFT * 28 + 0.1
    assert shifted.std(axis=1).min() > 1
    for kind in ("rotate", "scale"):
        after = changed({kind})
        np.testing.assert_allclose(centres(after), centres(before), atol=0.05)
        assert np.abs(after - before).max() > 0.1
    sizes = changed({"scale"}).sum(axis=(1, 2, 3))
    assert sizes.min() < 36 < sizes.max()
    noisy = changed({"noise"})
    assert 0 <= noisy.min() <= noisy.max() <= 1
    assert 0.02 < np.abs(noisy - before).mean() < 0.2


@pytest.mark.parametrize("kind", sorted(AUGMENTATIONS))
def test_draws_repeat_with_the_seed_and_differ_between_steps_devices_and_images(kind):
    first = changed({kind})
    np.testing.assert_array_equal(first, changed({kind}))
    assert (first != changed({kind}, (1, 3))).any()
    assert (first != changed({kind}, (2, 2))).any()
    assert (first[0] != first[1]).any()


def test_the_order_in_which_kinds_are_named_is_the_same_run():
    one, other = (RunConfig(augment=kinds) for kinds in ("shift+rotate", "rotate+shift"))
    assert one.run_id == other.run_id
    assert RunConfig().augmentations == frozenset()


@pytest.mark.slow
def test_a_bad_kind_and_data_without_images_are_refused(results):
    done = train(results, "--augment=twist")
    assert done.status == 2
    assert "choose from noise, rotate, scale, shift" in done.errors


@pytest.mark.slow
def test_it_helps_on_digits_that_are_turned_and_shifted(results):
    """The same network, trained with and without, on test digits moved in the same way."""
    source = locate("mnist-5k")
    data = source.spec.read(source.files)
    images = tf.constant(data.test_inputs, tf.float32) / 255
    moved = augmentation(frozenset({"rotate", "shift"}))(images, tf.constant([99, 99]))
    accuracy = {}
    for kinds in ("none", "rotate+shift"):
        done = train(
            results / kinds,
            "--model=fc-512",
            "--dataset=mnist-5k",
            "--epochs=25",
            "--seed=0",
            "--checkpoint",
            f"--augment={kinds}",
        )
        assert done.status == 0, done.errors
        folder, _ = only_run(results / kinds)
        model = keras.models.load_model(folder / "model.keras")
        guesses = model.predict(moved, verbose=0).argmax(axis=1)
        accuracy[kinds] = float((guesses == data.test_targets).mean())
        row = pd.read_csv(folder / "throughput.csv").iloc[0]
        assert row["input"] == ("resident" if kinds == "none" else "resident, rotate+shift")
    assert accuracy["rotate+shift"] > accuracy["none"] + 0.1, accuracy
    assert DATASETS["mnist-5k"].test_samples == len(images)
