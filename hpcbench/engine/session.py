"""A checked run from its first collective to its last file."""

import contextlib
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from hpcbench.binding import Cores
from hpcbench.config import RunConfig
from hpcbench.counters import counters_of
from hpcbench.datasets.rows import Rows
from hpcbench.engine.backend import Backend
from hpcbench.engine.checkpoint import CHECKPOINT_FILE, Progress, load, read_progress, save
from hpcbench.engine.meter import Meter
from hpcbench.engine.stop import StopSignal, gone
from hpcbench.errors import (
    CommunicationFailed,
    DataError,
    EnvironmentLacks,
    HpcbenchError,
    OutOfMemory,
    Preempted,
    Superseded,
)
from hpcbench.frameworks import FRAMEWORKS, Framework
from hpcbench.provenance import collect, cpu_share
from hpcbench.records.ownership import OWNER_FILE, Owner, Ownership
from hpcbench.records.reader import is_complete
from hpcbench.records.schema import AccuracyRow, EnergyRow, Identity, Row, ThroughputRow
from hpcbench.records.writer import RunWriter, claim_folder
from hpcbench.report import TrainingProgress, summary
from hpcbench.strategies import Strategy

if TYPE_CHECKING:
    from hpcbench.train import Checked


def run(checked: "Checked", cores: Cores) -> None:
    """Train on this process' ``cores``, and write the run's files.

    Raises HpcbenchError, with the files left readable.
    """
    session = Session(checked, cores)
    try:
        session.train()
    except BaseException as error:
        raised = translate(error, session.framework)
        session.failed(raised)
        if raised is error:
            raise
        raise raised from error
    finally:
        session.close()


