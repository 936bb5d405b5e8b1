"""hpcbench calibrate: what one device reaches at most, for reports to hold training against."""

import argparse
import math
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import psutil

from hpcbench.calibration.config import PRECISIONS, CalibrateConfig
from hpcbench.calibration.measure import ARRAY_BYTES, MOVED, Rate, products, rate_of
from hpcbench.calibration.writing import write
from hpcbench.cli import Parser, add_flags, reports_errors, values_of
from hpcbench.cluster.launchers import detect
from hpcbench.cluster.schedulers import current_job
from hpcbench.devices.cores import bind_cores, cpu_share
from hpcbench.devices.peaks import vendor_teraflops
from hpcbench.errors import ConfigError, EnvironmentLacks, HpcbenchError, unknown_name
from hpcbench.frameworks import FRAMEWORKS, Framework
from hpcbench.packages import named
from hpcbench.records.provenance import collect
from hpcbench.records.writer import ensure_writable
from hpcbench.runs.faults import translate
from hpcbench.terminal import warn
from hpcbench.validation import parse

TERA, GIGA = 1e12, 1e9
# More than this of the cores in use by others is no machine to measure a peak on.
IDLE_LOAD = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "What one device reaches at most: products of matrices in each precision, and memory. "
        "Reports of runs in the folder, or in one below it, show training as a share of that."
    )
    parser.epilog = "exit status: 0 done, 2 bad arguments, 3 the environment lacks something"
    add_flags(parser, CalibrateConfig, framework="|".join(FRAMEWORKS.names()))


@reports_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status as the command's help lists them."""
    parser = Parser(prog="hpcbench calibrate")
    add_arguments(parser)
    config = parse(CalibrateConfig, values_of(parser.parse(arguments), CalibrateConfig))
    framework = FRAMEWORKS[config.framework]
    precisions = _precisions(config, framework)
    framework.check_installed()
    ensure_writable(config.results)
    if detect(os.environ).size > 1:
        raise ConfigError("calibrate measures one device alone: start it once, without a launcher")
    with named():
        try:
            document = _measured(config, framework, precisions)
        except HpcbenchError:
            raise
        except Exception as error:
            raise translate(error, framework) from error
    print(write(config.results, document))
    return 0


def _precisions(config: CalibrateConfig, framework: Framework) -> tuple[str, ...]:
    """Those asked for; ConfigError for one that the framework does not have."""
    known = framework.options.get("precision") or PRECISIONS
    for name in config.wanted or ():
        if name not in known:
            raise unknown_name(f"precision of {framework.name}", name, list(known))
    return config.wanted or tuple(name for name in PRECISIONS if name in known)


def _measured(
    config: CalibrateConfig, framework: Framework, precisions: Sequence[str]
) -> dict[str, Any]:
    load = os.getloadavg()[0]
    cores = bind_cores(detect(os.environ), config.cores_per_device, 1, process_per_device=False)
    framework.prepare(cores.threads, 1, 0)
    gpu = framework.gpu_name()
    kind = gpu or cpu_share(cores)
    print(f"{kind}, {framework.name}, load average {load:.1f}")
    if not gpu and load > IDLE_LOAD:
        warn("others use this processor: what is measured now may be less than it can")
    found = list(_products(config, framework, precisions, kind))
    if not found:
        raise EnvironmentLacks(f"{kind} has none of {', '.join(precisions)}")
    return {
        "framework": framework.name,
        "device_kind": kind,
        "products": found,
        "memory": _memory(config, framework),
        "provenance": collect(current_job(os.environ).facts, framework.cpu_math().facts()),
    }


def _products(
    config: CalibrateConfig, framework: Framework, precisions: Sequence[str], kind: str
) -> Iterator[dict[str, Any]]:
    """The fastest product of each precision that the device has."""
    for precision in precisions:
        try:
            multiplier = framework.multiplier(precision)
        except EnvironmentLacks as error:
            if config.wanted:
                raise
            print(f"{precision:>15}  {error}")
            continue
        side, best = max(products(multiplier, config.seconds), key=lambda one: one[1].value)
        vendor = vendor_teraflops(kind, precision)
        known = math.isfinite(vendor)
        share = f", {best.value / TERA / vendor:.0%} of the vendor's" if known else ""
        print(f"{precision:>15}  {_shown(best, GIGA)} GFLOP/s at {side} x {side}{share}")
        scaled = {n: getattr(best, n) / TERA for n in ("value", "low", "high")}
        yield {"precision": precision, "side": side, "teraflops": scaled.pop("value"), **scaled}


def _memory(config: CalibrateConfig, framework: Framework) -> dict[str, Any] | None:
    """Of an addition of arrays; None where they do not fit."""
    if psutil.virtual_memory().available // 2 < MOVED * ARRAY_BYTES:
        print(f"{'memory':>15}  not measured: {MOVED} arrays of 512 MiB do not fit")
        return None
    rate = rate_of(framework.adder(ARRAY_BYTES), MOVED * ARRAY_BYTES, config.seconds)
    print(f"{'memory':>15}  {_shown(rate, GIGA)} GB/s")
    return {"gigabytes_per_second": rate.value / GIGA, "array_bytes": ARRAY_BYTES}


def _shown(rate: Rate, unit: float) -> str:
    value, low, high = (f"{part / unit:,.1f}" for part in (rate.value, rate.low, rate.high))
    return f"{value} [{low}, {high}]"


if __name__ == "__main__":
    sys.exit(main())
