"""How often the report's 95 % intervals hold the truth, by simulation, with 3, 4 and 6 runs.

    python benchmarks/coverage.py [--sweeps 2000]

Made-up runs whose truth is known: logarithms of rates with 3 % of noise from run to run and, where
repeats are blocks, 5 % that a whole repeat has in common; final metrics that lose exactly the
margin. docs/statistics.md quotes what it prints.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import psutil

from hpcbench.analysis.estimates import Estimate, Ratio, Values
from hpcbench.analysis.loss import ERROR, Change, paired_change, welch_change
from hpcbench.analysis.pairing import rate_ratio

RUNS = (3, 4, 6)
NOISE, COMMON, TRUTH = 0.03, 0.05, 0.9
# Of mean 0 and standard deviation 1.
Draw = Callable[[np.random.Generator, tuple[int, ...]], Values]
NOISES: dict[str, Draw] = {
    "normal": lambda generator, shape: generator.standard_normal(shape),
    "heavy tails": lambda generator, shape: generator.standard_t(3, shape) / 3**0.5,
    "skewed": lambda generator, shape: 1 - generator.exponential(1, shape),
}
# Of which an interval of medians has to hold the median.
MEDIANS = {"normal": 0.0, "heavy tails": 0.0, "skewed": 1 - np.log(2)}


def rates(sweeps: int, runs: int, noise: str, generator: np.random.Generator) -> float:
    """Share of the medians' intervals that hold it."""
    logs = NOISE * (NOISES[noise](generator, (sweeps, runs)) - MEDIANS[noise])
    held = 0
    for seed, values in enumerate(np.exp(logs)):
        low, high = Estimate.of(values, seed).interval()
        held += low <= 1 <= high
    return held / sweeps


def ratios(
    sweeps: int, runs: int, noise: str, generator: np.random.Generator, blocks: bool
) -> float:
    """Share of the efficiencies' intervals that hold it, of repeats that are blocks or none."""
    held = 0
    for sweep in range(sweeps):
        common = blocks * COMMON * generator.standard_normal(runs)
        one, two = (
            float(factor) * np.exp(common + NOISE * NOISES[noise](generator, (runs,)))
            for factor in (1, 2 * TRUTH)
        )
        of_ratio = _ratio(one, two, blocks, sweep).times(0.5)
        held += of_ratio.low <= TRUTH <= of_ratio.high
    return held / sweeps


def _ratio(one: Values, two: Values, blocks: bool, seed: int) -> Ratio:
    sides = [
        pd.DataFrame({"sweep": "s", "repeat": range(len(side)), "samples_per_second": side})
        for side in (two, one)
    ]
    if blocks:
        # In one allocation a repeat.
        sides = [side.assign(allocation=side["repeat"].astype(str)) for side in sides]
    return rate_ratio(sides[0], sides[1], (2 * seed, 2 * seed + 1))


def losses(
    sweeps: int,
    runs: int,
    noise: str,
    generator: np.random.Generator,
    method: Callable[[Values, Values], Change],
    quiet: bool = False,
) -> tuple[float, float]:
    """Share of the changes' intervals that hold it, and of false "no loss larger than the margin".

    With a ``quiet`` base all the noise is at the larger count.
    """
    draw = NOISES[noise]
    at = draw(generator, (sweeps, runs)) - 1.0
    base = (0.01 if quiet else 1.0) * draw(generator, (sweeps, runs))
    change = method(at, base)
    low, high = change.interval()
    held = float(((low <= -1) & (high >= -1)).mean())
    return held, float((change.p_above(-1.0) < ERROR).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=2000, help="of each kind")
    sweeps = parser.parse_args().sweeps
    start = time.perf_counter()
    print(f"{sweeps:,} sweeps of each kind; load average {psutil.getloadavg()[0]:.1f}")
    print(f"{'in percent':52}" + "".join(f"{runs:>4} runs" for runs in RUNS))
    for noise in NOISES:
        for name, held in (
            ("rate", rates),
            ("efficiency, repeats no blocks", partial(ratios, blocks=False)),
            ("efficiency, repeats blocks", partial(ratios, blocks=True)),
        ):
            of_runs = [held(sweeps, runs, noise, np.random.default_rng(1)) for runs in RUNS]
            _print(f"{name}, {noise} noise", of_runs)
    for noise in NOISES:
        for name, method, quiet in (
            ("pairs", paired_change, False),
            ("no pairs", welch_change, False),
            ("base without noise", welch_change, True),
        ):
            both = [
                losses(10 * sweeps, runs, noise, np.random.default_rng(2), method, quiet)
                for runs in RUNS
            ]
            _print(f"change of accuracy, {name}, {noise}", [held for held, _ in both])
            _print('  false "no loss"', [false for _, false in both])
    print(f"{time.perf_counter() - start:.0f} s")


def _print(name: str, shares: list[float]) -> None:
    print(f"{name:52}" + "".join(f"{100 * share:9.1f}" for share in shares))


if __name__ == "__main__":
    main()
