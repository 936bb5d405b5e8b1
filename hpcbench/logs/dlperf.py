"""OneFlow's networks as DLPerf measures them (Oneflow-Inc/DLPerf): settings, then a rate a line."""

import re
from collections.abc import Iterator, Sequence

from hpcbench.logs import AFTER_ANOTHER, GPU, Found, LeftOut, Printed, mixed_steps, per_line
from hpcbench.logs.text import number
from hpcbench.records.identity import UNKNOWN

TOOL = "DLPerf"
SETTING = re.compile(r"(?<!\w)(\w+) = (\S+)\s*$")
RATE = re.compile(r"train: epoch (\d+), iter (\d+), .*?samples/s: (nan|inf|\d+\.\d{3}(?!\d))")
TWO_HEADERS = "two sets of settings are printed before its first rate"
PRECISIONS = {"True": "mixed_float16", "False": "float32"}
NEEDED = ("model", "gpu_num_per_node", "num_nodes", "batch_size_per_device")
PRECISION = "use_fp16"


def read(lines: Sequence[str]) -> Iterator[Found]:
    """Each print-out; the first line of a rate is warm-up."""
    settings: dict[str, str] = {}
    rates: list[tuple[int, float]] = []
    text: list[str] = []
    begun, clash = 0, ""
    # Devices and last iteration of the print before.
    before = 0, 0
    for line in lines:
        if "samples/s" in line and "train: epoch" in line:
            begun += 1
            if found := RATE.search(line):
                rates.append((int(found[2]), number(found[3])))
                text.append(found[0])
        elif " = " in line and (found := SETTING.search(line)):
            if found[1] not in (*NEEDED, PRECISION):
                continue
            if rates:
                yield from _closed(settings, rates, text, begun, before, clash)
                before = _devices(settings), rates[-1][0]
                settings, rates, text, begun, clash = {}, [], [], 0, ""
            if settings.get(found[1], found[2]) != found[2]:
                clash = TWO_HEADERS
            settings[found[1]] = found[2]
    if begun:
        yield from _closed(settings, rates, text, begun, before, clash)


def _devices(settings: dict[str, str]) -> int:
    nodes, each = (settings.get(name, "") for name in ("num_nodes", "gpu_num_per_node"))
    return int(number(nodes) * number(each))


def _closed(
    settings: dict[str, str],
    rates: list[tuple[int, float]],
    text: list[str],
    begun: int,
    before: tuple[int, int],
    clash: str,
) -> Iterator[Found]:
    missing = [name for name in NEEDED if name not in settings]
    if missing:
        yield LeftOut(TOOL, f"it does not say its {', '.join(missing)}")
        return
    devices, other = _devices(settings), before[1] if before[0] != _devices(settings) else 0
    if clash or (clash := mixed_steps([step for step, _ in rates], "iteration", other)):
        yield LeftOut(TOOL, f"of {settings['model']} {clash}")
        return
    intervals = per_line(rates)
    if not intervals:
        yield LeftOut(TOOL, f"of {settings['model']} no line with a rate could be read")
        return
    batch = int(number(settings["batch_size_per_device"]))
    yield Printed(
        TOOL,
        settings["model"],
        "oneflow",
        devices,
        batch,
        intervals,
        "\n".join([*(f"{name} = {settings[name]}" for name in NEEDED), *text]),
        expected=begun - 1,
        until=AFTER_ANOTHER if other else "",
        device=GPU,
        precision=PRECISIONS.get(settings.get(PRECISION, ""), UNKNOWN),
    )
