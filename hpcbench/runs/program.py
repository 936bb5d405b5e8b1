"""python -m hpcbench.runs.program: a run of somebody's own program, from its start to its rows."""

import argparse
import json
import os
import platform
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any

from hpcbench.cli import Parser
from hpcbench.cluster.launchers import LAUNCHERS, Placement
from hpcbench.cluster.schedulers import current_job, scheduler_of
from hpcbench.devices.cores import available_cores, cpu_share
from hpcbench.devices.gpus import chosen, list_gpus, visible_gpus
from hpcbench.errors import ConfigError, EnvironmentLacks, HpcbenchError
from hpcbench.process import output_of
from hpcbench.programs.config import ProgramConfig
from hpcbench.programs.intervals import Measured, measured
from hpcbench.programs.metric import Metric, rated
from hpcbench.programs.told import LINES, STACKS, Process, read
from hpcbench.programs.verdict import (
    Refused,
    Row,
    check_processes,
    rows_of_metric,
    rows_of_steps,
    warned,
)
from hpcbench.records.identity import UNKNOWN, Identity
from hpcbench.records.ownership import Owner, Ownership
from hpcbench.records.provenance import collect
from hpcbench.records.reader import is_complete
from hpcbench.records.schema import PHASE_TRAIN, ThroughputRow
from hpcbench.records.writer import RunWriter
from hpcbench.runs.circumstances import Circumstances
from hpcbench.validation import parse

PROBE = Path(__file__).parent.parent / "probe"
RANKS = "ranks"
POLL = 0.5
# Between being asked to end and being killed.
GRACE = 20.0
SHELL = ("bash", "-c")
KEPT_LINES, LAST_LINES = 400, 3
TRACEBACK = "Traceback (most recent call last)"
# What Python says last of an exception, perhaps behind a launcher's mark of the rank.
EXCEPTION = re.compile(r"(?:\[[^\]]*\]:?\s*)?([A-Za-z_][\w.]*(?:Error|Exception|Interrupt)\b.*)")


@dataclass
class Ended:
    """How the program ended: its status, and what stopped it (empty: itself)."""

    status: int
    stopped: str = ""
    failure: str = ""


class Output:
    """What the program prints: passed on, searched for the metric, its last lines kept."""

    def __init__(self, metric: Metric | None) -> None:
        self.metric = metric
        self._last: deque[str] = deque(maxlen=KEPT_LINES)
        self.changed = self._began = time.monotonic()

    def follow(self, descriptor: int) -> None:
        """Read until the program's end; a terminal's carriage return ends a line too."""
        rest = b""
        # A terminal whose other end is gone is an error to the reader.
        with suppress(OSError):
            while chunk := os.read(descriptor, 65536):
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()
                *lines, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
                for line in lines:
                    self._line(line.decode(errors="replace"))
        if rest:
            self._line(rest.decode(errors="replace"))

    def reason(self) -> str:
        """The exception of the rank that ended first; else the last lines with a word in them."""
        lines = list(self._last)
        traces = [place for place, line in enumerate(lines) if TRACEBACK in line]
        for line in lines[traces[0] :] if traces else ():
            if found := EXCEPTION.match(line):
                return found[1]
        worded = [line for line in lines if re.search(r"\w", line)]
        return " | ".join(worded[-LAST_LINES:]) or "it printed nothing"

    def _line(self, text: str) -> None:
        if not text.strip():
            return
        self._last.append(text.strip())
        now = time.monotonic()
        if self.metric and self.metric.line(text, now - self._began):
            self.changed = now


