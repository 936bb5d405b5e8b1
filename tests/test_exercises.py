"""The exercises' data in their published layouts, and every model training on every strategy."""

import io
import json
import os
import pickle
import sys
import tarfile
import zipfile

import numpy as np
import pandas as pd
import pytest

from hpcbench.datasets import DATASETS
from hpcbench.datasets.sources import locate, locate_for
from hpcbench.datasets.text import LENGTH, START, UNKNOWN, WORDS, padded
from hpcbench.errors import ConfigError, DataError
from hpcbench.models import MODELS
from support import RANKS, ROOT, launcher, only_run, run, train

EVERY_MODEL = RANKS / "every_model.py"
# They take half the time of all.
SLOW_TO_TRACE = {"inception-v3", "efficientnet-b0"}
GENERATOR = np.random.default_rng(0)
SHARED = os.environ.get("HPCBENCH_DATA")


def python_2_pickle(value) -> bytes:
    return pickle.dumps(value, protocol=2)


def cifar_batches(members, label, classes):
    """As the published archives: a dictionary of bytes a member."""
    for member in members:
        data = GENERATOR.integers(0, 256, (20, 3072), np.uint8)
        labels = [int(value) for value in GENERATOR.integers(0, classes, 20)]
        yield member, python_2_pickle({b"data": data, label: labels, b"batch_label": b"x"})


