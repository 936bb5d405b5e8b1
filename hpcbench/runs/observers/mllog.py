"""The log of a run as MLPerf writes it: ``:::MLLOG`` lines, from which time to train is read.

By MLPerf's training rules the clock runs from the moment that training data is first touched
(``run_start``) to the evaluation that reaches the target (``run_stop``, status success), so reading
the data, building and compiling the network on it and all evaluations are in it.
"""

import logging
import time
from pathlib import Path

import psutil
from mlperf_logging.mllog import constants
from mlperf_logging.mllog.mllog import MLLogger

from hpcbench.records.observer import Observer
from hpcbench.records.schema import AccuracyRow, ThroughputRow
from hpcbench.runs.resolve import ResolvedRun

FILE = "mllog.txt"


class MlLog(Observer):
    """The log in the ``folder`` of a run that has ``epochs`` to reach its ``target``.

    ``began`` is when the process did, in seconds since 1970.
    """

    def __init__(self, folder: Path, began: float, target: float | None, epochs: int) -> None:
        self._target, self._epochs, self._reached = target, epochs, False
        self._handler = logging.FileHandler(folder / FILE, mode="w")
        lines = logging.Logger("hpcbench.mllog")
        lines.addHandler(self._handler)
        # Where in this file a line comes from would tell a reader nothing about the run.
        self._log = MLLogger(lines, root_dir=str(Path(__file__).parents[3]))
        self._interval_ended = 0.0
        self._log.start(constants.INIT_START, time_ms=_milliseconds(began))

    def settings(
        self,
        benchmark: str,
        seed: int,
        global_batch: int,
        train_samples: int,
        eval_samples: int,
        optimizer: str,
        learning_rate: float,
    ) -> None:
        """What the rules want to know of a run before it starts."""
        for key, value in (
            (constants.SUBMISSION_BENCHMARK, benchmark),
            (constants.SUBMISSION_DIVISION, constants.OPEN),
            (constants.SUBMISSION_STATUS, constants.RESEARCH),
            (constants.SEED, seed),
            (constants.GLOBAL_BATCH_SIZE, global_batch),
            (constants.TRAIN_SAMPLES, train_samples),
            (constants.EVAL_SAMPLES, eval_samples),
            (constants.GRADIENT_ACCUMULATION_STEPS, 1),
            (constants.OPT_NAME, optimizer),
            (constants.OPT_BASE_LR, learning_rate),
        ):
            self._log.event(key, value)

    def run_start(self) -> None:
        """Before training data is touched."""
        self._log.end(constants.INIT_STOP)
        self._log.start(constants.RUN_START)
        self._epoch_start(1)

    def interval(self, row: ThroughputRow) -> None:
        """Training may have stopped here, for an evaluation."""
        self._interval_ended = time.time()

    def epoch(self, row: AccuracyRow) -> None:
        """An evaluation, after which the next epoch starts unless the run is over."""
        at, epoch = _milliseconds(self._interval_ended), _of(row.epoch)
        self._log.end(constants.EPOCH_STOP, time_ms=at, metadata=epoch)
        self._log.start(constants.EVAL_START, time_ms=at, metadata=epoch)
        self._log.event(constants.EVAL_ACCURACY, row.test_metric, metadata=epoch)
        self._log.end(constants.EVAL_STOP, metadata=epoch)
        self._reached = row.reaches(self._target)
        if row.epoch < self._epochs and not self._reached:
            self._epoch_start(row.epoch + 1)

    def stop(self, samples: int) -> None:
        """What never reached its target is aborted."""
        self._log.end(
            constants.RUN_STOP,
            metadata={
                constants.STATUS: constants.SUCCESS if self._reached else constants.ABORTED,
                constants.SAMPLES_COUNT: samples,
            },
        )
        self._handler.close()

    def _epoch_start(self, epoch: int) -> None:
        self._log.start(constants.EPOCH_START, metadata=_of(epoch))


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _of(epoch: int) -> dict[str, int]:
    return {constants.EPOCH_NUM: epoch}


def started_log(folder: Path, resolved: ResolvedRun, seed: int) -> MlLog:
    """The log of a run in ``folder``, with its clock running."""
    config, schedule = resolved.config, resolved.schedule
    log = MlLog(folder, psutil.Process().create_time(), config.target, schedule.epochs)
    log.settings(
        benchmark=config.model,
        seed=seed,
        global_batch=schedule.global_batch,
        train_samples=schedule.samples,
        eval_samples=resolved.source.spec.test_samples,
        optimizer=schedule.optimizer,
        learning_rate=schedule.scaled_learning_rate,
    )
    log.run_start()
    return log
