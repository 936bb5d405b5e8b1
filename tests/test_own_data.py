"""A user's own images: folders of classes, a CSV of pixels, and what does not fit."""

import gzip

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hpcbench.datasets.sources import locate
from hpcbench.errors import DataError
from support import only_run, train


def write_images(folder, classes, count=12, size=(40, 25)):
    """Images in one colour for each class."""
    generator = np.random.default_rng(0)
    for index, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 60, (*size, 3), np.uint8)
            pixels[..., index % 3] += 150
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def test_parts_of_a_set_are_no_classes(tmp_path):
    write_images(tmp_path / "flat", ["Training", "test_set"])
    with pytest.raises(DataError, match="straight in Training and test_set, which are no classes"):
        locate("image-folder", tmp_path / "flat")
    write_images(tmp_path / "large" / "Train", ["cat", "dog"])
    write_images(tmp_path / "large" / "Val", ["cat", "dog"], count=3)
    source = locate("image-folder", tmp_path / "large")
    assert (source.train_samples, source.spec.test_samples, source.spec.remark) == (24, 6, "")


def test_a_folder_of_classes(tmp_path):
    write_images(tmp_path / "pets" / "train", ["cat", "dog", "eel"])
    write_images(tmp_path / "pets" / "test", ["dog", "eel"], count=3)
    source = locate("image-folder", tmp_path / "pets")
    assert (source.spec.outputs, source.train_samples, source.spec.test_samples) == (3, 36, 6)
    assert source.spec.title == "image-folder pets"
    data = source.spec.read(source.files)
    assert data.train_inputs.shape == (36, 32, 32, 3)
    assert np.bincount(data.train_targets).tolist() == [12, 12, 12]
    assert data.test_targets.tolist() == [1, 1, 1, 2, 2, 2]


def test_what_lies_about_is_no_class_and_no_image(tmp_path):
    """Hidden and systems' own files; what Pillow reads is an image, and the rest is counted."""
    train = tmp_path / "train"
    write_images(train, ["cat", "dog", "eel", ".ipynb_checkpoints", "__MACOSX"])
    for odd in ("._0.png", "Thumbs.db"):
        (train / "cat" / odd).write_bytes(b"no image")
    for path in (train / "eel").iterdir():
        Image.open(path).save(path.with_suffix(".webp"))
        path.unlink()
    Image.open(train / "dog" / "0.png").save(train / "dog" / "0.TIFF")
    (train / "dog" / "notes.txt").write_text("good dogs")
    (train / "later").mkdir()
    write_images(train / "eel", ["more"], count=3)
    (train / "eel" / "gone").symlink_to(train / "nowhere")
    for odd in ("noext", "img.0"):
        (train / "dog" / odd).write_bytes((train / "dog" / "0.png").read_bytes())
    (train / "stray.png").write_bytes((train / "dog" / "0.png").read_bytes())
    write_images(tmp_path / "extra", ["cat"])
    spec = locate("image-folder", tmp_path).spec
    assert (spec.outputs, spec.train_samples + spec.test_samples) == (3, 39)
    assert spec.remark == (
        f"{train}: left out 1 subfolder without an image (later) and 1 file that Pillow does not "
        f"read (dog/notes.txt) and 2 items within classes' folders that are no files (eel/gone, "
        f"eel/more) and 1 image outside of the classes' folders (stray.png); {tmp_path}: nothing "
        f"of extra is read"
    )


def test_test_images_without_labels_test_nothing(tmp_path):
    write_images(tmp_path / "train", ["cat", "dog"], count=10)
    (tmp_path / "test").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "test" / "1.png")
    source = locate("image-folder", tmp_path)
    assert "no subfolder of a class with images, so every fifth" in source.spec.remark
    assert (source.train_samples, len(source.read().test_targets)) == (16, 4)


def test_without_a_test_folder_every_fifth_image_tests(tmp_path):
    write_images(tmp_path, ["a", "b"], count=10)
    source = locate("image-folder", tmp_path)
    data = source.spec.read(source.files)
    assert (len(data.train_targets), len(data.test_targets)) == (16, 4)
    assert source.train_samples == 16


def test_the_first_images_are_of_all_classes(tmp_path):
    write_images(tmp_path, ["a", "b", "c"], count=20)
    source = locate("image-folder", tmp_path)
    assert np.bincount(source.read().first(18).train_targets, minlength=3).min() >= 2


def write_csv(path, rows=50, side=6, **columns):
    generator = np.random.default_rng(0)
    labels = np.arange(rows) % 3
    pixels = generator.integers(0, 50, (rows, side * side)) + 60 * labels[:, None]
    table = pd.DataFrame(pixels, columns=[f"pixel{i}" for i in range(side * side)])
    table.insert(0, "label", labels)
    table.assign(**columns).to_csv(path, index=False)


def test_a_csv_of_pixels(tmp_path):
    write_csv(tmp_path / "train.csv")
    source = locate("pixel-csv", tmp_path)
    assert source.spec.input_shape == (6, 6, 1)
    assert (source.spec.outputs, source.train_samples, source.spec.test_samples) == (3, 40, 10)
    data = source.spec.read(source.files)
    assert data.train_inputs.shape == (40, 6, 6, 1)


def test_labels_may_be_whole_floats(tmp_path):
    """As spreadsheets and pandas with a gap somewhere write them."""
    write_csv(tmp_path / "train.csv", label=[float(i % 3) for i in range(50)])
    assert locate("pixel-csv", tmp_path).spec.outputs == 3
    write_csv(tmp_path / "train.csv", label=["1", *["0"] * 48, "seven"])
    with pytest.raises(DataError, match=r"'seven' in row 50, column 'label'"):
        locate("pixel-csv", tmp_path)