LAYOUTS = {
    "cifar10": (
        "cifar-10-python.tar.gz",
        "cifar-10-batches-py",
        b"labels",
        10,
        [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"],
        100,
    ),
    "cifar100": (
        "cifar-100-python.tar.gz",
        "cifar-100-python",
        b"fine_labels",
        100,
        ["train", "test"],
        20,
    ),
}


def write_cifar(folder, name, packed):
    archive, inside, label, classes, members, _ = LAYOUTS[name]
    files = dict(cifar_batches(members, label, classes))
    if packed:
        with tarfile.open(folder / archive, "w:gz") as tar:
            for member, content in files.items():
                entry = tarfile.TarInfo(f"{inside}/{member}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        return
    (folder / inside).mkdir()
    for member, content in files.items():
        (folder / inside / member).write_bytes(content)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", LAYOUTS)
def test_cifar_as_published(tmp_path, name, packed):
    write_cifar(tmp_path, name, packed)
    spec = DATASETS[name]
    if not packed:
        # The unpacked folder itself will do.
        assert spec.find(tmp_path / LAYOUTS[name][1]) == spec.find(tmp_path)
    data = spec.read(spec.find(tmp_path))
    assert data.train_inputs.shape == (LAYOUTS[name][5], 32, 32, 3)
    assert data.test_inputs.shape == (20, 32, 32, 3)
    assert data.train_inputs.dtype == np.uint8
    assert data.train_targets.max() < spec.outputs


def test_planes_of_colour_become_pixels(tmp_path):
    """A row holds all reds, then greens, then blues."""
    row = np.concatenate([np.full(1024, value, np.uint8) for value in (1, 2, 3)])
    (tmp_path / "cifar-100-python").mkdir()
    for member in ("train", "test"):
        content = python_2_pickle({b"data": row[np.newaxis], b"fine_labels": [7]})
        (tmp_path / "cifar-100-python" / member).write_bytes(content)
    data = DATASETS["cifar100"].read(DATASETS["cifar100"].find(tmp_path))
    assert (data.train_inputs == [1, 2, 3]).all()


def write_npz(path, **arrays):
    """As numpy writes object arrays: pickled."""
    np.savez(path, **{name: np.asarray(array) for name, array in arrays.items()})


def texts(count, longest=300):
    rows = np.empty(count, object)
    for index in range(count):
        length = int(GENERATOR.integers(1, longest))
        rows[index] = [int(word) for word in GENERATOR.integers(1, 20_000, length)]
    return rows


def test_texts_as_published(tmp_path):
    write_npz(
        tmp_path / "imdb.npz",
        x_train=texts(30),
        y_train=GENERATOR.integers(0, 2, 30),
        x_test=texts(10),
        y_test=GENERATOR.integers(0, 2, 10),
    )
    write_npz(tmp_path / "reuters.npz", x=texts(50), y=GENERATOR.integers(0, 46, 50))
    for name, samples in (("imdb", (30, 10)), ("reuters", (40, 10))):
        source = locate(name, tmp_path)
        assert source.train_samples == samples[0]
        data = source.spec.read(source.files)
        assert data.train_inputs.shape == (samples[0], LENGTH)
        assert data.test_inputs.shape == (samples[1], LENGTH)
        assert 0 <= data.train_inputs.min() <= data.train_inputs.max() < WORDS


def test_texts_are_marked_padded_and_cut_at_their_beginning():
    short, long = padded([[5, WORDS], list(range(LENGTH + 50))])
    assert short[:-3].tolist() == [0] * (LENGTH - 3)
    assert short[-3:].tolist() == [START, 8, UNKNOWN]
    assert long[-1] == LENGTH + 49 + 3
    assert START not in long[:5]


class Hostile:
    def __reduce__(self):
        return (os.system, ("touch owned",))


@pytest.mark.parametrize("name", ["imdb", "reuters", "cifar100"])
def test_a_hostile_file_is_refused_and_runs_nothing(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    if name == "cifar100":
        (tmp_path / "cifar-100-python").mkdir()
        for member in ("train", "test"):
            (tmp_path / "cifar-100-python" / member).write_bytes(pickle.dumps(Hostile()))
    else:
        rows = np.empty(3, object)
        rows[:] = [[1], [2], Hostile()]
        names = ("x", "y") if name == "reuters" else ("x_train", "y_train", "x_test", "y_test")
        write_npz(tmp_path / f"{name}.npz", **dict.fromkeys(names, rows))
    spec = DATASETS[name]
    with pytest.raises(DataError, match=r"wants to call posix\.system"):
        spec.read(spec.find(tmp_path))
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("name", ["imdb", "reuters", "cifar10", "boston-housing"])
def test_a_corrupt_file_is_named(tmp_path, name):
    path = tmp_path / f"{name.replace('-', '_')}.npz"
    spec = DATASETS[name]
    for damage in (b"", b"PK\x03\x04 no zip", None):
        if damage is None:
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("x_train.npy", b"\x93NUMPY")
        else:
            path.write_bytes(damage)
        with pytest.raises(DataError, match=path.name):
            spec.read(spec.find(tmp_path))


def test_a_model_takes_only_what_it_is_for():
    with pytest.raises(ConfigError, match="takes tables, mnist holds images; choose from boston"):
        locate_for(MODELS["mlp-boston"], "mnist")
    for model in MODELS:
        assert {DATASETS[name].kind for name in model.datasets} == {model.kind}


@pytest.fixture(
    scope="module",
    params=[("single", 1), ("mirrored", 2), ("horovod", 2)],
    ids=lambda param: param[0],
)
def trained(request):
    """What each model's epochs came to under a strategy, all in one launch."""
    strategy, devices = request.param
    ranks = launcher(strategy, devices)
    command = [*ranks, sys.executable, EVERY_MODEL, strategy, str(devices), "tensorflow"]
    names = [name for name in MODELS.names() if strategy != "mirrored" or name not in SLOW_TO_TRACE]
    done = run([*command, *names], timeout=900)
    assert done.status == 0, done.errors
    lines = (line[line.index("{") :] for line in done.output.splitlines() if '{"model"' in line)
    return {found["model"]: found for found in map(json.loads, lines)}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS.names())
def test_every_model_learns_under_every_strategy(trained, name):
    if name not in trained:
        pytest.skip("takes long to trace, and is trained over two ranks")
    assert "error" not in trained[name], trained[name]["error"]
    losses = trained[name]["losses"]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    metric = {"tables": "mean_absolute_error", "fields": "mean_iou"}.get(MODELS[name].kind)
    assert trained[name]["metric"] == (metric or "accuracy")


needs_real_data = pytest.mark.skipif(
    not SHARED or not os.path.exists(f"{SHARED}/boston_housing.npz"),
    reason="HPCBENCH_DATA has no Boston Housing or CIFAR-10",
)


@pytest.mark.slow
@needs_real_data
def test_boston_and_cifar_are_learned(results):
    """Better than the best constant guess by a third; than one in ten by thirty points."""
    done = train(results / "b", "--model=mlp-boston", "--epochs=60", "--seed=0")
    assert done.status == 0, done.errors
    data = DATASETS["boston-housing"].read(DATASETS["boston-housing"].find(ROOT / SHARED))
    constant = np.abs(data.test_targets - np.median(data.train_targets)).mean()
    rows = pd.read_csv(only_run(results / "b")[0] / "accuracy.csv")
    assert rows["test_metric"].iloc[-1] < constant * 2 / 3
    done = train(results / "c", "--model=cnn-cifar", "--dataset=cifar10", "--epochs=3", "--seed=0")
    assert done.status == 0, done.errors
    rows = pd.read_csv(only_run(results / "c")[0] / "accuracy.csv")
    assert rows["test_metric"].iloc[-1] > 0.4


@pytest.mark.parametrize("name", ["cifar10", "imdb"])
def test_an_array_that_is_a_number_is_a_corrupt_file(tmp_path, name):
    np.savez(tmp_path / f"{name}.npz", x_train=3, y_train=3, x_test=3, y_test=3)
    with pytest.raises(DataError, match="corrupt or unreadable"):
        print(locate(name, tmp_path).train_samples)


def test_prices_that_are_no_numbers(tmp_path):
    columns = np.random.default_rng(0).normal(size=(506, 13))
    columns[7, 3] = np.nan
    np.savez(tmp_path / "boston_housing.npz", x=columns, y=np.ones(506))
    with pytest.raises(DataError, match="not finite"):
        locate("boston-housing", tmp_path).read()


def test_samples_of_a_part_are_counted(tmp_path):
    part = np.zeros((30, 32, 32, 3), np.uint8)
    np.savez(
        tmp_path / "cifar10.npz",
        x_train=part,
        y_train=part[:, 0, 0, 0],
        x_test=part,
        y_test=part[:, 0, 0, 0],
    )
    assert locate("cifar10", tmp_path).train_samples == 30
