"""A small run as the records' writer leaves it; imported by jobs too, so with little behind it."""

from dataclasses import replace

from hpcbench.records.ownership import Owner, Ownership
from hpcbench.records.schema import AccuracyRow, RankTimes, ThroughputRow
from hpcbench.records.writer import RunWriter
from support import IDENTITY

ALONE = Owner("", 0, "host", 1)
EPOCH = AccuracyRow(1, 0.001, 0.5, 0.8, 0.4, 0.9, "accuracy", 1.0, 1.0, 0.5)


def interval(number):
    return ThroughputRow("train", number, 10, 1280, 0.5, 0.4, 0.45, 2560.0)


def write_run(folder, rows=3, ranks=False, **changes):
    ownership = Ownership(folder, ALONE)
    identity = replace(IDENTITY, run_id=folder.name, **changes)
    writer = RunWriter(folder, identity, ownership, ranks=ranks)
    writer.start({"run_id": identity.run_id, "sweep": identity.sweep})
    for number in range(rows):
        row = interval(number)
        writer.throughput(row)
        if ranks:
            seconds = (row.fastest_rank_seconds, row.seconds)
            writer.ranks(RankTimes(row.phase, number, row.steps, seconds))
    writer.accuracy(EPOCH)
    writer.complete()
    writer.close()
    ownership.release()
