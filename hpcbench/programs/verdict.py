"""Whether what a program did is the measurement that was asked for, and if not, why."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hpcbench.programs.config import ProgramConfig
from hpcbench.programs.intervals import FEWEST, Measured
from hpcbench.programs.metric import Rated
from hpcbench.programs.probe_lines import Process
from hpcbench.words import count


@dataclass(frozen=True)
class Row:
    """An interval as it is written: ``samples`` of all devices; seconds by the slowest and the
    fastest rank, and on average."""

    steps: int
    samples: int
    seconds: float
    fastest: float
    mean: float


class Refused(Exception):
    """It is not; ``failure`` is its class, and the message one sentence."""

    def __init__(self, failure: str, message: str) -> None:
        self.failure = failure
        super().__init__(message)


def check_processes(config: ProgramConfig, processes: Sequence[Process]) -> None:
    """Raise Refused where the processes that trained are not the devices that were asked for."""
    world = sum(process.replicas for process in processes)
    if world != config.devices:
        raise Refused(
            "config",
            f"{count(config.devices, 'device')} were asked for, and {count(world, 'device')} "
            f"trained ({', '.join(map(str, processes[:4]))}): see how the command starts its ranks",
        )
    gpus = Counter((p.facts.get("host"), p.facts["gpu"]) for p in processes if p.facts.get("gpu"))
    for (host, gpu), ranks in gpus.items():
        if ranks > 1:
            raise Refused(
                "config",
                f"{ranks} ranks on {host} train on the same GPU ({gpu}): each has to choose its "
                f"own, by its local rank",
            )
    for process in processes:
        together = process.facts.get("connected")
        if together not in (None, len(processes)):
            raise Refused(
                "config",
                f"{count(len(processes), 'rank')} trained, and {process} trains together with "
                f"{count(together - 1, 'other')}: see how the program connects its ranks",
            )
    if config.batches:
        for process in processes:
            asked = config.batches[0] * process.replicas
            seen = process.facts.get("batch")
            if seen and asked not in (seen, process.facts.get("fetched")):
                raise Refused(
                    "config",
                    f"{process} trains on batches of {seen}, and {asked} were asked for "
                    f"({config.scaling} scaling): see how the command takes {{batch}}",
                )


def rows_of_steps(
    config: ProgramConfig, processes: Sequence[Process], measured: Measured
) -> list[Row]:
    """The rows of what the probe counted; raises Refused where these are none, or too few."""
    if not processes:
        raise Refused(
            "config",
            "no step of training was seen: the probe counts steps of PyTorch's optimizers, of "
            "Keras' fit and of hpcbench.steps, in a Python that heeds PYTHONPATH; of another "
            "program give --metric, which reads what it prints",
        )
    if len(measured.intervals) < FEWEST:
        broken = f"; {measured.broken[0].broken}" if measured.broken else ""
        raise Refused(
            "config",
            f"{count(len(measured.intervals), 'interval')} of {config.interval_seconds:g} s of "
            f"training can be counted after the warm-up, and {FEWEST} at least are needed: let it "
            f"train longer{broken}",
        )
    known = all(interval.samples for interval in measured.intervals)
    if not known and config.batches is None:
        raise Refused(
            "config",
            "on how many samples a step trains is not seen, since they come from no DataLoader of "
            "PyTorch's and no array: give --batch, of a device",
        )
    rows = []
    for interval in measured.intervals:
        of_all = config.batches[1] if config.batches else 0
        samples = interval.samples if known else interval.steps * of_all
        seconds = interval.seconds
        rows.append(
            Row(
                interval.steps,
                samples or 0,
                interval.slowest,
                min(seconds),
                sum(seconds) / len(seconds),
            )
        )
    return rows


def rows_of_metric(config: ProgramConfig, found: Sequence[Rated], unreadable: int) -> list[Row]:
    """The rows of what was printed; raises Refused where nothing was."""
    if not found:
        unread = (
            f", and {count(unreadable, 'line')} with something that is no number"
            if unreadable
            else ""
        )
        raise Refused(
            "config", f"nothing that it printed matches --metric {config.metric!r}{unread}"
        )
    rows = []
    for one in found:
        times = config.devices if config.metric_of == "device" and not one.of_ranks else 1
        # A rate of less than one a second still has to be a whole number of samples.
        least = math.ceil(1 / (one.rate * times * one.seconds))
        steps, seconds = one.steps * least, one.seconds * least
        samples = round(one.rate * times * seconds)
        exact = samples / (one.rate * times)
        rows.append(Row(steps, samples, exact, exact, exact))
    return rows


def warned(config: ProgramConfig, processes: Sequence[Process], measured: Measured) -> list[str]:
    """What a reader of the rows has to know, a sentence each."""
    said = []
    digests = [process.facts.get("batch_digest") for process in processes]
    if len(digests) > 1 and None not in digests and len(set(digests)) == 1:
        said.append(
            "all ranks began with the same batch: unless its data are made up, each trains on all "
            "samples instead of its share (PyTorch's DistributedSampler gives shares)"
        )
    if not all(interval.samples for interval in measured.intervals):
        said.append(
            "on how many samples a step trained was not seen: each counts as a batch of --batch, "
            "an epoch's last one too, which may be smaller"
        )
    if measured.broken:
        kinds = Counter(one.broken for one in measured.broken)
        first = next(iter(kinds))
        said.append(
            f"{count(len(measured.broken), 'interval')} of about {config.interval_seconds:g} s "
            f"are left out, as: {first}"
        )
    return said
