"""Energy: counters as drivers offer them, and what a run makes of them.

This machine may have neither a GPU nor a readable counter, so the driver's side is made up: files
that rise as powercap's do, and a library with NVML's interface that the real bindings load.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from hpcbench.devices.counters import Package, counters_of
from hpcbench.devices.meter import Meter
from hpcbench.records.ownership import Owner, Ownership
from hpcbench.records.reader import read_results
from hpcbench.records.schema import EnergyRow, ThroughputRow
from hpcbench.records.writer import RunWriter
from support import IDENTITY, environment, only_run, run, train_command

ALONE = Owner("", 0, "here", 1)
ROW = EnergyRow(0, 100, 1.0, 50.0, 2.0, 50.0, "CPU packages", 1, *3 * (float("nan"),))
WATTS = 50
# Begins anew after 0.4 s.
RANGE_MICROJOULES = 20_000_000
RISING = """
import os, sys, time
folder, watts, wrap = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
start = time.time()
while os.getppid() > 1:
    with open(folder + "/new", "w") as file:
        file.write(str(int((time.time() - start) * watts * 1e6) % (wrap + 1)))
    os.replace(folder + "/new", folder + "/energy_uj")
    time.sleep(0.004)
"""


def package(folder: Path, energy: int = 0) -> Path:
    """A package's counter with a zone of its own below it, as powercap lays them out."""
    for zone, name in (("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "core")):
        (folder / zone).mkdir(parents=True)
        (folder / zone / "name").write_text(f"{name}\n")
        (folder / zone / "max_energy_range_uj").write_text(f"{RANGE_MICROJOULES}\n")
        (folder / zone / "energy_uj").write_text(f"{energy}\n")
    return folder / "intel-rapl:0"


@contextmanager
def drawing(folder: Path) -> Iterator[str]:
    """A package that draws WATTS; what HPCBENCH_POWERCAP is to be."""
    command = [sys.executable, "-c", RISING, package(folder), str(WATTS), str(RANGE_MICROJOULES)]
    rising = subprocess.Popen(command)
    try:
        yield str(folder)
    finally:
        rising.kill()
        rising.wait()


def test_a_counter_that_begins_anew(tmp_path):
    zone = package(tmp_path, RANGE_MICROJOULES - 1_000_000)
    counter = Package(zone)
    assert counter.joules() == 0
    (zone / "energy_uj").write_text("1999999")
    assert counter.joules() == pytest.approx(3)


def test_zones_that_are_parts_of_a_package_do_not_count_twice(tmp_path):
    package(tmp_path)
    here = {"HPCBENCH_POWERCAP": str(tmp_path)}
    assert len(counters_of(0, 1, False, here)[1]) == 1
    assert counters_of(1, 1, False, here) == ("CPU packages", [])
    assert counters_of(0, 1, False, {"HPCBENCH_POWERCAP": str(tmp_path / "none")})[1] == []


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "devices"), [("single", 1), ("horovod", 2)])
def test_a_run_counts_what_is_drawn(tmp_path, results, strategy, devices):
    with drawing(tmp_path / "powercap") as folder:
        flags = ["--model=cnn-1", "--epochs=1", "--train-samples=30000"]
        done = run(
            train_command(results, *flags, strategy=strategy, devices=devices),
            env=environment(HPCBENCH_POWERCAP=folder),
        )
    assert done.status == 0, done.errors
    assert "samples/J" in done.output
    found = read_results(results)
    energy = found.energy
    train = found.throughput[found.throughput["phase"] == "train"]
    assert energy["interval"].tolist() == train["interval"].tolist()
    assert energy["seconds"].tolist() == train["seconds"].tolist()
    assert set(energy["counted"]) == {"CPU packages"}
    assert set(energy["counters"]) == {1}, "two ranks of a host share its package"
    assert energy["joules"].sum() / energy["seconds"].sum() == pytest.approx(WATTS, rel=0.3)
    assert (energy["samples_per_joule"] * energy["joules"]).tolist() == pytest.approx(
        energy["samples"].tolist()
    )
    assert only_run(results)[1]["energy_sampling_core_share"] < 0.01
    plot = run(
        ["python", "analysis/plot_scaling.py", results, "--format=json", "--output", tmp_path / "f"]
    )
    assert plot.status == 0, plot.errors
    (point,) = json.loads((tmp_path / "f" / "report.json").read_text())["points"]
    whole = energy["samples"].sum() / energy["joules"].sum()
    assert point["samples_per_joule"] == pytest.approx(whole)


def test_a_counter_without_a_range_is_none(tmp_path):
    (package(tmp_path) / "max_energy_range_uj").write_text("-1")
    assert counters_of(0, 1, False, {"HPCBENCH_POWERCAP": str(tmp_path)})[1] == []


def test_a_resumed_run_keeps_rows_of_intervals_before(tmp_path):
    """Intervals in which the counter did not rise have no row."""
    for keep in ((0, 0), (3, 0)):
        ownership = Ownership(tmp_path, ALONE)
        writer = RunWriter(tmp_path, IDENTITY, ownership, keep, energy=True)
        writer.start({})
        for interval in (0, 2, 3, 4):
            writer.energy(replace(ROW, interval=interval))
        writer.close()
        ownership.release()
    kept = [line.split(",")[-11] for line in (tmp_path / "energy.csv").read_text().splitlines()]
    assert kept == ["interval", "0", "2", "0", "2", "3", "4"]


