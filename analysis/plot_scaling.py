"""python analysis/plot_scaling.py [RESULTS] [--output DIR]: from runs to scaling plots.

Reads every complete run below RESULTS (default: results) and writes throughput, speedup,
parallel efficiency and accuracy as PNG and SVG, and scaling.csv with the numbers behind them.
"""

import argparse
import sys
from pathlib import Path

import style

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hpcbench.records.reader import read_results


def main() -> int:
    """Exit status 0 done, 2 bad arguments, 3 nothing to plot or the output cannot be written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="?", type=Path, default=Path("results"))
    parser.add_argument("--output", type=Path, default=Path("figures"), help="default: figures")
    arguments = parser.parse_args()
    if not arguments.results.is_dir():
        return _stop(2, f"results folder {arguments.results} does not exist")
    results = read_results(arguments.results)
    for reason in results.skipped:
        print(f"warning: left out {reason}", file=sys.stderr)
    if not results.runs:
        return _stop(3, f"no complete run below {arguments.results}")
    style.use()
    from figures import all_figures
    from scaling import ENOUGH_RUNS, accuracy_curves, scaling_table

    table = scaling_table(results.throughput)
    few = table[~table["enough_runs"]]
    if len(few):
        print(
            f"warning: {len(few)} of {len(table)} points have fewer than {ENOUGH_RUNS} runs: "
            f"their 95 % intervals are too narrow",
            file=sys.stderr,
        )
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
        written = [arguments.output / "scaling.csv"]
        table.to_csv(written[0], index=False)
        for name, draw in all_figures(table, accuracy_curves(results.accuracy)).items():
            figure = draw()
            for suffix in ("png", "svg"):
                path = arguments.output / f"{name}.{suffix}"
                metadata = {"Date": None} if suffix == "svg" else None
                figure.savefig(path, bbox_inches="tight", metadata=metadata)
                written.append(path)
    except OSError as error:
        return _stop(3, f"{arguments.output} cannot be written: {error}")
    print(f"{len(results.runs)} runs, {len(table)} points")
    for path in written:
        print(path)
    return 0


def _stop(status: int, message: str) -> int:
    print(f"plot_scaling: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
