"""torchtitan (pytorch/torchtitan): tokens a second of one device, a line every few steps."""

import math
import re
from collections.abc import Iterator, Sequence

from hpcbench.logs import (
    AFTER_ANOTHER,
    GPU,
    Found,
    LeftOut,
    Printed,
    ends_early,
    joined,
    mixed_steps,
    per_line,
)
from hpcbench.logs.text import number

TOOL = "torchtitan"
MODEL = re.compile(r"Building (\S+ \S+?)(?: with|$)")
MESH = re.compile(r"Building \d+-D device mesh with \[(.*?)\], \[([\d, ]+)\]")
# Of later versions, with all ways to split; experts are split among the devices of the others.
WAYS = re.compile(r"Building device mesh with parallelism: (pp=.*)$")
WAY = re.compile(r"\b(pp|dp_replicate|dp_shard|cp|tp)=(\d+)")
STARTS = re.compile(
    r"(?:Training starts at step \d+,|Trainer is initialized) with "
    r"local batch size (\d+), global batch size (\d+)"
    r".*?sequence length (\d+)(?:, total steps (\d+))?"
)
# A name and its colon follow: a rate that was cut off has none.
STEP = re.compile(r"step: +(\d+) .*?(?:tps|wps): +([\d,.]+|nan|inf)  [a-z_]+:")
TWO_HEADERS = "two device meshes are printed before its first step"
WORDS = ("Building ", "Training starts", "Trainer is", "step:")


def _mesh(line: str) -> list[tuple[str, int]]:
    """The ways in which devices are split, by name; none where the line is about something else."""
    if found := WAYS.search(line):
        ways = [(name, int(size)) for name, size in WAY.findall(found[1])]
        return [way for way in ways if way[1] > 1] or [("dp_shard", 1)]
    if not (found := MESH.search(line)):
        return []
    names = [name.strip(" '\"") for name in found[1].split(",")]
    sizes = [int(size) for size in found[2].split(",") if size.strip()]
    return list(zip(names, sizes, strict=False))


def read(lines: Sequence[str]) -> Iterator[Found]:
    """Each print-out of rank 0; samples are sequences. The first line is warm-up."""
    model = parallel = ""
    devices = 0
    about: tuple[int, int, int] | None = None
    rates: list[tuple[int, float]] = []
    text: list[str] = []
    begun, planned, clash, other = 0, 0, "", 0

    def closed(clash: str) -> Iterator[Found]:
        intervals = per_line(rates)
        if clash or (clash := mixed_steps([step for step, _ in rates], "step", other)):
            yield LeftOut(TOOL, f"of {model or 'its model'} {clash}")
        elif not about:
            yield LeftOut(TOOL, "it does not say its sequence length")
        elif not devices:
            yield LeftOut(
                TOOL, "it does not say its device mesh, so not how many devices there are"
            )
        elif not intervals:
            yield LeftOut(TOOL, f"of {model or 'its model'} no line with a rate could be read")
        else:
            local, whole, length = about
            yield Printed(
                TOOL,
                model or "unknown",
                parallel,
                devices,
                max(1, whole // devices),
                [(steps, rate * devices / length) for steps, rate in intervals],
                "\n".join([model, parallel, str(devices), str(about), *text]),
                expected=begun - 1,
                until=joined(
                    ends_early([step for step, _ in rates], planned, "step"),
                    AFTER_ANOTHER if other else "",
                ),
                device=GPU,
                options={"sequence_length": str(length), "local_batch": str(local)},
            )

    for line in lines:
        if not any(word in line for word in WORDS):
            continue
        if mesh := _mesh(line):
            sizes = [size for _, size in mesh]
            if begun:
                yield from closed(clash)
                steps = [step for step, _ in rates]
                unfinished = len(steps) == 1 or ends_early(steps, planned, "")
                other = steps[-1] if unfinished and devices != math.prod(sizes) else 0
                rates, text, begun, about, model, clash = [], [], 0, None, "", ""
            elif devices not in (0, math.prod(sizes)):
                clash = TWO_HEADERS
            devices = math.prod(sizes)
            # How many ways data are split grows with the devices, and is no other strategy.
            parallel = " ".join(
                name if name.startswith("dp") else f"{name} {size}" for name, size in mesh
            )
        elif found := STARTS.search(line):
            about = int(found[1]), int(found[2]), int(found[3])
            planned = int(found[4] or 0)
        elif found := MODEL.search(line):
            model = found[1]
        elif "step:" in line and "validate step" not in line and ("tps:" in line or "wps:" in line):
            begun += 1
            if found := STEP.search(line):
                rates.append((int(found[1]), number(found[2])))
                text.append(found[0])
    if begun:
        yield from closed(clash)
