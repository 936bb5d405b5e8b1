"""A run from its first collective to its last file, as one of its processes sees it."""

from dataclasses import replace

from hpcbench.devices.cores import Cores
from hpcbench.devices.counters import counters_of
from hpcbench.devices.meter import Meter
from hpcbench.errors import HpcbenchError, Preempted
from hpcbench.records.identity import NONE
from hpcbench.records.ownership import Owner
from hpcbench.records.reader import is_complete
from hpcbench.runs.agreement import (
    exchange_hosts,
    gpu_of_rank,
    refuse_company,
    rendezvous,
    settle_repeat,
)
from hpcbench.runs.circumstances import Circumstances
from hpcbench.runs.faults import refuse_lost_gpus, translate
from hpcbench.runs.measurement import Measurement
from hpcbench.runs.recorder import Recorder, RunRecorder
from hpcbench.runs.resolve import ResolvedRun
from hpcbench.runs.stop import StopSignal, gone
from hpcbench.strategies import Communicator


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
            gpu = gpu_of_rank(launch.local_rank) if strategy.needs_launcher else ""
            hosts, self._peers = exchange_hosts(strategy, gpu, launch)
            settled = replace(resolved, config=config)
            measured = Measurement(settled, strategy, hosts, self._cores, meter, self._recorder)
            measured.run(lambda: self._stop.requested)

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
