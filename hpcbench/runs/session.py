"""A resolved run from its first collective to its last file, as one of its processes sees it."""

import math
from dataclasses import replace

from hpcbench.config import RunConfig
from hpcbench.devices.background import BackgroundThreads
from hpcbench.devices.cores import Cores
from hpcbench.devices.counters import counters_of
from hpcbench.devices.meter import Meter
from hpcbench.devices.taken import CoresTaken
from hpcbench.errors import HpcbenchError, Preempted
from hpcbench.frameworks.backend import Workload
from hpcbench.process import age
from hpcbench.records.identity import NONE
from hpcbench.records.ownership import Owner
from hpcbench.records.reader import is_complete
from hpcbench.runs.agreement import (
    exchange_hosts,
    gpu_of_rank,
    refuse_company,
    refuse_unlike_devices,
    rendezvous,
    settle_repeat,
)
from hpcbench.runs.circumstances import Circumstances
from hpcbench.runs.data import load_data
from hpcbench.runs.description import document, identity
from hpcbench.runs.faults import refuse_lost_gpus, translate
from hpcbench.runs.observers.console import TrainingProgress, summary
from hpcbench.runs.recorder import Recorder, RunRecorder
from hpcbench.runs.resolve import ResolvedRun
from hpcbench.runs.stop import StopSignal, gone
from hpcbench.strategies import Communicator, Strategy
from hpcbench.training.beside import Beside
from hpcbench.training.checkpoint import Progress
from hpcbench.training.loop import Training


def run(resolved: ResolvedRun, cores: Cores) -> None:
    """Train on this process's ``cores``, and write the run's files.

    Raises HpcbenchError, with the files left readable.
    """
    session = Session(resolved, cores)
    try:
        session.run()
    except BaseException as error:
        raised = translate(error, resolved.framework)
        session.failed(raised)
        if raised is error:
            raise
        raise raised from error
    finally:
        session.close()


