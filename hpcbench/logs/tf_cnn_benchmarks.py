"""tf_cnn_benchmarks (tensorflow/benchmarks): each rank prints a header, and the total of all."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from hpcbench.logs import AFTER_ANOTHER, CPU, GPU, Found, LeftOut, Printed
from hpcbench.logs.text import number
from hpcbench.records.identity import UNKNOWN

TOOL = "tf_cnn_benchmarks"
# A name, blanks, a value: what stands before it on the line is not its own.
NAMES = (
    *("TensorFlow", "Model", "Dataset", "Mode", "SingleSess", "Batch size", "Num batches"),
    *("Num epochs", "Devices", "NUMA bind", "Data format", "Optimizer", "Variables", "AllReduce"),
)
HEADER = re.compile(rf"({'|'.join(NAMES)}):( +)(\S.*?)\s*$")
# Where values stand.
COLUMN = 13
PER_DEVICE = re.compile(r"([\d.]+) per device")
STEP = re.compile(r"(\d+)\s+images/sec: (\S+) \+/-")
# Two decimals: a number that was cut off has fewer.
TOTAL = re.compile(r"total images/sec: +(nan|inf|\d+\.\d\d)(?!\d)")
# Each rank of a run prints the total of all, as it measured it.
TOGETHER = 1.5
# Settings that make a point of their own.
TELLING = {"Data format": "data_format", "Optimizer": "optimizer", "AllReduce": "all_reduce"}


@dataclass
class _Open:
    """``latest``: the settings of the header that came last, of this print or of another;
    ``mixed``: it says one thing in two ways, or more often than there are headers;
    ``after_total``: something else than it says stands after its total;
    ``after_another``: a print before it, of another point, did not end."""

    header: dict[str, str] = field(default_factory=dict)
    latest: dict[str, str] = field(default_factory=dict)
    latest_per_device: float = 0
    headers: int = 0
    times: Counter[str] = field(default_factory=Counter)
    mixed: bool = False
    after_total: bool = False
    after_another: bool = False
    per_device: float = 0
    last_step: int = 0
    totals: list[float] = field(default_factory=list)
    text: list[str] = field(default_factory=list)

    def setting(self, name: str, value: str) -> None:
        self.headers += name == "Model"
        self._count(name, self.latest.get(name, value) != value)
        self.header.setdefault(name, value)
        self.latest[name] = value
        self.text.append(f"{name}: {value}")

    def of_device(self, batch: float) -> None:
        """That many samples a device."""
        self._count("per device", self.latest_per_device not in (0, batch))
        self.per_device = self.latest_per_device = batch

    def _count(self, name: str, differs: bool) -> None:
        self.times[name] += 1
        self.mixed |= not self.totals and (differs or self.times[name] > max(1, self.headers))

    def rate(self, line: str) -> None:
        """A line that names one: of all devices at the end, or of this rank on the way."""
        if found := TOTAL.search(line):
            # Of another print, whose header is in part among the lines of this one.
            self.mixed |= self.after_total
            self.totals.append(number(found[1]))
        elif found := STEP.search(line):
            self.last_step = max(self.last_step, int(found[1]))
        if found:
            self.text.append(found[0])

    def ended_by(self, model: str) -> bool:
        """Whether a header of ``model`` begins another print, and is not another rank's."""
        return bool(self.totals) or self.header.get("Model", model) != model

    def contradicts(self, name: str) -> bool:
        """Whether a header that says something else of ``name`` is another print's: ranks' headers
        are the same."""
        return not self.totals and name not in self.latest

    def strange(self, name: str, blanks: int, value: str) -> bool:
        """Whether a line in the header's column says something else than the header."""
        return len(name) + 1 + blanks == COLUMN and self.header.get(name, value) != value

    def other(self, version: str) -> "_Open":
        """The print that the header that came last is of."""
        found = _Open(
            {"TensorFlow": version} if version else {},
            per_device=self.latest_per_device,
            after_another=True,
        )
        for name, value in self.latest.items():
            found.setting(name, value)
        return found


