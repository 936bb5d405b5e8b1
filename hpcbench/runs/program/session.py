"""A program started, waited for, judged."""

import os
import platform
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from hpcbench.cluster.launchers import LAUNCHERS, Placement
from hpcbench.cluster.rendezvous import reached
from hpcbench.cluster.schedulers import current_job, scheduler_of
from hpcbench.devices.cores import available_cores, by_core, core_share
from hpcbench.devices.gpus import visible_gpus
from hpcbench.errors import EnvironmentLacks
from hpcbench.process import end_of
from hpcbench.programs.config import ProgramConfig
from hpcbench.programs.intervals import Measured, measured
from hpcbench.programs.metric import Metric, rated
from hpcbench.programs.probe_lines import LINES, RANKS, STACKS, Process, read
from hpcbench.programs.verdict import (
    Refused,
    Row,
    asked_for,
    check_processes,
    refuse_unclear,
    rows_of_metric,
    rows_of_steps,
    warned,
)
from hpcbench.records.ownership import Owner, Ownership
from hpcbench.records.reader import read_document
from hpcbench.records.writer import RunWriter
from hpcbench.runs.circumstances import Circumstances
from hpcbench.runs.program.output import Output
from hpcbench.runs.program.record import (
    document,
    identity_of_run,
    summary,
    throughput_row,
    times_of_ranks,
)
from hpcbench.words import count

PROBE = Path(__file__).parent.parent.parent / "probe"
OUTPUT = "output"
POLL = 0.5
NOTHING = Measured([], 0, [])
# In run.json: whether the next attempt is to go on where this one was stopped.
GOES_ON = "goes_on"
# Between being asked to end and being killed: near its job's time limit a program may have much to
# save; whoever asks otherwise kills before long himself.
GRACE, SHORT_GRACE = 60.0, 12.0
SHELL = ("bash", "-c")
# Options of srun for as many tasks as there are devices.
BINDING = ("--accel-bind", "--cpu-bind", "--distribution", "--gpu-bind", "--mem-bind")


@dataclass
class Ended:
    """How the program ended: its status, and what stopped it (empty: itself)."""

    status: int
    stopped: str = ""
    failure: str = ""


