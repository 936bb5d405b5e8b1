"""Pictures of what one run learned."""

import numpy as np
import pytest
from PIL import Image

from hpcbench.analysis.figures.training import confusion
from support import only_run, run, train

PLOT = ["python", "analysis/plot_training.py"]


def test_confusion_counts_labels_by_rows_and_guesses_by_columns():
    matrix = confusion(np.array([0, 1, 1, 2], np.int32), np.array([0, 1, 2, 2]))
    assert matrix.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["local", "sync"])
def test_a_run_with_its_model_is_drawn(results, tmp_path, mode):
    done = train(
        results,
        "--model=cnn-batchnorm",
        "--dataset=mnist-5k",
        "--train-samples=960",
        "--epochs=1",
        "--checkpoint",
        f"--batchnorm={mode}",
    )
    assert done.status == 0, done.errors
    folder, _ = only_run(results)
    plot = run([*PLOT, folder, "--output", tmp_path / "f"])
    assert plot.status == 0, plot.errors
    names = {path.name for path in (tmp_path / "f").iterdir()}
    assert names == {
        f"{name}.{suffix}"
        for name in ("curves", "samples", "filters", "confusion")
        for suffix in ("png", "svg")
    }


@pytest.mark.slow
def test_a_split_model_is_drawn_and_other_data_are_refused(results, tmp_path):
    for folder, classes in (("two", ("a", "b")), ("three", ("a", "b", "c"))):
        for name in classes:
            (tmp_path / folder / name).mkdir(parents=True)
            for number in range(10):
                pixels = np.full((32, 32, 3), 20 * ord(name[0]) % 256, np.uint8)
                Image.fromarray(pixels).save(tmp_path / folder / name / f"{number}.png")
    done = train(
        results,
        "--model=alexnet-cifar",
        "--dataset=image-folder",
        "--batch=8",
        "--epochs=1",
        f"--data-dir={tmp_path / 'two'}",
        "--checkpoint",
        "--warmup-steps=1",
        strategy="model-parallel",
        devices=2,
    )
    assert done.status == 0, done.errors
    folder, document = only_run(results)
    assert document["parameters"] < 3_000_000, "images are brought to the size of CIFAR's"
    plot = run([*PLOT, folder, "--output", tmp_path / "f"])
    assert plot.status == 0, plot.errors
    assert (tmp_path / "f" / "samples.png").exists()
    other = run([*PLOT, folder, "--output", tmp_path / "g", "--data-dir", tmp_path / "three"])
    assert other.status == 3
    assert "does not fit the data" in other.errors
    assert (tmp_path / "g" / "curves.png").exists()


@pytest.mark.slow
def test_a_run_without_a_model_has_curves_and_no_run_is_one_sentence(results, tmp_path):
    done = train(results, "--dataset=mnist-5k", "--epochs=2")
    assert done.status == 0, done.errors
    plot = run([*PLOT, only_run(results)[0]])
    assert plot.status == 0
    assert "train with --checkpoint" in plot.errors
    assert (only_run(results)[0] / "figures" / "curves.png").exists()
    missing = run([*PLOT, tmp_path])
    assert missing.status == 2
    assert "is not a run's folder" in missing.errors