class Session:
    """One process' part in a run; rank 0 is the one that writes."""

    def __init__(self, checked: "Checked", cores: Cores) -> None:
        self._checked = checked
        self._cores = cores
        self._config: RunConfig | None = None
        self._writer: RunWriter | None = None
        self._ownership: Ownership | None = None
        self._board: Any = None
        self._mllog: Any = None
        self._peers: dict[int, int] = {}
        self._stop = StopSignal(self._terminated)
        devices, kind = checked.plan.world_size, checked.strategy
        self.framework = FRAMEWORKS[checked.config.framework]
        self.framework.prepare(
            cores.count, kind.devices_of_process(devices), checked.launch.local_rank
        )
        source, counters = counters_of(
            checked.launch.local_rank, kind.devices_of_process(devices),
            on_gpus=self.framework.gpu_name() is not None,
        )  # fmt: skip
        self._meter = Meter(source, counters)
        self._strategy: Strategy = kind(checked.launch, devices, checked.config.exchange or "none")

    @property
    def _folder(self) -> Path:
        output = self._checked.output
        return output.results / output.sweep / self._settled.run_id

    @property
    def _settled(self) -> RunConfig:
        """The configuration once it is known which repeat this is."""
        if self._config is None:
            raise RuntimeError("the run's repeat is not settled yet")
        return self._config

    def train(self) -> None:
        """Train and record; returns at once where the run is complete already."""
        from hpcbench.engine.training import Training

        checked, strategy = self._checked, self._strategy
        config = self._config = self._claim()
        if is_complete(self._folder):
            if strategy.rank == 0:
                print(f"complete already: {self._folder}")
            return
        if strategy.rank == 0:
            self._ownership = Ownership(self._folder, Owner.of(os.environ))
        seed = config.seed if config.seed is not None else config.repeat or 0
        if strategy.rank == 0 and checked.output.mllog:
            self._mllog = self._open_mllog(seed)
        data = _load(checked, seed)
        hosts, self._peers = _meet(strategy)
        training = Training(
            config, checked.plan, seed, checked.source.spec, data, strategy,
            lambda: self._stop.requested, self._meter,
        )  # fmt: skip
        progress = self._resume(training)
        identity = self._identity(seed, len(set(hosts)))
        if self._ownership:
            keep = (progress.throughput_rows, progress.accuracy_rows)
            self._writer = RunWriter(
                self._folder, identity, self._ownership, keep, energy=self._meter.counts
            )
            self._writer.start(self._document(identity, training, hosts))
            if checked.output.tensorboard:
                self._board = self._open_board(training, progress.steps)
        compile_seconds = training.warm_up()
        startup = time.time() - psutil.Process().create_time()
        if self._writer:
            self._writer.add(
                startup_seconds=startup, compile_seconds=compile_seconds,
                warmup_steps=config.warmup_steps,
            )  # fmt: skip
        rows = self._record(training, progress)
        self._meter.close()
        if self._writer:
            if self._meter.counts:
                self._writer.add(energy_sampling_core_share=self._meter.cost)
            self._keep_model(training.backend)
        self._measure_beside(training)
        if self._writer:
            self._writer.complete()
            if {AccuracyRow, ThroughputRow} <= {type(row) for row in rows}:
                summary(identity, rows, startup, self._folder)
            else:
                print(f"complete, by what was measured before: {self._folder}")

    def _record(self, training: Any, progress: Progress) -> list[Row]:
        """Train to the end, writing each row; a checkpoint when a signal stops the run, and
        after each epoch if asked."""
        plan = self._checked.plan
        per_epoch = -(-plan.full_steps // plan.interval_steps)
        rows = []
        if not self._writer:
            return [row for row, _ in training.run(progress)]
        now = progress
        left = (plan.epochs - progress.epochs) * per_epoch - progress.intervals
        bar = TrainingProgress(left, plan.epochs)
        watchers = [watcher for watcher in (bar, self._board, self._mllog) if watcher]
        try:
            for row, now in training.run(progress):
                rows.append(row)
                if isinstance(row, ThroughputRow):
                    self._writer.throughput(row)
                    for watcher in watchers:
                        watcher.interval(row)
                elif isinstance(row, EnergyRow):
                    self._writer.energy(row)
                else:
                    self._writer.accuracy(row)
                    for watcher in watchers:
                        watcher.epoch(row)
                    if self._settled.checkpoint:
                        self._save(training, now)
        except Preempted:
            self._save(training, now)
            raise
        finally:
            bar.close()
            if self._mllog:
                self._mllog.run_stop(now.epochs * plan.samples)
        return rows

    def _measure_beside(self, training: Any) -> None:
        """What is timed or profiled after training, since it changes the weights."""
        if self._checked.output.tensorboard:
            self._profile(training)
        if self._checked.plan.world_size > 1:
            for row in training.without_exchange(self._settled.no_exchange_intervals):
                if self._writer:
                    self._writer.throughput(row)

    def _open_mllog(self, seed: int) -> Any:
        """MLPerf's log, its clock running: what follows touches the data."""
        from hpcbench.engine.mllog import MlLog

        config, plan, spec = self._settled, self._checked.plan, self._checked.source.spec
        log = MlLog(self._folder, psutil.Process().create_time(), config.target, plan.epochs)
        log.settings(
            benchmark=config.model, seed=seed, global_batch=plan.global_batch,
            train_samples=plan.samples, eval_samples=spec.test_samples, optimizer=plan.optimizer,
            learning_rate=plan.scaled_learning_rate,
        )  # fmt: skip
        log.run_start()
        return log

    def _open_board(self, training: Any, steps: int) -> Any:
        from hpcbench.engine.tensorboard import Board

        board = Board(self._folder, training.backend.named_weights, steps)
        board.settings(self._settled.model_dump(mode="json"), self._settled.run_id)
        board.graph(training.backend.graph)
        return board

    def _profile(self, training: Any) -> None:
        """Some more steps on all ranks, which rank 0 looks at."""
        if self._board:
            self._board.profile(training.unmeasured_steps)
            self._board.close()
        else:
            training.unmeasured_steps()

    def _save(self, training: Any, progress: Progress) -> None:
        if self._ownership:
            with self._ownership.guard():
                save(self._folder / CHECKPOINT_FILE, training.backend.state(), progress)

    def _keep_model(self, backend: Backend) -> None:
        """The trained model where checkpoints were asked for; else not even a stop's checkpoint."""
        if self._settled.checkpoint:
            backend.save_model(self._folder)
        else:
            (self._folder / CHECKPOINT_FILE).unlink(missing_ok=True)

    def _claim(self) -> RunConfig:
        """Settle which repeat this is; rank 0 decides for all."""
        checked, config = self._checked, self._checked.config
        chosen = config.repeat
        if chosen is None:
            chosen = 0
            if self._strategy.rank == 0:
                sweep = checked.output.results / checked.output.sweep
                chosen = claim_folder(
                    lambda repeat: sweep / config.model_copy(update={"repeat": repeat}).run_id,
                    resume=checked.output.resume,
                )
        chosen = int(self._strategy.gather([chosen])[0, 0])
        return config.model_copy(update={"repeat": chosen})

    def _resume(self, training: Any) -> Progress:
        """Rank 0 reads the checkpoint, if one is wanted and there, and tells the others."""
        path = self._folder / CHECKPOINT_FILE
        progress = Progress()
        if not self._checked.output.resume:
            if self._ownership:
                path.unlink(missing_ok=True)
            return progress
        if self._strategy.rank == 0 and path.exists():
            progress = read_progress(path)
            load(path, training.backend)
        row = progress.numbers()
        # All ranks tell as many numbers, whether they read the checkpoint or not.
        row += [0.0] * (training.progress_numbers - len(row))
        told = self._strategy.gather(row)[0].tolist()
        training.backend.share_state()
        return Progress.of(told)

    def _identity(self, seed: int, nodes: int) -> Identity:
        config, plan, output = self._settled, self._checked.plan, self._checked.output
        spec = self._checked.source.spec
        return Identity(
            run_id=config.run_id,
            sweep=output.sweep,
            model=config.model,
            dataset="synthetic" if config.input == "synthetic" else spec.title or spec.name,
            framework=config.framework,
            strategy=config.strategy,
            devices=plan.world_size * self._strategy.devices_per_replica,
            nodes=nodes,
            device_kind=self.framework.gpu_name()
            or cpu_share(
                self._cores.count // self._strategy.devices_of_process(self._strategy.replicas),
                self._cores.processes_per_core,
            ),
            scaling=config.scaling,
            batch_per_device=plan.batch_per_device,
            global_batch=plan.global_batch,
            precision=config.precision,
            xla=config.xla,
            input=config.input + ("" if config.augment == "none" else f", {config.augment}"),
            exchange=config.exchange or "none",
            seed=seed,
            repeat=config.repeat or 0,
        )

    def _document(self, identity: Identity, training: Any, hosts: Sequence[str]) -> dict[str, Any]:
        backend = training.backend
        return {
            "run_id": identity.run_id,
            "sweep": identity.sweep,
            "config": self._settled.model_dump(mode="json"),
            "schedule": self._checked.plan.model_dump(mode="json"),
            "data_files": [str(path) for path in self._checked.source.files],
            "parameters": backend.parameters,
            "trainable_parameters": backend.trainable_parameters,
            "flops_per_sample": backend.flops_per_sample(),
            "hosts": list(hosts),
            "provenance": collect(),
        }

    def _terminated(self) -> None:
        """On SIGTERM, at once: the launcher sends it when another rank died, and kills soon."""
        if not self._writer:
            return
        dead = gone(self._peers)
        if dead:
            self._writer.fail("communication", f"rank {dead[0]} on {platform.node()} died")
        else:
            self._writer.fail("preempted", "stopped by SIGTERM, from the scheduler or launcher")

    def failed(self, error: BaseException) -> None:
        """Record why the run ends."""
        if not self._writer:
            self._give_back_claim()
        else:
            stopped = "preempted" if isinstance(error, KeyboardInterrupt) else "environment"
            failure = error.failure if isinstance(error, HpcbenchError) else stopped
            # The disk that failed the run may not take its obituary; run.json still says
            # "running" then, which readers report as a run that did not end.
            with contextlib.suppress(EnvironmentLacks, Superseded):
                self._writer.fail(failure, str(error) or type(error).__name__)
        if isinstance(error, Preempted):
            # The launcher may kill the rest when the first rank leaves; rank 0 has to be done.
            self._strategy.gather([0.0])

    def _give_back_claim(self) -> None:
        """Remove the folder of a run that failed before it wrote anything."""
        if self._ownership:
            with contextlib.suppress(OSError):
                (self._folder / OWNER_FILE).unlink()
                self._folder.rmdir()

    def close(self) -> None:
        self._meter.close()
        if self._writer:
            self._writer.close()
        if self._ownership:
            self._ownership.release()


def translate(error: BaseException, framework: Framework) -> BaseException:
    """The harness' own error for what a framework, Horovod or MPI raise."""
    if isinstance(error, HpcbenchError):
        return error
    known = framework.translate(error)
    if known:
        return known
    text = str(error).split("\n")[0][:300]
    if isinstance(error, MemoryError):
        return OutOfMemory(f"out of memory: {text}; lower --batch")
    marks = ("HorovodInternalError", "Horovod", "MPI_ERR", "NCCL", "Connection closed by peer")
    if any(mark in repr(error) for mark in marks):
        return CommunicationFailed(f"the exchange between ranks failed: {text}")
    return error


def _load(checked: "Checked", seed: int) -> Any:
    """The run's arrays: read from the source's files, or made up in their shape."""
    from hpcbench.datasets import synthetic

    source = checked.source
    data = (
        synthetic.arrays(source.spec, seed)
        if checked.config.input == "synthetic"
        else source.read()
    )
    if checked.plan.samples > len(data.train_targets):
        raise DataError(
            f"{source.files[0]} holds {len(data.train_targets)} training samples where "
            f"{checked.plan.samples} are expected"
        )
    data = data.first(checked.plan.samples)
    if isinstance(data.train_inputs, Rows) and checked.config.input == "resident":
        needed, free = data.train_inputs.nbytes, psutil.virtual_memory().available
        if needed > free:
            raise EnvironmentLacks(
                f"{source.spec.name} takes {needed / 2**30:,.1f} GiB in memory and "
                f"{free / 2**30:,.1f} GiB are free; choose --input stream"
            )
    return data


def _meet(strategy: Strategy) -> tuple[list[str], dict[int, int]]:
    """All ranks' host names, and the process ids of the other ranks on this host."""
    name = platform.node()[:64]
    codes = [float(ord(c)) for c in name.ljust(64)]
    rows = strategy.gather([os.getpid(), *codes])
    hosts = ["".join(chr(int(code)) for code in row[1:]).rstrip() for row in rows]
    pids = {
        rank: int(rows[rank, 0])
        for rank, host in enumerate(hosts)
        if host == platform.node()[:64] and rank != strategy.rank
    }
    return hosts, pids
