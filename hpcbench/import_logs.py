"""hpcbench import LOG... [--results results/imported]: old printouts as runs.

Reads what Horovod's synthetic benchmarks, tf_cnn_benchmarks, DLPerf, torchtitan and Megatron-LM
print, and writes the files of a run for each, marked as imported; and what nccl-tests and the OSU
micro-benchmarks print of collective operations. Tables of published rates are read too. What a log
does not say is marked as unknown.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hpcbench.cli import Parser, reports_errors
from hpcbench.errors import ConfigError, EnvironmentLacks
from hpcbench.logs import CPU, GPU, Printed
from hpcbench.logs.runs import gather, summary, write, write_collective
from hpcbench.records.identity import UNKNOWN
from hpcbench.records.writer import ensure_writable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Old printouts as runs."
    parser.epilog = (
        "exit status: 0 all that was printed is imported, 2 bad arguments, or something is left "
        "out and named, 3 cannot write"
    )
    add = parser.add_argument
    add("logs", nargs="+", type=Path, metavar="LOG")
    add(
        "--results",
        type=Path,
        default=Path("results/imported"),
        help="folder; its name is the sweep's; default: results/imported",
    )
    add("--device-kind", default=UNKNOWN, help="for example 'Tesla V100-SXM2-16GB'")
    add(
        "--scaling",
        choices=("weak", "strong"),
        default="weak",
        help="what stayed the same as devices were added: the batch of each, or of all; default: "
        "weak",
    )
    add(
        "--batches-per-iter",
        type=int,
        default=10,
        metavar="N",
        help="--num-batches-per-iter of Horovod's benchmark; default: 10",
    )
    add(
        "--ranks",
        type=int,
        metavar="N",
        help="on how many ranks OSU's benchmarks ran, which they do not print",
    )


@reports_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status as the command's help lists them."""
    parser = Parser(prog="hpcbench import")
    add_arguments(parser)
    return import_all(parser.parse(arguments))


def import_all(args: argparse.Namespace) -> int:
    """Write the runs of all logs and print their folders; 2 where something is left out.

    Raises HpcbenchError for arguments that cannot be, and where nothing can be written.
    """
    if args.batches_per_iter < 1:
        raise ConfigError(f"--batches-per-iter {args.batches_per_iter}: at least 1")
    if args.ranks is not None and args.ranks < 2:
        raise ConfigError(f"--ranks {args.ranks}: at least 2, for one exchanges nothing")
    if not args.device_kind.strip() or not args.device_kind.isprintable():
        raise ConfigError(f"--device-kind {args.device_kind!a}: a name, as of a GPU")
    if not args.results.resolve().name:
        raise ConfigError(f"--results {args.results}: a folder with a name, which is the sweep's")
    gathered = gather(args.logs, args.batches_per_iter, args.ranks)
    if gathered.runs:
        ensure_writable(args.results)
    devices = {one.device for one, _ in gathered.runs.values()}
    both = args.device_kind != UNKNOWN and {CPU, GPU} <= devices
    if both:
        gathered.remarks.append(
            f"some prints are of CPUs and some of GPUs; {args.device_kind} is taken for the GPUs"
        )
    for one, log in gathered.runs.values():
        kind = UNKNOWN if both and one.device == CPU else args.device_kind
        try:
            if isinstance(one, Printed):
                print(write(one, log, kind, args.scaling, args.results))
            else:
                print(write_collective(one, log, kind, args.results))
        except OSError as error:
            raise EnvironmentLacks(f"{args.results} cannot be written: {error}") from error
    for remark in gathered.remarks:
        print(f"note: {remark}", file=sys.stderr)
    for sentence in gathered.left_out:
        print(f"hpcbench: left out {sentence}", file=sys.stderr)
    print(f"imported: {summary(gathered)}", file=sys.stderr)
    return 2 if gathered.left_out else 0


if __name__ == "__main__":
    sys.exit(main())
