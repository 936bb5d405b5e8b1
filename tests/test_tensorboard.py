"""TensorBoard's files hold what the result files hold, and cost no measured time."""

import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util.tensor_util import make_ndarray

from support import only_run, train

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("strategy", "devices"), [("single", 1), ("mirrored", 2), ("horovod", 2)])
def test_event_files_read_back(results, strategy, devices):
    done = train(
        results,
        "--dataset=mnist-5k",
        "--epochs=2",
        "--tensorboard",
        "--seed=0",
        strategy=strategy,
        devices=devices,
    )
    assert done.status == 0, done.errors
    folder, document = only_run(results)
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    epochs = pd.read_csv(folder / "accuracy.csv")
    rows = pd.read_csv(folder / "throughput.csv")
    measured = rows[rows["phase"] == "train"]
    tags = events.Tags()
    assert tags["graph"]
    for tag, expected in (
        ("accuracy/test", epochs["test_metric"]),
        ("loss/train", epochs["train_loss"]),
        ("throughput/samples_per_second", measured["samples_per_second"]),
    ):
        values = [float(make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)]
        assert values == pytest.approx(expected.tolist(), rel=1e-5)
    histograms = [tag for tag in tags["tensors"] if tag.endswith("/kernel")]
    assert len(histograms) == 3
    assert all(len(events.Tensors(tag)) == 2 for tag in histograms)
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    assert start.hparams["model"].string_value == "fc-64"
    assert list((folder / "tensorboard").rglob("*.xplane.pb")), "no profile"
    assert measured["samples"].sum() == 2 * document["schedule"]["samples"]
