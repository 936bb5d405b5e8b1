"""Whether what a program did is the measurement that was asked for, and if not, why."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from hpcbench.programs.config import ProgramConfig
from hpcbench.programs.intervals import FEWEST, LONG_STEP, Measured
from hpcbench.programs.metric import Match, Rated, mean_rate
from hpcbench.programs.probe_lines import Process
from hpcbench.words import count

# As the probe tells of one: shape, sum, sum of magnitudes.
Tensor = tuple[list[int], float, float]
# A batch that fewer of the steps have is not what a run trains on.
MOSTLY = 0.8
# More of a rate than this has to be told of.
MUCH = 0.05
# Seconds; what comes closer was printed together.
AT_ONCE = 1e-3
# Share of an interval's samples by which they may not be a whole number.
WHOLE = 0.05
# Of gradients: ranks on processors of several kinds round otherwise. Weights that were averaged are
# the same on all.
ALIKE, THE_SAME = 1e-5, 1e-9


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
    restarts = max((int(p.facts.get("restarts") or 0) for p in processes), default=0)
    if restarts:
        raise Refused(
            "program",
            f"torchrun restarted its ranks {count(restarts, 'time')}, since one had failed: what "
            f"it printed says why; --max-restarts 0 ends it there",
        )
    world = sum(process.replicas for process in processes)
    if world != config.devices:
        raise Refused(
            "config",
            f"{asked_for(config.devices)}, and {count(world, 'device')} "
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
    for process in processes:
        if process.facts.get("averages") is False:
            raise Refused(
                "config",
                f"{process} averages no gradients over Horovod's ranks, of which each trains for "
                f"itself: that is for Horovod's DistributedGradientTape, or an allreduce; its "
                f"DistributedOptimizer averages none under Keras 3",
            )
        if not _averaged(processes[0], process):
            raise Refused(
                "config",
                f"{processes[0]} and {process} train each for itself: after the first step their "
                f"gradients differ in all parameters that were compared, and before the third one "
                f"their weights; is the model that is called the one that "
                f"DistributedDataParallel returned?",
            )
    if config.batches:
        for process in processes:
            asked = config.batches[0] * process.replicas
            seen = process.facts.get("batch") or process.facts.get("fetched")
            if seen and asked not in (seen, process.facts.get("fetched")):
                raise Refused(
                    "config",
                    f"{process} trains on batches of {seen}, and {asked} were asked for "
                    f"({config.scaling} scaling): see how the command takes {{batch}}",
                )


def _averaged(one: Process, other: Process) -> bool:
    """Whether two ranks may train the same model: of what has a gradient they have a tensor in
    common, as a gradient after a step or as weights after two; or parts that cannot be compared."""
    mine, theirs = (each.facts.get("gradients") for each in (one, other))
    if not mine or not theirs or not _of_same_shapes(mine, theirs):
        return True
    places = [n for n, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a and b and a[2] > 0]
    if not places or any(_alike(mine[n], theirs[n], ALIKE) for n in places):
        return True
    before, after = (each.facts.get("weights") for each in (one, other))
    if not before or not after or not _of_same_shapes(before, after):
        return True
    return any(_alike(before[n], after[n], THE_SAME) for n in places)


def _of_same_shapes(mine: Sequence[Tensor | None], theirs: Sequence[Tensor | None]) -> bool:
    return [one and one[0] for one in mine] == [one and one[0] for one in theirs]


def _alike(one: Tensor | None, other: Tensor | None, tolerance: float) -> bool:
    if one is None or other is None:
        return True
    most = tolerance * max(one[2], other[2])
    return abs(one[1] - other[1]) <= most and abs(one[2] - other[2]) <= most


def asked_for(devices: int) -> str:
    """So many devices were."""
    return "1 device was asked for" if devices == 1 else f"{devices} devices were asked for"


def rows_of_steps(
    config: ProgramConfig, processes: Sequence[Process], measured: Measured
) -> list[Row]:
    """The rows of what the probe counted; raises Refused where these are none, or too few."""
    if not processes:
        raise Refused(
            "config",
            "no step of training was seen: the probe counts steps of PyTorch's optimizers, of "
            "Keras' fit and of hpcbench.steps, in a Python that heeds PYTHONPATH and is given it "
            "with what is in it; of another program give --metric, which reads what it prints",
        )
    if len(measured.intervals) < FEWEST:
        broken = f"; {measured.broken[0].broken}" if measured.broken else ""
        longer = "let it train longer"
        if len(measured.broken) >= FEWEST:
            longer += ", or take shorter ones (--interval-seconds) that fit between its pauses"
        fewest, most = (find(processes, key=lambda process: process.steps) for find in (min, max))
        if fewest.steps < most.steps / 2:
            broken = (
                f"; {fewest} took {count(fewest.steps, 'step')}, and {most} took "
                f"{most.steps}{broken}"
            )
        raise Refused(
            "config",
            f"{count(len(measured.intervals), 'interval')} of {config.interval_seconds:g} s of "
            f"training can be counted after the warm-up, and {FEWEST} at least are needed: "
            f"{longer}{broken}",
        )
    known = all(interval.samples for interval in measured.intervals)
    if not known and config.batches is None:
        raise Refused(
            "config",
            "on how many samples a step trains is not seen, since they come from no array and no "
            "DataLoader of PyTorch's that makes the batches, or from several, or in arrays whose "
            "first dimension may be another: give --batch, of a device",
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


def _in_bursts(gaps: Sequence[float], size: int) -> bool:
    """Whether numbers with these seconds between them come so many at a time: mostly, since a
    machine that is busy may part some, and pause in between for long."""
    bursts, left = divmod(len(gaps) + 1, size)
    if left or bursts <= FEWEST:
        return False
    within = [gap for place, gap in enumerate(gaps, 1) if place % size]
    return median(within) < 0.1 * median(gaps[size - 1 :: size])


def _fallen(matches: Sequence[Match]) -> Iterator[tuple[int, int]]:
    """Where a rank's step is less than the one before it: both."""
    before: dict[int | None, int] = {}
    for match in matches:
        if match.step is not None:
            if match.step < before.get(match.rank, match.step):
                yield before[match.rank], match.step
            before[match.rank] = match.step


