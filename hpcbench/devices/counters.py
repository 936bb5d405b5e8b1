"""What devices draw and do, as their drivers count it: NVIDIA GPUs, CPU packages."""

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hpcbench.devices.gpus import gpus_of_process, memory_of, nvml
from hpcbench.errors import EnvironmentLacks

GPUS, PACKAGES = "GPUs", "CPU packages"
# Where Linux keeps RAPL's counters, of AMD's processors too; in an image they may be elsewhere.
POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Activity:
    """A device at a moment: share of the time that it was busy, bytes in use, clock."""

    utilization: float = 0.0
    memory_bytes: float = 0.0
    clock_mhz: float = 0.0


class Counter(Protocol):
    """One device. ``joules`` never falls; both raise OSError once the driver does not answer."""

    def joules(self) -> float:
        """What it has drawn since some moment in the past."""

    def activity(self) -> Activity: ...


class Package:
    """The cores of a CPU socket, with all that others run on them, from ``folder``.

    Memory is counted elsewhere. The counter begins anew at its largest value, after a minute or
    more.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "energy_uj"
        self._range = int((folder / "max_energy_range_uj").read_text())
        if self._range <= 0:
            raise ValueError(f"{folder} says that its counter has no range")
        self._last = self._read()
        self._joules = 0.0

    def _read(self) -> int:
        return int(self._file.read_text())

    def joules(self) -> float:
        now = self._read()
        self._joules += (now - self._last) % (self._range + 1) / 1e6
        self._last = now
        return self._joules

    def activity(self) -> Activity:
        return Activity()


class GpuCounter:
    """An NVIDIA GPU by its UUID."""

    def __init__(self, uuid: str) -> None:
        self._nvml: Any = nvml()
        self._handle = self._ask("HandleByUUID", uuid)
        self._joules = 0.0
        self._last = time.perf_counter()
        try:
            self._ask("TotalEnergyConsumption", self._handle)
            self._counts = True
        except OSError:
            # Before Volta there is no counter; its power, times how long, stands for one.
            self._counts = False

    def _ask(self, what: str, *arguments: Any) -> Any:
        try:
            return getattr(self._nvml, f"nvmlDeviceGet{what}")(*arguments)
        except self._nvml.NVMLError as error:
            raise OSError(f"the NVIDIA driver does not answer: {error}") from error

    def _memory(self) -> Any:
        try:
            return memory_of(self._nvml, self._handle)
        except self._nvml.NVMLError as error:
            raise OSError(f"the NVIDIA driver does not answer: {error}") from error

    def joules(self) -> float:
        if self._counts:
            return float(self._ask("TotalEnergyConsumption", self._handle)) / 1e3
        now = time.perf_counter()
        self._joules += self._ask("PowerUsage", self._handle) / 1e3 * (now - self._last)
        self._last = now
        return self._joules

    def activity(self) -> Activity:
        return Activity(
            self._ask("UtilizationRates", self._handle).gpu / 100,
            float(self._memory().used),
            float(self._ask("ClockInfo", self._handle, self._nvml.NVML_CLOCK_SM)),
        )


def packages(folder: Path) -> list[Package]:
    """The CPU packages of this host that may be read: since Linux 5.10, by root alone unless the
    site allows more."""
    found = []
    for zone in sorted(folder.glob("intel-rapl:*")):
        # A package's own zones, its cores and its memory, have a second number.
        with contextlib.suppress(OSError, ValueError):
            if zone.name.count(":") == 1 and (zone / "name").read_text().startswith("package"):
                found.append(Package(zone))
    return found


def counters_of(
    local_rank: int, devices: int, on_gpus: bool, environment: Mapping[str, str] = os.environ
) -> tuple[str, list[Counter]]:
    """What a process with so many ``devices`` is to count, and from what; nothing if it cannot.

    Its GPUs; without any, the host's packages, which local rank 0 counts for all.
    """
    if on_gpus:
        try:
            mine = gpus_of_process(local_rank, devices, environment)
            return GPUS, [GpuCounter(gpu.uuid) for gpu in mine]
        except (EnvironmentLacks, OSError):
            return GPUS, []
    if local_rank > 0:
        return PACKAGES, []
    return PACKAGES, list(packages(powercap(environment)))


def powercap(environment: Mapping[str, str]) -> Path:
    """The folder of the CPU packages' counters."""
    return Path(environment.get("HPCBENCH_POWERCAP", POWERCAP))
