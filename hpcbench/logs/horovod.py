"""Horovod's synthetic benchmarks (examples/*/*_synthetic_benchmark.py): rank 0 prints."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from hpcbench.logs import AFTER_ANOTHER, CPU, GPU, Found, LeftOut, Printed, Reader
from hpcbench.logs.text import number
from hpcbench.records.identity import UNKNOWN

TOOL = "Horovod synthetic benchmark"
# Nothing follows on their lines; a word that makes another quantity of one may stand before it.
MODEL = re.compile(r"(?:^|\W)Model: (\S+)\s*$")
BATCH = re.compile(r"(?:^|\W)(?:(\w+)[ -])?[Bb]atch size: (\d+)\s*$")
OTHER_BATCHES = {"global", "total", "effective", "micro", "mini", "test", "eval", "validation"}
DEVICES = re.compile(r"Number of (GPU|CPU)s: +(\d+)")
WARM_UP = "Running warmup"
NUMBERED = re.compile(r"Iter #(\d+)")
ITERATION = re.compile(r"Iter #(\d+): *(\S*?) *img/sec per ")
TOTAL = re.compile(r"Total img/sec on (\d+) \w+\(s\): *[\d.]+ *\+-")
WORDS = ("Model:", "Batch size:", "Number of ", WARM_UP, "Iter #", "Total img/sec")


@dataclass
class _Open:
    """``mixed``: other prints' lines are among its own; ``clash``: before it several models or
    batches are printed; ``after_another``: a print before it, of another
    point, did not end. A print whose header is not there has no model."""

    model: str = ""
    batch: int = 0
    kind: str = ""
    devices: int = 0
    warmed: bool = False
    begun: int = 0
    numbers: set[str] = field(default_factory=set)
    mixed: bool = False
    clash: bool = False
    after_another: bool = False
    rates: list[float] = field(default_factory=list)
    text: list[str] = field(default_factory=list)

    @property
    def point(self) -> tuple[str, int, str, int]:
        return self.model, self.batch, self.kind, self.devices


@dataclass
class _Header:
    """What was printed of the next print so far; ``clash``: one thing in two ways."""

    model: str = ""
    batch: int = 0
    clash: bool = False

    def take(self, line: str) -> None:
        if found := MODEL.search(line):
            self.clash |= self.model.casefold() not in ("", found[1].casefold())
            self.model = found[1]
        found = BATCH.search(line)
        if found and (found[1] or "").lower() not in OTHER_BATCHES:
            self.clash |= self.batch not in (0, int(found[2]))
            self.batch = int(found[2])

    def on(self, devices: re.Match[str]) -> _Open | None:
        """The print that begins with the last line of its header; None where the others lack."""
        if not (self.model and self.batch):
            return None
        text = [self.model, str(self.batch), devices[0]]
        kind, number_of = devices.groups()
        return _Open(self.model, self.batch, kind, int(number_of), clash=self.clash, text=text)


def reader(batches: int) -> Reader:
    """Reads print-outs in which each line is of ``batches`` steps (--num-batches-per-iter)."""

    def read(lines: Sequence[str]) -> Iterator[Found]:
        header = _Header()
        now: _Open | None = None
        for line in lines:
            if not any(word in line for word in WORDS):
                continue
            header.take(line)
            if found := DEVICES.search(line):
                before, now, header = now, header.on(found), _Header()
                if before:
                    yield _closed(before, batches, complete=False)
                    if now:
                        now.after_another = before.after_another or before.point != now.point
            if now is None:
                if not (ITERATION.search(line) or TOTAL.search(line)):
                    continue
                now = _Open()
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
    if not now.model:
        return LeftOut(TOOL, "lines with a rate stand there without the header that says of what")
    if now.clash:
        return LeftOut(
            TOOL,
            f"before the number of devices of {now.model} several models or batches are printed, "
            f"so it may be of any",
        )
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
        AFTER_ANOTHER if now.after_another else "",
        dataset="synthetic",
        input="synthetic",
        device={"GPU": GPU, "CPU": CPU}.get(now.kind, UNKNOWN),
    )