def read(lines: Sequence[str]) -> Iterator[Found]:
    """Each print-out. Several ranks' are one: their headers are the same and come before the first
    total, and of their totals the lowest counts."""
    now, version = _Open(), ""
    for line in lines:
        if "images/sec" in line:
            # A total without its header, as people quote it, is told of; once for several ranks.
            now.rate(line)
        elif " per device" in line:
            found = PER_DEVICE.search(line)
            # After its total a print has no more of its own.
            if found and "Batch size" in now.header and not now.totals:
                batch = number(found[1])
                if now.per_device not in (0, batch) and not now.latest_per_device:
                    other = now.other(version)
                    yield from _closed(now)
                    now = other
                now.of_device(batch)
        elif any(name in line for name in NAMES) and (found := HEADER.search(line)):
            name, blanks, value = found.groups()
            if name == "TensorFlow":
                # It stands before the model.
                version = value
            elif name == "Model" and len(blanks) > 1:
                if now.ended_by(value):
                    yield from _closed(now)
                    now = _Open(after_another=bool(now.header) and not now.totals)
                now.header.setdefault("TensorFlow", version)
                now.latest, now.latest_per_device = {}, 0
                now.setting(name, value)
            elif now.header and name != "Model":
                # Other tools' lines have the same names, and do not stand in its column.
                strange = now.strange(name, len(blanks), value)
                if strange and now.contradicts(name):
                    other = now.other(version)
                    yield from _closed(now)
                    now = other
                now.after_total |= strange and bool(now.totals)
                now.setting(name, value)
    yield from _closed(now)


def _closed(now: _Open) -> Iterator[Found]:
    header = now.header
    if not header.get("Batch size", "").endswith("global"):
        if now.totals:
            yield LeftOut(TOOL, "a total stands there without the header that says of what")
        # Else another tool's, or cut off before it began.
        return
    model, mode = header["Model"], header.get("Mode", "training").lower()
    if "forward" in mode or ("eval" in mode and "train" not in mode):
        yield LeftOut(TOOL, f"{model} was not trained: its mode is {header['Mode']}")
        return
    if now.mixed and now.totals:
        yield LeftOut(TOOL, f"of {model} headers of several prints have run into each other")
        return
    totals = [total for total in now.totals if total]
    whole = number(header["Batch size"].split()[0])
    if not totals or not whole or not now.per_device:
        yield LeftOut(TOOL, f"of {model} no total, or a batch or a rate of nothing, could be read")
        return
    if max(totals) > TOGETHER * min(totals):
        yield LeftOut(
            TOOL,
            f"of {model} totals of {min(totals):g} and {max(totals):g} images/sec stand under one "
            f"header: prints of several runs have run into each other",
        )
        return
    steps = int(number(header.get("Num batches", ""))) or now.last_step
    if not steps:
        yield LeftOut(TOOL, f"of {model} nothing says how many batches were timed")
        return
    world = round(whole / now.per_device)
    doubts = [AFTER_ANOTHER] if now.after_another else []
    if 1 < len(totals) < world:
        doubts.append(f"the lowest of {len(totals)} totals is taken, as of ranks of one launch")
    if now.headers > len(now.totals):
        doubts.append(f"of {now.headers} prints with this header {len(now.totals)} came to an end")
    dataset = header.get("Dataset", UNKNOWN)
    devices = header.get("Devices", "")
    yield Printed(
        TOOL,
        model,
        header.get("Variables", UNKNOWN),
        world,
        int(now.per_device),
        [(steps, min(totals))],
        "\n".join(now.text),
        until="; ".join(doubts),
        dataset=dataset,
        input="synthetic" if "synthetic" in dataset else UNKNOWN,
        device=GPU if "gpu" in devices else CPU if "cpu" in devices else UNKNOWN,
        options={ours: header[name] for name, ours in TELLING.items() if name in header},
        software={"tensorflow": header["TensorFlow"]} if header.get("TensorFlow") else {},
    )