@pytest.mark.parametrize(
    "recoded",
    [
        lambda text: text.encode("utf-16"),
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: gzip.compress(text.encode()),
        # Lines that end in a comma, that of names too or not.
        lambda text: text.replace("\n", ",\n").encode(),
        lambda text: text.replace("\n", ",\n").replace(",\n", "\n", 1).encode(),
    ],
    ids=["utf-16", "utf-8 with a mark", "gzip", "commas", "commas of rows"],
)
def test_a_csv_as_other_programs_write_it(tmp_path, recoded):
    path = tmp_path / "train.csv"
    write_csv(path)
    data = locate("pixel-csv", tmp_path).read()
    path.write_bytes(recoded(path.read_text()))
    again = locate("pixel-csv", tmp_path).read()
    assert (again.train_targets == data.train_targets).all()
    assert (np.asarray(again.train_inputs) == np.asarray(data.train_inputs)).all()


def test_a_packed_csv_that_was_cut_off_is_no_csv(tmp_path):
    path = tmp_path / "train.csv"
    write_csv(path)
    path.write_bytes(gzip.compress(path.read_bytes())[:-20])
    with pytest.raises(DataError, match=r"train\.csv is not a CSV file"):
        locate("pixel-csv", tmp_path)


def test_a_csv_of_rows_longer_than_its_header_is_not_shifted(tmp_path):
    path = tmp_path / "train.csv"
    write_csv(path)
    names, *rows = path.read_text().splitlines()
    for more in ("7", "7,7"):
        path.write_text("\n".join([names, *(f"{row},{more}" for row in rows)]))
        with pytest.raises(DataError, match="more cells a row than names in its header"):
            locate("pixel-csv", tmp_path)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (
            {"pixel1": ""},
            r"an empty cell in row 1, column 'pixel1' is no whole number from 0 to 255",
        ),
        ({"pixel0": 256}, r"'256' in row 1, column 'pixel0' is no whole number from 0 to 255"),
        ({"pixel0": 0.5}, r"'0\.5' in row 1, column 'pixel0'"),
        ({"more": 1}, "37 pixels a row, which is no square"),
        ({"label": -1}, r"'-1' in row 1, column 'label'"),
        ({"label": 2_000_000_000}, "from 0 to 49, as for its 50 rows labels count from 0"),
        ({"label.1": 1}, "two columns 'label'"),
        ({"label": 1}, "one label in all rows"),
    ],
)
def test_a_csv_that_does_not_fit(tmp_path, columns, says):
    write_csv(tmp_path / "train.csv", **columns)
    with pytest.raises(DataError, match=says):
        locate("pixel-csv", tmp_path)


def test_labels_that_repeat_in_fives_are_all_trained(tmp_path):
    write_csv(tmp_path / "train.csv", label=np.arange(50) % 5)
    data = locate("pixel-csv", tmp_path).read()
    assert set(data.test_targets) <= set(data.train_targets)
    assert set(data.train_targets) == set(range(5))


def test_sixteen_bits_are_not_cut_to_eight(tmp_path):
    write_images(tmp_path, ["a", "b"])
    deep = Image.fromarray(np.full((40, 25), 40_000, np.uint16))
    deep.save(tmp_path / "a" / "0.png")
    data = locate("image-folder", tmp_path).read()
    with pytest.raises(DataError, match=r"0\.png cannot be read: it has mode I;16"):
        np.asarray(data.train_inputs), np.asarray(data.test_inputs)


def test_folders_that_do_not_fit(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no download"):
        locate("image-folder", tmp_path / "empty")
    write_images(tmp_path / "one" / "train", ["only"])
    with pytest.raises(DataError, match="1 subfolders with images"):
        locate("image-folder", tmp_path / "one")
    write_images(tmp_path / "two" / "train", ["a", "b"])
    write_images(tmp_path / "two" / "test", ["c"])
    with pytest.raises(DataError, match="c is a class that"):
        locate("image-folder", tmp_path / "two")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["resident", "stream"])
def test_an_image_that_is_none_ends_training_in_one_sentence(results, tmp_path, way):
    write_images(tmp_path / "own", ["a", "b"])
    (tmp_path / "own" / "a" / "3.png").write_bytes(b"no image")
    flags = ("--model=cnn-cifar", "--dataset=image-folder", f"--data-dir={tmp_path / 'own'}")
    done = train(results, *flags, "--batch=4", f"--input={way}")
    assert done.status == 3
    assert "a/3.png cannot be read" in done.errors.splitlines()[-1]


@pytest.mark.slow
def test_training_on_ones_own_images(results, tmp_path):
    write_images(tmp_path / "own" / "train", ["red", "green", "blue"], count=40)
    write_images(tmp_path / "own" / "test", ["red", "green", "blue"], count=5)
    done = train(
        results,
        "--model=cnn-cifar",
        "--dataset=image-folder",
        f"--data-dir={tmp_path / 'own'}",
        "--epochs=6",
        "--batch=16",
        "--seed=0",
        "--input=stream",
        "--image-size=24",
        strategy="mirrored",
        devices=2,
    )
    assert done.status == 0, done.errors
    rows = pd.read_csv(only_run(results)[0] / "accuracy.csv")
    assert rows["test_metric"].iloc[-1] > 0.9
    assert (rows["dataset"] == "image-folder own").all()
