"""What TensorBoard shows of a run, written by rank 0 between the timed intervals.

Scalars while it trains, histograms of the weights after each epoch, the graph of the training step,
the settings for the hyperparameter plugin, and a profile of some steps that nothing else measures.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from hpcbench.records.observer import Observer
from hpcbench.records.schema import AccuracyRow, ThroughputRow

FOLDER = "tensorboard"
FLUSH_MILLISECONDS = 2000


class Board(Observer):
    """The event files of a run, below its ``folder``; ``weights`` returns the weights by name."""

    def __init__(self, folder: Path, weights: Callable[[], Sequence[tuple[str, Any]]]) -> None:
        self.folder = folder / FOLDER
        self._writer = tf.summary.create_file_writer(
            str(self.folder), flush_millis=FLUSH_MILLISECONDS
        )
        self._weights = weights
        self._steps = 0

    def settings(self, settings: dict[str, Any], run_id: str) -> None:
        """The run's configuration, so that TensorBoard can compare the runs of a sweep."""
        from tensorboard.plugins.hparams import api

        known = {name: value for name, value in settings.items() if value is not None}
        with self._writer.as_default():
            api.hparams(known, trial_id=run_id)

    def graph(self, graph: Any) -> None:
        with self._writer.as_default(step=0):
            tf.summary.graph(graph)

    def start(self, intervals: int, steps: int) -> None:
        self._steps = steps

    def interval(self, row: ThroughputRow) -> None:
        """A timed interval, at the number of steps behind it."""
        self._steps += row.steps
        with self._writer.as_default(step=self._steps):
            tf.summary.scalar("throughput/samples_per_second", row.samples_per_second)
            tf.summary.scalar("throughput/step_milliseconds", 1e3 * row.seconds / row.steps)

    def epoch(self, row: AccuracyRow) -> None:
        """An evaluation, and the weights as they are now."""
        with self._writer.as_default(step=row.epoch):
            tf.summary.scalar("loss/train", row.train_loss)
            tf.summary.scalar("loss/test", row.test_loss)
            tf.summary.scalar(f"{row.metric}/train", row.train_metric)
            tf.summary.scalar(f"{row.metric}/test", row.test_metric)
            tf.summary.scalar("learning_rate", row.learning_rate)
            for name, value in self._weights():
                tf.summary.histogram(name, value)

    def profile(self, work: Callable[[], None]) -> None:
        """Do ``work`` under TensorFlow's profiler."""
        tf.profiler.experimental.start(str(self.folder))
        work()
        tf.profiler.experimental.stop()

    def close(self) -> None:
        self._writer.close()
