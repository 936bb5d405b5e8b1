"""Training that is measured: from the first look at the data to the last row."""

import math
from collections.abc import Callable, Sequence

from hpcbench.devices.background import BackgroundThreads
from hpcbench.devices.cores import Cores
from hpcbench.devices.meter import Meter
from hpcbench.devices.taken import CoresTaken
from hpcbench.errors import Preempted
from hpcbench.frameworks.backend import Workload
from hpcbench.process import age
from hpcbench.runs.agreement import refuse_unlike_devices
from hpcbench.runs.data import load_data
from hpcbench.runs.description import document, identity
from hpcbench.runs.observers.console import TrainingProgress, summary
from hpcbench.runs.recorder import Recorder
from hpcbench.runs.resolve import ResolvedRun
from hpcbench.strategies import Strategy
from hpcbench.training.beside import Beside
from hpcbench.training.checkpoint import Progress
from hpcbench.training.loop import Training


class Measurement:
    """One connected process's part in it; ``hosts`` are those of all ranks, and the run's repeat is
    settled."""

    def __init__(
        self,
        resolved: ResolvedRun,
        strategy: Strategy,
        hosts: Sequence[str],
        cores: Cores,
        meter: Meter,
        recorder: Recorder,
    ) -> None:
        self._resolved, self._strategy, self._hosts = resolved, strategy, hosts
        self._cores, self._meter, self._recorder = cores, meter, recorder
        config, output = resolved.config, resolved.output
        self._seed = config.seed if config.seed is not None else config.repeat or 0
        self._folder = output.results / output.sweep / config.run_id
        # The clock of MLPerf's log does not stop for what is timed beside training.
        apart = strategy.steps_apart and not output.mllog
        self._rounds = config.no_exchange_intervals if apart else 0

    def run(self, stop_requested: Callable[[], bool]) -> None:
        """Train and record; raises HpcbenchError, Preempted after a stop that was requested."""
        output, recorder, folder = self._resolved.output, self._recorder, self._folder
        if output.mllog:
            from hpcbench.runs.observers.mllog import started_log

            # Its clock runs from here: what follows touches the data.
            recorder.watch(lambda: started_log(folder, self._resolved, self._seed))
        training = self._prepared(stop_requested)
        checkpoint = recorder.checkpoint(output.resume)
        progress = training.resume(checkpoint) if output.resume else Progress()
        self._announce(training, progress)
        compile_seconds = training.warm_up()
        startup = age()
        recorder.add(
            startup_seconds=startup,
            compile_seconds=compile_seconds,
            warmup_steps=training.warmed_up.steps,
            steady=training.warmed_up.steady,
            interval_steps=training.interval_steps,
        )
        recorder.watch(lambda: TrainingProgress(self._resolved.schedule.epochs))
        taken = CoresTaken(self._cores.processes_per_core)
        self._intervals(training, progress)
        self._sum_up(taken)
        keeps = self._resolved.config.checkpoint
        if keeps:
            training.backend.gather()
        recorder.keep_model(training.backend.save_model if keeps else None)
        if output.tensorboard:
            recorder.profile(training.unmeasured_steps)
        recorder.complete(lambda of, rows: summary(of, rows, startup, folder))

    def _prepared(self, stop_requested: Callable[[], bool]) -> Training:
        """The network with its data, on this process's devices."""
        resolved, strategy = self._resolved, self._strategy
        data = load_data(resolved, self._seed)
        workload = Workload(
            resolved.config, resolved.schedule, self._seed, resolved.source.spec, data, strategy
        )
        on_gpus = resolved.framework.gpu_name() is not None
        background = BackgroundThreads(0 if on_gpus else self._cores.threads)
        beside = Beside(self._rounds, resolved.launch.local_rank == 0, background)
        return Training(workload, stop_requested, self._meter, beside)

    def _announce(self, training: Training, progress: Progress) -> None:
        """Begin the run's files, once all ranks are known to be alike."""
        resolved, strategy, recorder = self._resolved, self._strategy, self._recorder
        of_rows = identity(resolved, strategy, self._cores, len(set(self._hosts)))
        refuse_unlike_devices(strategy, self._hosts, of_rows.device_kind, of_rows.cpu_math)
        about = document(resolved, training.backend, self._hosts)
        of_ranks = resolved.schedule.world_size > 1 or self._rounds > 0
        recorder.start(of_rows, about, progress, energy=self._meter.counts, ranks=of_ranks)
        if resolved.output.tensorboard:
            backend, config = training.backend, resolved.config
            folder = self._folder
            recorder.watch(lambda: resolved.framework.tensorboard(folder, backend, config))

    def _intervals(self, training: Training, progress: Progress) -> None:
        """Train to the end, recording each row; a checkpoint when a signal stops the run, and
        after each epoch if asked."""
        recorder, backend = self._recorder, training.backend
        recorder.training(training.intervals_after(progress), progress.steps)
        try:
            for row, now in training.run(progress):
                epoch_ended = now.epochs > progress.epochs
                progress = now
                recorder.row(row)
                if epoch_ended and self._resolved.config.checkpoint:
                    backend.gather()
                    recorder.save(backend, progress)
        except Preempted:
            backend.gather()
            recorder.save(backend, progress)
            raise
        finally:
            recorder.trained(progress.epochs * self._resolved.schedule.samples)

    def _sum_up(self, taken: CoresTaken) -> None:
        """What is known of the whole run: of the rank that had the most of it."""
        shares = [taken.share(), float(self._resolved.framework.peak_memory())]
        # nan of one rank is nan of all.
        most_taken, memory = self._strategy.all_gather(shares).max(axis=0).tolist()
        self._recorder.add(
            cores_taken_share=most_taken if math.isfinite(most_taken) else None,
            peak_memory_bytes=int(memory),
        )
        self._meter.close()
        if self._meter.counts:
            self._recorder.add(energy_sampling_core_share=self._meter.cost)