class ProgramRun:
    """A run of a program: starts it, waits for it, judges it, writes what was measured."""

    def __init__(self, config: ProgramConfig, folder: Path, launcher: str, placement: Placement):
        self.config, self.folder = config, folder
        self._launcher, self._placement = launcher, placement
        self._job = current_job(os.environ)
        self._ranks = folder / RANKS
        self._circumstances = Circumstances(self._job)
        self._output = Output(Metric(config.metric) if config.metric else None)
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
            "output": self.folder.absolute() / "output",
            "main_address": nodes[0] if nodes else "127.0.0.1",
            "main_port": port,
        }
        self._values = {f"HPCBENCH_{name.upper()}": str(value) for name, value in values.items()}
        command = config.filled(values)
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
                mpi=place.mpi,
                options=place.options,
                in_job=place.in_job,
            )
            return LAUNCHERS[self._launcher].command(command, of_nodes)
        return command

    def _keep_to_cores(self) -> None:
        """Where cores are the devices, have the program use those of its devices alone, so that
        one device is not given what two share."""
        wanted = self.config.cores_per_device
        here = available_cores()
        of_devices = (wanted or 0) * min(self.config.devices, self._placement.per_node)
        if wanted and not visible_gpus(os.environ) and of_devices < len(here):
            os.sched_setaffinity(0, here[:of_devices])

    def _environment(self) -> dict[str, str]:
        config = self.config
        places = [str(PROBE), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            **os.environ,
            **config.environment,
            **self._values,
            "PYTHONPATH": os.pathsep.join(places),
            # Lines reach us when they are printed.
            "PYTHONUNBUFFERED": "1",
            "HPCBENCH_PROBE": str(self._ranks.absolute()),
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
        while True:
            try:
                status = process.wait(timeout=POLL)
            except subprocess.TimeoutExpired:
                status = None
            if self._signalled:
                return Ended(_end(process), "stopped by a signal", "preempted")
            if status is not None:
                return Ended(status)
            now = {path.name: path.stat().st_size for path in self._ranks.glob(LINES)}
            if now != sizes:
                sizes, self._output.changed = now, time.monotonic()
            quiet = time.monotonic() - self._output.changed
            if quiet > self.config.stall_seconds:
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
        counted = measured(processes) if processes else Measured([], 0, [])
        rows: list[Row] = []
        refused: Refused | None = None
        try:
            if ended.stopped:
                raise Refused(ended.failure, ended.stopped)
            if ended.status:
                reason = self._output.reason()
                raise Refused("program", f"it ended with status {ended.status}: {reason}")
            if processes:
                check_processes(self.config, processes)
            rows = self._rows(processes, counted)
        except Refused as error:
            refused = error
        identity = self._identity(processes)
        writer = RunWriter(self.folder, identity, ownership)
        try:
            writer.start(self._document(command, processes, counted))
            for number, row in enumerate(rows):
                writer.throughput(_throughput(number, row))
            if refused:
                writer.fail(*self._circumstances.explained(refused.failure, str(refused)))
            else:
                writer.complete()
        finally:
            writer.close()
        for sentence in warned(processes, counted):
            print(f"hpcbench: warning: {sentence}", file=sys.stderr)
        if refused is None:
            self._report(identity, rows)
            return 0
        print(f"hpcbench: {refused}", file=sys.stderr)
        return 75 if self._signalled else {"config": 2}.get(refused.failure, 4)

    def _rows(self, processes: Sequence[Process], counted: Measured) -> list[Row]:
        metric = self._output.metric
        if metric is None:
            return rows_of_steps(self.config, processes, counted)
        found = rated(metric.matches, self.config.take)
        ranks = {match.rank for match in metric.matches} - {None}
        if ranks and len(ranks) != self.config.devices:
            raise Refused(
                "config",
                f"{self.config.devices} devices were asked for, and {len(ranks)} ranks printed a "
                f"rate",
            )
        return rows_of_metric(self.config, found, metric.unreadable)

    def _identity(self, processes: Sequence[Process]) -> Identity:
        facts = [process.facts for process in processes]
        dtypes = sorted({kind for one in facts for kind in one.get("dtypes", ())})
        return Identity.of_program(
            self.config,
            self.folder.parent.name,
            nodes=len({one.get("host") for one in facts}) or self._placement.nodes,
            device_kind=self._device_kind(facts),
            precision="+".join(dtypes) or UNKNOWN,
            batch=max((int(one.get("largest_batch") or 0) for one in facts), default=0),
        )

    def _device_kind(self, facts: Sequence[Mapping[str, Any]]) -> str:
        """As the processes tell it; else what this host has."""
        told = next((one["device"] for one in facts if one.get("device")), None)
        if told:
            return str(told)
        if visible_gpus(os.environ) and not facts:
            return chosen(list_gpus(), os.environ)[0].name
        return cpu_share(self.config.cores_per_device or len(available_cores()), 1)

    def _document(
        self, command: Sequence[str], processes: Sequence[Process], counted: Measured
    ) -> dict[str, Any]:
        facts = [process.facts for process in processes]
        packages = {name: v for one in facts for name, v in one.get("packages", {}).items()}
        folder = next((one["folder"] for one in facts if one.get("folder")), os.getcwd())
        commit = output_of("git", "-C", folder, "rev-parse", "HEAD", timeout=5)
        job = self._job
        allocation = {"granted": job.granted, "whole_nodes": scheduler_of(job).has_whole_nodes(job)}
        kept = sum(one.slowest for one in counted.intervals)
        return {
            "config": self.config.model_dump(mode="json"),
            "hosts": [str(one.get("host")) for one in facts] or [platform.node()],
            "parameters": next((one["parameters"] for one in facts if one.get("parameters")), None),
            "processes": facts,
            "warmup_intervals": counted.warmup,
            "left_out": [one.broken for one in counted.broken],
            "waiting_for_data_share": (
                sum(one.waited for one in counted.intervals) / kept if kept else None
            ),
            "startup_seconds": (
                min(process.marks[0].at for process in processes) - self._started.timestamp()
                if processes
                else None
            ),
            "remarks": warned(processes, counted),
            "provenance": collect(job.facts, None)
            | {
                "packages": packages,
                "started": self._started.isoformat(timespec="seconds"),
                "command": list(command),
                "program_commit": commit.strip() if commit else None,
                "allocation": allocation,
            },
        }

    def _report(self, identity: Identity, rows: Sequence[Row]) -> None:
        samples, seconds = sum(row.samples for row in rows), sum(row.seconds for row in rows)
        print(
            f"hpcbench: {identity.model} on {self.config.devices} x {identity.device_kind}: "
            f"{samples / seconds:,.4g} {self.config.unit} over {len(rows)} intervals, "
            f"{1e3 * mean(row.seconds / row.steps for row in rows):.3g} ms a step"
        )


def _throughput(number: int, row: Row) -> ThroughputRow:
    return ThroughputRow(
        PHASE_TRAIN,
        number,
        row.steps,
        row.samples,
        row.seconds,
        row.fastest,
        row.mean,
        row.samples / row.seconds,
    )


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _end(process: subprocess.Popen[bytes]) -> int:
    """End the program and all that it started, first by asking; its status."""
    _signal_group(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=GRACE)
    _signal_group(process, signal.SIGKILL)
    return process.wait() or 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program of a configuration, which is JSON, as one run of a sweep."""
    parser = Parser(prog="python -m hpcbench.runs.program", description=__doc__)
    parser.add_argument("config")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--sweep", required=True)
    parser.add_argument("--launcher", default="mpirun")
    parser.add_argument("--placement", default="")
    try:
        args = parser.parse(arguments)
        return _run(args)
    except HpcbenchError as error:
        print(f"hpcbench: {error}", file=sys.stderr)
        return error.exit_status


def _run(args: argparse.Namespace) -> int:
    try:
        values = json.loads(args.config)
        where = json.loads(args.placement) if args.placement else {}
    except ValueError as error:
        raise ConfigError(f"no configuration: {error}") from error
    config = parse(ProgramConfig, values)
    place = Placement(**where) if where else Placement(config.devices, config.devices)
    folder = args.results / args.sweep / config.run_id
    if is_complete(folder):
        print(f"complete already: {folder}")
        return 0
    return ProgramRun(config, folder, args.launcher, place).run()


def placement_argument(placement: Placement) -> str:
    """What ``--placement`` takes."""
    return json.dumps(asdict(placement))


if __name__ == "__main__":
    sys.exit(main())
