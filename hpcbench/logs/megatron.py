"""Megatron-LM (NVIDIA/Megatron-LM): its arguments, then milliseconds an iteration a line."""

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
from hpcbench.records.identity import UNKNOWN

TOOL = "Megatron-LM"
WORLD = re.compile(r"using world size: (\d+), data-parallel[\w-]* size: \d+(.*)$")
# Versions that print "None" of a size before write the next name right behind it.
SIZE = re.compile(r"(?:None)?([a-z][\w-]*)-parallel size: (\d+)")
ARGUMENT = re.compile(r"(?:^|\s)(num_layers|hidden_size|seq_length|params_dtype) \.{3,} (\S+)")
ITERATION = re.compile(
    r"iteration +(\d+)/ *(\d+) \|.*?elapsed time per iteration \(ms\): +(\S+) \|"
    r".*?global batch size: +(\d+) \|"
)
TWO_HEADERS = "two world sizes are printed before its first iteration"
PRECISIONS = {"torch.bfloat16": "mixed_bfloat16", "torch.float16": "mixed_float16"}


def read(lines: Sequence[str]) -> Iterator[Found]:
    """Each print-out; samples are sequences. The first line is warm-up."""
    devices = 0
    parallel = ""
    told: dict[str, str] = {}
    rows: list[tuple[int, float, int]] = []
    planned = 0
    text: list[str] = []
    begun, clash, other = 0, "", 0

    def closed(clash: str) -> Iterator[Found]:
        name = f"{told.get('num_layers', '?')} layers of {told.get('hidden_size', '?')}"
        if not devices:
            yield LeftOut(TOOL, "it does not say its world size")
            return
        if clash or (clash := mixed_steps([step for step, _, _ in rows], "iteration", other)):
            yield LeftOut(TOOL, f"of {name} {clash}")
            return
        batches = {batch for _, _, batch in rows[1:]}
        if len(batches) > 1:
            yield LeftOut(TOOL, f"the global batch of {name} grows while it trains")
            return
        intervals = [
            (steps, 1000 * max(batches) / milliseconds)
            for steps, milliseconds in per_line([(step, time) for step, time, _ in rows])
        ]
        if not intervals:
            yield LeftOut(TOOL, f"of {name} no line with a time could be read")
            return
        yield Printed(
            TOOL,
            name,
            parallel,
            devices,
            max(1, max(batches) // devices),
            intervals,
            "\n".join([name, parallel, str(devices), str(told), *text]),
            expected=begun - 1,
            until=joined(
                ends_early([step for step, _, _ in rows], planned, "iteration"),
                AFTER_ANOTHER if other else "",
            ),
            precision=PRECISIONS.get(told.get("params_dtype", ""), UNKNOWN),
            device=GPU,
            options={"sequence_length": told["seq_length"]} if "seq_length" in told else {},
        )

    for line in lines:
        if "using world size" in line:
            if found := WORLD.search(line):
                if begun:
                    yield from closed(clash)
                    steps = [step for step, _, _ in rows]
                    unfinished = len(steps) == 1 or ends_early(steps, planned, "")
                    other = steps[-1] if unfinished and devices != int(found[1]) else 0
                    rows, text, begun, told, devices, clash = [], [], 0, {}, 0, ""
                elif devices not in (0, int(found[1])):
                    clash = TWO_HEADERS
                devices = int(found[1])
                # How many replicas there are grows with the devices, and is no other strategy.
                split = [f"{name} {size}" for name, size in SIZE.findall(found[2]) if int(size) > 1]
                parallel = " ".join(["data", *split])
        elif "...." in line:
            if found := ARGUMENT.search(line):
                told[found[1]] = found[2]
        elif "elapsed time per iteration" in line:
            begun += 1
            if found := ITERATION.search(line):
                planned = int(found[2])
                rows.append((int(found[1]), number(found[3]), int(found[4])))
                text.append(found[0])
    if begun:
        yield from closed(clash)