def test_a_driver_that_falls_silent_does_not_end_the_run(tmp_path):
    zone = package(tmp_path)
    meter = Meter(*counters_of(0, 1, False, {"HPCBENCH_POWERCAP": str(tmp_path)}), period=0.001)
    (zone / "energy_uj").unlink()
    deadline = time.monotonic() + 10
    while meter.counts and time.monotonic() < deadline:
        time.sleep(0.005)
    meter.begin()
    row = ThroughputRow("train", 0, 1, 1, 1.0, 1.0, 1.0, 1.0)
    assert EnergyRow.of(row, meter.source, meter.readings(), of_gpus=False) is None
    meter.close()


NVML = r"""
#include <chrono>
#include <cstdio>
#include <cstring>
extern "C" {
typedef unsigned long long u64;
struct Memory { u64 total, free, used; };
struct Memory2 { unsigned version; u64 total, reserved, free, used; };
struct Utilization { unsigned gpu, memory; };
int nvmlInitWithFlags(unsigned) { return 0; }
int nvmlShutdown() { return 0; }
int nvmlDeviceGetCount_v2(unsigned* n) { *n = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void** device) {
    *device = (void*)(u64)(i + 1); return 0;
}
int nvmlDeviceGetHandleByUUID(const char* uuid, void** device) {
    *device = (void*)(u64)(uuid[4] - '0' + 1); return 0;
}
int nvmlDeviceGetUUID(void* device, char* uuid, unsigned size) {
    snprintf(uuid, size, "GPU-%d", (int)(u64)device - 1); return 0;
}
int nvmlDeviceGetName(void*, char* name, unsigned) { strcpy(name, "Made-up GPU"); return 0; }
int nvmlDeviceGetMemoryInfo(void*, Memory* m) { *m = {8u << 20, 5u << 20, 3u << 20}; return 0; }
int nvmlDeviceGetMemoryInfo_v2(void* device, Memory2* m) {
    if (device == (void*)2) return 13;  // not found, as before driver 510
    *m = {m->version, 9u << 20, 1u << 20, 5u << 20, 3u << 20};
    return 0;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void*, unsigned* n, void*) { *n = 0; return 0; }
int nvmlDeviceGetUtilizationRates(void*, Utilization* u) { *u = {75, 10}; return 0; }
int nvmlDeviceGetClockInfo(void*, int, unsigned* mhz) { *mhz = 1400; return 0; }
int nvmlDeviceGetPowerUsage(void*, unsigned* milliwatts) { *milliwatts = 250000; return 0; }
int nvmlDeviceGetTotalEnergyConsumption(void* device, u64* millijoules) {
    if (device == (void*)2) return 3;  // not supported, as before Volta
    auto now = std::chrono::steady_clock::now().time_since_epoch();
    *millijoules = std::chrono::duration_cast<std::chrono::microseconds>(now).count() / 4;
    return 0;
}
const char* nvmlErrorString(int) { return "not supported"; }
}
"""
METERED = """
import sys, time
from hpcbench.devices.counters import counters_of
from hpcbench.devices.meter import Meter
from hpcbench.records.schema import EnergyRow, ThroughputRow
rank, devices = int(sys.argv[1]), int(sys.argv[2])
with Meter(*counters_of(rank, devices, on_gpus=True), period=0.01) as meter:
    time.sleep(0.1)
    meter.begin()
    start = time.perf_counter()
    time.sleep(0.3)
    readings = meter.readings()
    seconds = time.perf_counter() - start
    interval = ThroughputRow("train", 0, 1, 1000, seconds, seconds, seconds, 1.0)
    row = EnergyRow.of(interval, meter.source, readings, of_gpus=True)
    print(row.counted, row.counters, row.watts, row.utilization, row.memory_bytes, row.clock_mhz)
"""


@pytest.mark.parametrize(
    ("rank", "devices", "visible", "counters"),
    [(0, 1, None, 1), (1, 1, None, 1), (0, 2, None, 2), (0, 1, "1", 1)],
)
def test_gpus_are_counted_by_their_driver(tmp_path, rank, devices, visible, counters):
    """GPU 0 has an energy counter, GPU 1 tells its power only; both draw 250 W."""
    (tmp_path / "nvml.cpp").write_text(NVML)
    library = tmp_path / "libnvidia-ml.so.1"
    subprocess.run(["g++", "-shared", "-fPIC", tmp_path / "nvml.cpp", "-o", library], check=True)
    shown = environment(LD_LIBRARY_PATH=str(tmp_path))
    shown |= {"CUDA_VISIBLE_DEVICES": visible} if visible else {}
    done = run([sys.executable, "-c", METERED, str(rank), str(devices)], env=shown)
    assert done.status == 0, done.errors
    *counted, watts, utilization, memory, mhz = done.output.split()
    assert counted == ["GPUs", str(counters)]
    assert float(watts) == pytest.approx(250 * counters, rel=0.2)
    assert [float(utilization), float(memory), float(mhz)] == [0.75, 3 << 20, 1400]


def test_without_a_driver_nothing_is_counted():
    if os.path.exists("/dev/nvidia0"):
        pytest.skip("a GPU is here")
    assert counters_of(0, 1, on_gpus=True) == ("GPUs", [])