class Session:
    """One process's part in a run; what is written goes through its recorder."""

    def __init__(self, resolved: ResolvedRun, cores: Cores) -> None:
        self._resolved = resolved
        self._cores = cores
        self._recorder = Recorder()
        # Alone until the ranks are connected.
        self._communicator = Communicator()
        self._peers: dict[int, int] = {}
        self._circumstances = Circumstances(resolved.job)
        self._stop = StopSignal(self._terminated)

    def run(self) -> None:
        """Train and record; returns at once where the run is complete already."""
        resolved, framework = self._resolved, self._resolved.framework
        launch, devices = resolved.launch, resolved.devices_of_process
        framework.prepare(self._cores.threads, devices, launch.local_rank)
        on_gpus = framework.gpu_name() is not None
        refuse_lost_gpus(framework)
        with Meter(*counters_of(launch.local_rank, devices, on_gpus)) as meter:
            world_size, exchange = resolved.schedule.world_size, resolved.config.exchange
            with rendezvous(launch, resolved.strategy):
                strategy = resolved.strategy(launch, world_size, exchange or NONE)
            self._communicator = strategy
            config, folder = settle_repeat(resolved, strategy)
            if is_complete(folder):
                if strategy.rank == 0:
                    print(f"complete already: {folder}")
                return
            if strategy.rank == 0:
                owner = Owner.here(resolved.job.task, resolved.job.restart)
                self._recorder = RunRecorder(folder, owner)
                refuse_company(resolved, config, owner)
            self._train(replace(resolved, config=config), strategy, meter)

    def _train(self, resolved: ResolvedRun, strategy: Strategy, meter: Meter) -> None:
        """Train a run whose repeat is settled."""
        config, schedule, recorder = resolved.config, resolved.schedule, self._recorder
        seed = config.seed if config.seed is not None else config.repeat or 0
        folder = resolved.output.results / resolved.output.sweep / config.run_id
        if resolved.output.mllog:
            from hpcbench.runs.observers.mllog import started_log

            # Its clock runs from here: what follows touches the data.
            recorder.watch(lambda: started_log(folder, resolved, seed))
        data = load_data(resolved, seed)
        gpu = gpu_of_rank(resolved.launch.local_rank) if strategy.needs_launcher else ""
        hosts, self._peers = exchange_hosts(strategy, gpu, resolved.launch)
        workload = Workload(config, schedule, seed, resolved.source.spec, data, strategy)
        # The clock of MLPerf's log does not stop for what is timed beside training.
        rounds = 0 if resolved.output.mllog else config.no_exchange_intervals
        on_gpus = resolved.framework.gpu_name() is not None
        background = BackgroundThreads(0 if on_gpus else self._cores.threads)
        beside = Beside(rounds, resolved.launch.local_rank == 0, background)
        training = Training(workload, lambda: self._stop.requested, meter, beside)
        checkpoint = recorder.checkpoint(resolved.output.resume)
        progress = training.resume(checkpoint) if resolved.output.resume else Progress()
        of_rows = identity(resolved, strategy, self._cores, len(set(hosts)))
        refuse_unlike_devices(strategy, hosts, of_rows.device_kind, of_rows.cpu_math)
        about = document(resolved, training.backend, hosts)
        of_ranks = schedule.world_size > 1 or rounds > 0
        recorder.start(of_rows, about, progress, energy=meter.counts, ranks=of_ranks)
        if resolved.output.tensorboard:
            backend = training.backend
            recorder.watch(lambda: resolved.framework.tensorboard(folder, backend, config))
        compile_seconds = training.warm_up()
        startup = age()
        recorder.add(
            startup_seconds=startup,
            compile_seconds=compile_seconds,
            warmup_steps=training.warmed_up.steps,
            steady=training.warmed_up.steady,
            interval_steps=training.interval_steps,
        )
        recorder.watch(lambda: TrainingProgress(schedule.epochs))
        taken = CoresTaken(self._cores.processes_per_core)
        self._intervals(training, progress, config, schedule.samples)
        # nan of one rank is nan of all.
        shares = [taken.share(), float(resolved.framework.peak_memory())]
        most_taken, memory = strategy.all_gather(shares).max(axis=0).tolist()
        recorder.add(
            cores_taken_share=most_taken if math.isfinite(most_taken) else None,
            peak_memory_bytes=int(memory),
        )
        meter.close()
        if meter.counts:
            recorder.add(energy_sampling_core_share=meter.cost)
        recorder.keep_model(training.backend.save_model if config.checkpoint else None)
        if resolved.output.tensorboard:
            recorder.profile(training.unmeasured_steps)
        recorder.complete(lambda of, rows: summary(of, rows, startup, folder))

    def _intervals(
        self, training: Training, progress: Progress, config: RunConfig, samples: int
    ) -> None:
        """Train to the end, recording each row; a checkpoint when a signal stops the run, and
        after each epoch if asked."""
        recorder, backend = self._recorder, training.backend
        recorder.training(training.intervals_after(progress), progress.steps)
        try:
            for row, now in training.run(progress):
                epoch_ended = now.epochs > progress.epochs
                progress = now
                recorder.row(row)
                if epoch_ended and config.checkpoint:
                    recorder.save(backend, progress)
        except Preempted:
            recorder.save(backend, progress)
            raise
        finally:
            recorder.trained(progress.epochs * samples)

    def _terminated(self) -> None:
        """On SIGTERM, at once: the launcher sends it when another rank died, and kills soon."""
        dead = gone(self._peers)
        if dead:
            self._recorder.killed(*self._circumstances.of_lost_rank(dead[0]))
            return
        stopped = "preempted", "stopped by SIGTERM, from the scheduler or launcher"
        # First what is known at once: a scheduler takes its time to answer.
        self._recorder.killed(*stopped)
        if self._communicator.rank == 0:
            self._recorder.killed(*self._circumstances.explained(*stopped))

    def failed(self, error: BaseException) -> None:
        """Record why the run ends."""
        stopped = "preempted" if isinstance(error, KeyboardInterrupt) else "environment"
        failure = error.failure if isinstance(error, HpcbenchError) else stopped
        message = str(error) or type(error).__name__
        if self._communicator.rank == 0 and not isinstance(error, KeyboardInterrupt):
            failure, message = self._circumstances.explained(failure, message)
        self._recorder.fail(failure, message)
        if isinstance(error, Preempted):
            # The launcher may kill the rest when the first rank leaves; rank 0 has to be done.
            self._communicator.all_gather([0.0])

    def close(self) -> None:
        self._recorder.close()