class ProgramRun:
    """A run of a program: starts it, waits for it, judges it, writes what was measured."""

    def __init__(self, config: ProgramConfig, folder: Path, launcher: str, placement: Placement):
        self.config, self.folder = config, folder
        self._launcher, self._placement = launcher, placement
        self._job = current_job(os.environ)
        self._ranks = folder / RANKS
        self._circumstances = Circumstances(self._job)
        self._output = Output(Metric(config.metric, config.counted) if config.metric else None)
        self._signalled = 0
        self._started = datetime.now(UTC)

    def run(self) -> int:
        """The exit status: 0 done, 2 not what was asked for, 4 failed, 75 stopped."""
        ownership = Ownership(self.folder, Owner.here(self._job.task, self._job.restart))
        try:
            self._ranks.mkdir(exist_ok=True)
            for path in (*self._ranks.glob(LINES), *self._ranks.glob(STACKS)):
                path.unlink()
            command = self._command()
            self._keep_to_cores()
            self._begun(command, ownership, [], NOTHING).close()
            ended = self._follow(command)
            return self._judge(command, ended, ownership)
        finally:
            ownership.release()

    def _command(self) -> list[str]:
        """The whole command line, as it is started here."""
        config, place = self.config, self._placement
        batches = config.batches or ("", "")
        nodes = scheduler_of(self._job).nodes(os.environ)
        with socket.socket() as free:
            free.bind(("", 0))
            port = free.getsockname()[1]
        values = {
            "devices": config.devices,
            "nodes": place.nodes,
            "devices_per_node": place.per_node,
            "batch": batches[0],
            "global_batch": batches[1],
            "seed": config.seed if config.seed is not None else config.repeat or 0,
            "repeat": config.repeat or 0,
            "output": self.folder.absolute() / OUTPUT,
            "main_address": reached(nodes[:1], os.environ)[0] if nodes else "127.0.0.1",
            "main_port": port,
        }
        self._values = {f"HPCBENCH_{name.upper()}": str(value) for name, value in values.items()}
        (self.folder / OUTPUT).mkdir(exist_ok=True)
        self._goes_on = self._was_stopped()
        command = config.resumed(values) if self._goes_on else config.filled(values)
        if config.shell:
            command = [*SHELL, command[0]]
        if config.start == "per-device":
            return LAUNCHERS[self._launcher].command(command, place)
        if config.start == "per-node" and place.nodes > 1:
            of_nodes = Placement(
                ranks=place.nodes,
                per_node=1,
                nodes=place.nodes,
                cores_per_rank=place.cores_per_rank * place.per_node,
                gpus=place.gpus,
                gpus_per_rank=place.per_node,
                gpu_request=place.gpu_request,
                mpi=place.mpi,
                # How ranks are bound is for ranks.
                options=[each for each in place.options if not each.startswith(BINDING)],
                in_job=place.in_job,
            )
            return LAUNCHERS[self._launcher].command(command, of_nodes)
        return command

    def _was_stopped(self) -> bool:
        """Whether the attempt before this one was stopped by a signal, or is one that went on and
        was killed."""
        try:
            return bool(read_document(self.folder).get(GOES_ON))
        except (OSError, ValueError):
            return False

    def _keep_to_cores(self) -> None:
        """Where cores are the devices, have the program use those of its devices alone, so that
        one device is not given what two share."""
        wanted = self.config.cores_per_device
        here = available_cores()
        of_devices = (wanted or 0) * min(self.config.devices, self._placement.per_node)
        if wanted and not visible_gpus(os.environ) and of_devices < len(here):
            os.sched_setaffinity(0, core_share(by_core(here), 0, 1, of_devices))

    def _environment(self) -> dict[str, str]:
        config = self.config
        given = {**os.environ, **config.environment, **self._values}
        places = [str(PROBE), *filter(None, [given.get("PYTHONPATH")])]
        return {
            **given,
            "PYTHONPATH": os.pathsep.join(places),
            # Lines reach us when they are printed.
            "PYTHONUNBUFFERED": "1",
            "HPCBENCH_PROBE": str(self._ranks.absolute()),
            "HPCBENCH_PROBE_SECONDS": str(config.interval_seconds),
        }

    def _follow(self, command: Sequence[str]) -> Ended:
        """Start the program and wait for its end, or make one where it hangs or is to stop."""
        # Into a pipe, C's library would keep lines back; to a terminal it prints them at once.
        ours, theirs = pty.openpty() if self.config.metric else os.pipe()
        try:
            process = subprocess.Popen(
                command,
                stdout=theirs,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=self._environment(),
                start_new_session=True,
            )
        except OSError as error:
            raise EnvironmentLacks(f"{command[0]} cannot be started: {error.strerror}") from error
        finally:
            os.close(theirs)
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            signal.signal(number, lambda got, _: self._stop(process, got))
        reader = threading.Thread(target=self._output.follow, args=(ours,), daemon=True)
        reader.start()
        ended = self._wait(process)
        reader.join(timeout=5)
        return ended

    def _stop(self, process: subprocess.Popen[bytes], number: int) -> None:
        self._signalled = number
        _signal_group(process, signal.SIGTERM)

    def _wait(self, process: subprocess.Popen[bytes]) -> Ended:
        sizes: dict[str, int] = {}
        with end_of(process) as ended:
            while not (ended(POLL) or self._signalled):
                now = {path.name: path.stat().st_size for path in self._ranks.glob(LINES)}
                if now != sizes:
                    sizes, self._output.changed = now, time.monotonic()
                quiet = time.monotonic() - self._output.changed
                if quiet > self.config.stall_seconds:
                    return self._stalled(process)
        if not self._signalled:
            return self._left_behind(Ended(process.wait()))
        # It was asked already, and may be saving.
        _end(process, ask=False, grace=GRACE if self._signalled == signal.SIGUSR1 else SHORT_GRACE)
        # Told in time that a time limit is near, it could only begin anew for ever.
        if self._signalled == signal.SIGUSR1 and not self.config.resume_with:
            why = "its job's time limit came, and there is no --resume-with to go on by"
            return Ended(4, why, "timeout")
        return Ended(75, "stopped by a signal", "preempted")

    def _left_behind(self, ended: Ended) -> Ended:
        """End what still trains on this host though the command has ended: it would go on beside
        what is measured next."""
        there = []
        for process in read(self._ranks):
            if process.facts.get("host") != platform.node() or process.ended:
                continue
            # Another may have its number by now.
            with suppress(psutil.Error, OSError, KeyError):
                found = psutil.Process(process.facts["pid"])
                ours = found.environ().get("HPCBENCH_PROBE") == str(self._ranks.absolute())
                if ours and found.status() != psutil.STATUS_ZOMBIE:
                    found.kill()
                    there.append(process)
        if not there or ended.status:
            return ended
        why = (
            f"{there[0]} was still there when the command had ended, and was ended: a command has "
            f"to wait for what it starts"
        )
        return Ended(2, why, "config")

    def _stalled(self, process: subprocess.Popen[bytes]) -> Ended:
        """End it, and say where it is."""
        where = self._stacks()
        _end(process)
        what = "printed no rate" if self.config.metric else "took no step of training"
        limit = f"it {what} for {self.config.stall_seconds:g} s and was ended"
        return Ended(4, f"{limit}{where}", "timeout")

    def _stacks(self) -> str:
        """Where the ranks of this host are, by their own word; and in full in the output."""
        found = []
        for process in read(self._ranks):
            if process.facts.get("host") == platform.node():
                with suppress(OSError, KeyError):
                    os.kill(process.facts["pid"], signal.SIGUSR2)
                    found.append(process)
        time.sleep(1 if found else 0)
        said = []
        for process in found:
            path = self._ranks / f"{process.facts['host']}-{process.facts['pid']}.stack"
            text = path.read_text(errors="replace") if path.exists() else ""
            if text:
                print(f"hpcbench: {process} is here:\n{text}", flush=True)
                lines = [line for line in text.splitlines() if line.startswith("  File")]
                said.append(f"{process} in {lines[0].strip() if lines else 'no Python code'}")
        return f"; {'; '.join(said[:2])}" if said else ""

    def _judge(self, command: Sequence[str], ended: Ended, ownership: Ownership) -> int:
        """Write rows and run.json, and say how it ended."""
        processes = read(self._ranks)
        counted = measured(processes, self.config.interval_seconds) if processes else NOTHING
        rows: list[Row] = []
        refused: Refused | None = None
        try:
            if processes:
                check_processes(self.config, processes)
            rows = self._rows(processes, counted)
        except Refused as error:
            refused = error
        # What it measured until then is kept, and no reason to doubt what ended it.
        if ended.stopped:
            refused = Refused(ended.failure, ended.stopped)
        elif ended.status:
            reason = self._output.reason()
            refused = Refused("program", f"it ended with status {ended.status}: {reason}")
        writer = self._begun(command, ownership, processes, counted)
        try:
            for number, row in enumerate(rows):
                writer.throughput(throughput_row(number, row))
            if rows and not self._output.metric:
                for times in times_of_ranks(self.config, counted):
                    writer.ranks(times)
            writer.add(**{GOES_ON: ended.failure == "preempted"})
            if refused:
                writer.fail(*self._circumstances.explained(refused.failure, str(refused)))
            else:
                writer.complete()
        finally:
            writer.close()
        for sentence in warned(self.config, processes, counted):
            print(f"hpcbench: warning: {sentence}", file=sys.stderr)
        if refused is None:
            print(summary(self.config, writer.identity, rows))
            return 0
        print(f"hpcbench: {refused}", file=sys.stderr)
        return ended.status if ended.stopped else {"config": 2}.get(refused.failure, 4)

    def _begun(
        self,
        command: Sequence[str],
        ownership: Ownership,
        processes: Sequence[Process],
        counted: Measured,
    ) -> RunWriter:
        """A writer of the run's files, whose run.json says what is known and that it runs."""
        sweep, nodes = self.folder.parent.name, self._placement.nodes
        identity = identity_of_run(self.config, sweep, nodes, processes)
        of_ranks = bool(counted.intervals) and not self._output.metric
        writer = RunWriter(self.folder, identity, ownership, ranks=of_ranks)
        known = document(self.config, self._job, self._started, command, processes, counted)
        writer.start(known | {GOES_ON: self._goes_on})
        return writer

    def _rows(self, processes: Sequence[Process], counted: Measured) -> list[Row]:
        metric = self._output.metric
        if metric is None:
            if not processes and self._output.of_probe:
                raise Refused(
                    "config", f"no step was seen; the probe says: {self._output.of_probe}"
                )
            return rows_of_steps(self.config, processes, counted)
        if metric.unclear:
            raise Refused("config", f"--metric {self.config.metric!r} takes {metric.unclear}")
        found = rated(metric.matches, self.config.take)
        ranks = {match.rank for match in metric.matches} - {None}
        if ranks and len(ranks) != self.config.devices:
            raise Refused(
                "config",
                f"{asked_for(self.config.devices)}, and {count(len(ranks), 'rank')} printed a rate",
            )
        refuse_unclear(self.config, metric.matches)
        return rows_of_metric(self.config, found, metric.unreadable)


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _end(process: subprocess.Popen[bytes], ask: bool = True, grace: float = GRACE) -> int:
    """End the program and all that it started, first by asking; its status."""
    if ask:
        _signal_group(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=grace)
    _signal_group(process, signal.SIGKILL)
    return process.wait() or 4
