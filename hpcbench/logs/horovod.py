"""Horovod's synthetic benchmarks (examples/*/*_synthetic_benchmark.py): rank 0 prints."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from hpcbench.logs import CPU, GPU, Found, LeftOut, Printed, Reader
from hpcbench.logs.text import number
from hpcbench.records.identity import UNKNOWN

TOOL = "Horovod synthetic benchmark"
MODEL = re.compile(r"(?:^|\W)Model: +(\S+)")
BATCH = re.compile(r"(?:^|\W)Batch size: +(\d+)\s*$")
DEVICES = re.compile(r"Number of (\w+?)s: +(\d+)")
WARM_UP = "Running warmup"
NUMBERED = re.compile(r"Iter #(\d+)")
ITERATION = re.compile(r"Iter #(\d+): *(\S*?) *img/sec per ")
TOTAL = re.compile(r"Total img/sec on (\d+) \w+\(s\): *[\d.]+ *\+-")
WORDS = ("Model:", "Batch size:", "Number of ", WARM_UP, "Iter #", "Total img/sec")


@dataclass
class _Open:
    model: str
    batch: int
    kind: str
    devices: int
    warmed: bool = False
    begun: int = 0
    numbers: set[str] = field(default_factory=set)
    mixed: bool = False
    rates: list[float] = field(default_factory=list)
    text: list[str] = field(default_factory=list)


def reader(batches: int) -> Reader:
    """Reads print-outs in which each line is of ``batches`` steps (--num-batches-per-iter)."""

    def read(lines: Sequence[str]) -> Iterator[Found]:
        model, batch = "", 0
        now: _Open | None = None
        for line in lines:
            if not any(word in line for word in WORDS):
                continue
            if found := MODEL.search(line):
                model = found[1]
            if found := BATCH.search(line):
                batch = int(found[1])
            if found := DEVICES.search(line):
                if now:
                    yield _closed(now, batches, complete=False)
                now = None
                if model and batch:
                    now = _Open(model, batch, found[1], int(found[2]))
                    now.text += [model, str(batch), found[0]]
                model, batch = "", 0
            if now is None:
                continue
            now.warmed |= WARM_UP in line
            now.begun += line.count("Iter #")
            for number_of in NUMBERED.findall(line):
                now.mixed |= number_of in now.numbers
                now.numbers.add(number_of)
            for found in ITERATION.finditer(line):
                now.text.append(found[0])
                # It separates no thousands: a comma is another language's decimal point.
                now.rates.append(0.0 if "," in found[2] else number(found[2]))
            if found := TOTAL.search(line):
                now.text.append(found[0])
                now.mixed |= int(found[1]) != now.devices
                yield _closed(now, batches, complete=True)
                now = None
        if now:
            yield _closed(now, batches, complete=False)

    return read


def _closed(now: _Open, batches: int, complete: bool) -> Found:
    rates, begun = now.rates, now.begun
    if now.mixed:
        return LeftOut(TOOL, f"in that of {now.model} lines of another print stand between its own")
    if not now.warmed:
        # The Keras variant does not warm up, and counts its first line as warm-up; so does this.
        rates, begun = rates[1:], begun - 1
    read = [rate for rate in rates if rate]
    if not read or now.devices < 1:
        return LeftOut(TOOL, f"of {now.model} no line with a rate could be read")
    return Printed(
        TOOL,
        now.model,
        "horovod",
        now.devices,
        now.batch,
        [(batches, rate * now.devices) for rate in read],
        "\n".join(now.text),
        complete,
        begun,
        dataset="synthetic",
        input="synthetic",
        device={"GPU": GPU, "CPU": CPU}.get(now.kind, UNKNOWN),
    )