def refuse_unclear(config: ProgramConfig, matches: Sequence[Match]) -> None:
    """Raise Refused where printed numbers are of nobody knows how long, or of which devices."""
    fallen = next(_fallen(matches), None)
    if fallen and config.take != "last":
        raise Refused(
            "config",
            f"the step that it prints falls from {fallen[0]} to {fallen[1]}, and several trainings "
            f"are not one rate: start one at a time; or, where these are epochs of one, give "
            f"--metric no group (?P<step>...)",
        )
    gaps = [after.at - before.at for before, after in pairwise(matches)]
    told = config.take == "last" or config.metric_of == "device"
    if not gaps or told or any(match.rank is not None for match in matches):
        return
    if max(gaps) < AT_ONCE:
        raise Refused(
            "config",
            f"its {len(matches)} numbers came at once, so that nobody knows how long each interval "
            f"took: --take last counts the last one",
        )
    if config.devices > 1 and _in_bursts(gaps, config.devices):
        raise Refused(
            "config",
            f"{config.devices} numbers come at a time, as where each rank prints its own: have "
            f"--metric say of which rank a number is, by a group (?P<rank>...), or take one alone",
        )


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
    each_device = config.metric_of == "device" and not found[0].of_ranks
    times = config.devices if each_device else 1
    return [_row_of(lines, times) for lines in _whole_samples(found, times)]


def _whole_samples(found: Sequence[Rated], times: int) -> list[list[Rated]]:
    """Intervals in order, as many together as make a whole number of samples; what is left at the
    end belongs to the last."""
    together: list[list[Rated]] = []
    lines: list[Rated] = []
    for one in found:
        lines.append(one)
        samples = sum(line.rate * times * line.seconds for line in lines)
        if abs(round(samples) - samples) <= WHOLE * samples:
            together.append(lines)
            lines = []
    if not together:
        return [lines]
    together[-1] += lines
    return together


def _row_of(lines: Sequence[Rated], times: int) -> Row:
    rate = mean_rate(lines) * times
    samples = max(1, round(rate * sum(line.seconds for line in lines)))
    seconds = samples / rate
    return Row(sum(line.steps for line in lines), samples, seconds, seconds, seconds)


def warned(config: ProgramConfig, processes: Sequence[Process], measured: Measured) -> list[str]:
    """What a reader of the rows has to know, a sentence each."""
    said = []
    digests = [process.facts.get("batch_digest") for process in processes]
    if len(digests) > 1 and None not in digests and len(set(digests)) == 1:
        said.append(
            "all ranks began with the same batch: unless its data are made up, each trains on all "
            "samples instead of its share (PyTorch's DistributedSampler gives shares)"
        )
    steps = [process.steps for process in processes]
    # Of one that just ended, the last steps may be missing.
    alike = 0.9 if all(process.ended for process in processes) else 0.5
    if steps and min(steps) < alike * max(steps):
        fewest = min(processes, key=lambda process: process.steps)
        said.append(
            f"{fewest} took {count(min(steps), 'step')}, and others up to {max(steps)}: what all "
            f"ranks have in common counts"
        )
    models = max((int(process.facts.get("models") or 1) for process in processes), default=1)
    if models > 1:
        said.append(
            f"{models} sets of weights with none in common were trained one after the other, as of "
            f"several models: the rate is of the steps of all"
        )
    shares = [p.facts["batch_share"] for p in processes if p.facts.get("batch_share")]
    if shares and min(shares) < MOSTLY:
        said.append(
            f"steps train on batches of several sizes, and no size is that of more than "
            f"{100 * min(shares):.0f} % of a rank's: the rate is of all of them together"
        )
    if config.batches and not all(interval.samples for interval in measured.intervals):
        said.append(
            "on how many samples a step trained was not seen: each counts as a batch of --batch, "
            "an epoch's last one too, which may be smaller"
        )
    total = sum(interval.slowest for interval in measured.intervals)
    excess = sum(interval.excess for interval in measured.intervals)
    if excess > MUCH * total:
        # In steps of 5 %, so that runs that are alike say the same.
        share = 5 * int(20 * excess / total)
        said.append(
            f"at least {share} % of the time that is counted went into steps of "
            f"more than {LONG_STEP:g} times the usual, as where the program does what the probe "
            f"does not know, such as a checkpoint of its own: the rate holds that"
        )
    if measured.broken:
        kinds = Counter(one.broken for one in measured.broken)
        first = next(iter(kinds))
        said.append(
            f"{count(len(measured.broken), 'interval')} of about {config.interval_seconds:g} s "
            f"{'is' if len(measured.broken) == 1 else 'are'} left out, as: {first}"
        )
    return said
