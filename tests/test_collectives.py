"""Collective operations by themselves: definitions, real ranks, the line through times, prints."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcbench import import_logs, plot
from hpcbench.analysis.collectives import Collectives, collective_points, linear_fits
from hpcbench.analysis.exchange import exchange_table
from hpcbench.collective import OPERATIONS, elements_of, expected
from hpcbench.collective import given as given_by
from hpcbench.collective.libraries import Exchange, Library
from hpcbench.collective.measure import Launched, cases, measure
from hpcbench.collective.rows import COLLECTIVES_FILE, COLUMNS, read_collectives
from hpcbench.errors import CommunicationFailed
from hpcbench.logs import LeftOut, PrintedCollective
from hpcbench.logs.runs import printed
from hpcbench.logs.text import lines_of
from hpcbench.strategies import Communicator
from support import environment, launcher, run
from support.runs import rows, runs_of

COMMAND = ("python", "-m", "hpcbench", "collectives")


@given(
    st.sampled_from(sorted(OPERATIONS)),
    st.integers(1, 5000),
    st.integers(2, 9),
)
def test_what_is_expected_is_what_the_operation_means(operation, size, ranks):
    """By numpy over all ranks' buffers; and no rank's part is longer than another's."""
    elements = elements_of(operation, size, ranks)
    every = [given_by(operation, elements, rank, ranks) for rank in range(ranks)]
    whole = {
        "all_reduce": np.sum(every, axis=0),
        "broadcast": every[0],
        "all_gather": np.concatenate(every),
        "reduce_scatter": np.sum(every, axis=0),
    }[operation]
    for rank in range(ranks):
        want = whole
        if operation == "reduce_scatter":
            want = whole[rank * elements // ranks : (rank + 1) * elements // ranks]
        np.testing.assert_array_equal(expected(operation, elements, rank, ranks), want)
    assert len(whole) == elements


class _Broken(Library):
    """Gives back what it was given."""

    name = "broken"
    operations = ("all_reduce",)
    forms = ("flat",)

    def exchange(self, operation, form, inputs):
        return Exchange(lambda: None, lambda: list(inputs))


class _TwoRanks(Communicator):
    """Rank 0 of two that are alike."""

    processes = 2

    def all_gather(self, values):
        return np.array([values, values], np.float64)


def test_a_wrong_result_is_no_measurement():
    every = cases([_Broken(_TwoRanks())], ["all_reduce", "broadcast"], [4, 8, 8, 9], {})
    assert [case.bytes for case in every] == [4, 8]
    with pytest.raises(CommunicationFailed, match="all_reduce of 4 bytes through broken gives a w"):
        list(measure(every, 1, 0.01, Launched("", 1, {"broken": "CPU"})))


def table(seconds, sizes, launches=1, rounds=7, operation="all_reduce", ranks=8):
    """Rows of a library whose operation on each of ``sizes`` takes ``seconds(size, round)``."""
    rows = [
        dict.fromkeys(COLUMNS, "")
        | {
            "launch": f"{launch}",
            "library": "made up",
            "operation": operation,
            "form": "single",
            "bytes": size,
            "tensors": 1,
            "ranks": ranks,
            "nodes": 1,
            "round": number,
            "iterations": 1,
            "seconds": seconds(size),
        }
        for launch in range(launches)
        for number in range(rounds)
        for size in sizes
    ]
    return pd.DataFrame(rows)


SIZES = [4**power for power in range(1, 14)]


def test_bandwidths_are_those_of_nccl_tests():
    """A row that nccl-tests printed of eight GPUs: 128 MiB in 1,000 us, 134.2 and 234.9 GB/s."""
    points = collective_points(table(lambda _: 1e-3, [2**27], rounds=5))
    assert np.isnan(points["seconds_high"][0]), "an interval from five"
    points = collective_points(table(lambda _: 1e-3, [2**27]))
    assert points["algorithm_bandwidth"][0] == pytest.approx(134.2e9, rel=1e-3)
    assert points["bus_bandwidth"][0] == pytest.approx(234.9e9, rel=1e-3)
    for operation, factor in (("all_gather", 7 / 8), ("reduce_scatter", 7 / 8), ("broadcast", 1)):
        points = collective_points(table(lambda _: 1e-3, [2**27], operation=operation))
        assert points["bus_bandwidth"][0] == pytest.approx(factor * 2**27 / 1e-3)


def test_intervals_are_over_launches_where_there_are_several():
    """Rounds of a launch are alike; launches differ by what each got."""
    generator = np.random.default_rng(0)
    slow = [*generator.lognormal(0, 0.2, 8)]
    rows = table(lambda _: 1e-3 * generator.lognormal(0, 0.001), [1024], launches=8, rounds=20)
    alone = collective_points(rows[rows["launch"] == "0"]).iloc[0]
    assert (alone["launches"], alone["rounds"]) == (1, 20)
    rows["seconds"] *= rows["launch"].astype(int).map(dict(enumerate(slow)))
    several = collective_points(rows).iloc[0]
    assert several["launches"] == 8
    assert several["seconds_high"] / several["seconds_low"] > 1.05
    assert alone["seconds_high"] / alone["seconds_low"] < 1.01


def test_latency_and_bandwidth_are_found():
    """Known truths, 3 % of noise a size: the interval holds each in at least 90 of 100 trials."""
    generator = np.random.default_rng(1)
    hits = {"latency": 0, "bandwidth": 0}
    for _ in range(100):
        latency, bandwidth = 10.0 ** generator.uniform([-6, 7], [-3, 11])

        def seconds(size, a=latency, b=bandwidth):
            return (a + size / b) * generator.lognormal(0, 0.03)

        (fit,) = linear_fits(collective_points(table(seconds, SIZES, rounds=1))).to_dict("records")
        for name, truth in (("latency", latency), ("bandwidth", bandwidth)):
            hits[name] += fit[f"{name}_low"] <= truth <= fit[f"{name}_high"]
        assert fit["ring_latency"] == pytest.approx(fit["latency"] / 14)
        assert fit["ring_bandwidth"] == pytest.approx(fit["bandwidth"] * 14 / 8)
        assert fit["tree_latency"] == pytest.approx(fit["latency"] / 6)
    assert min(hits.values()) >= 90, hits


def test_a_line_that_the_times_do_not_tell_is_not_drawn():
    assert linear_fits(collective_points(table(lambda _: 1e-3, SIZES[:4]))).empty
    # Nothing of the bandwidth, where all sizes take as long; nothing at all, of noise.
    assert linear_fits(collective_points(table(lambda _: 1e-3, SIZES[:6]))).empty
    wild = np.random.default_rng(0)
    noise = table(lambda _: 10.0 ** wild.uniform(-6, 2), SIZES[:6], rounds=1)
    assert linear_fits(collective_points(noise)).empty
    (fit,) = linear_fits(collective_points(table(lambda size: 1e-5 * size**0.5, SIZES))).to_dict(
        "records"
    )
    assert fit["misfit"] > 0.3


def test_the_share_of_the_bandwidth_that_training_got():
    """A made-up exchange at half of what an all-reduce of its size has by itself, between two
    measured sizes; and no word where nothing like it was measured."""
    size = 4 * 55050
    rows_ = table(lambda size: size / 8e9, [4**8, 4**10], ranks=2)
    rows_["library"], rows_["device_kind"] = "mpi4py", "CPU (1 core)"
    own = Collectives(collective_points(rows_))
    runs = runs_of(rows(2, [100.0] * 6, strategy="mpi"), rows(1, [60.0] * 6, strategy="mpi"))
    runs["bare_exchange_seconds"] = np.where(runs["devices"] == 2, 2 * size / 8e9, np.nan)
    documents = [
        {"sweep": sweep, "run_id": run_id, "trainable_parameters": 55050}
        for sweep, run_id in zip(runs["sweep"], runs["run_id"], strict=True)
    ]
    (found,) = exchange_table(runs, documents, own).to_dict("records")
    assert (found["devices"], found["gradient_bytes"]) == (2, size)
    assert found["exchange_bandwidth"] == pytest.approx(4e9)
    assert found["own_bandwidth"] == pytest.approx(8e9)
    assert found["share_low"] <= found["share"] == pytest.approx(0.5)
    for changed in (
        {"library": "torch"},
        {"ranks": 4},
        {"device_kind": "CPU (2 cores)"},
        {"bytes": own.points["bytes"] * 16},
        {"operation": "all_gather"},
    ):
        other = Collectives(own.points.assign(**changed))
        assert exchange_table(runs, documents, other).empty, changed
    assert exchange_table(runs, documents, Collectives()).empty


@pytest.mark.slow
def test_three_ranks_exchange_and_are_drawn(tmp_path, capsys):
    """Every library that is here, results checked by the ranks; three is no power of two."""
    options = ("--largest=65536", "--smallest=4", "--factor=16", "--rounds=2", "--seconds=0.001")
    where = ("--models=cnn-1,fc-64", "--results", tmp_path / "found")
    done = run([*launcher("mpi", 3), *COMMAND, *options, *where], timeout=300)
    assert done.status == 0, done.errors
    assert "torch all_reduce on 3 ranks: 4 B in" in done.output
    measured = read_collectives(tmp_path)
    rows = measured.rows
    assert set(rows["library"]) == {"mpi4py", "horovod", "torch"}
    assert set(rows["operation"]) == set(OPERATIONS)
    single = rows[rows["form"] == "single"]
    assert (single.groupby(["library", "operation", "bytes"])["round"].nunique() == 2).all()
    assert (single.loc[single["operation"] == "all_gather", "bytes"] % 12 == 0).all()
    assert (rows["seconds"] >= rows["mean_seconds"]).all()
    assert (rows["mean_seconds"] >= rows["fastest_seconds"]).all()
    models = rows[rows["model"] == "fc-64"]
    assert set(models["form"]) == {"flat", "grouped", "per-tensor"}
    assert set(zip(models["tensors"], models["bytes"], strict=True)) == {(6, 4 * 55050)}
    (about,) = measured.launches.values()
    assert len(about["hosts"]) == 3
    for kind in ("html", "json"):
        out = tmp_path / "drawn"
        assert plot.main([str(tmp_path), "--output", str(out), "--format", kind]) == 0
    assert (out / "collectives_bandwidth.png").exists()
    words = json.loads((out / "report.json").read_text())
    assert (
        len(words["collectives"])
        == rows.drop(columns="round")
        .groupby(["library", "operation", "bytes", "form", "model"])
        .ngroups
    )
    assert "horovod all_gather on 3 ranks" in capsys.readouterr().out


@pytest.mark.slow
def test_what_a_launcher_does_not_connect_is_said(tmp_path):
    """torchrun connects PyTorch's ranks alone; what was asked for is not left out but refused."""
    small = ("--largest=64", "--rounds=1", "--seconds=0.001", "--operations=broadcast,all_reduce")
    torchrun = ("torchrun", "--nproc-per-node=2", "-m", "hpcbench", "collectives", *small)
    done = run([*torchrun, "--results", tmp_path], timeout=300)
    assert done.status == 0, done.errors
    assert "left out mpi4py: torchrun started 2 processes but mpi4py sees 1" in done.errors
    assert set(read_collectives(tmp_path).rows["library"]) == {"torch"}
    alone = ("--through=tf.distribute", "--models=fc-64", "--results", tmp_path / "tf")
    more = ("--largest=64", "--rounds=1", "--seconds=0.001")
    done = run([*launcher("mpi", 2), *COMMAND, *more, *alone], timeout=300)
    assert done.status == 0, done.errors
    of_tf = read_collectives(tmp_path / "tf").rows
    assert set(of_tf["operation"]) == {"all_reduce", "all_gather"}
    assert set(of_tf["form"]) == {"single", "flat", "grouped"}


@pytest.mark.parametrize(
    ("flags", "status", "sentence"),
    [
        ((), 2, "between ranks, and this is one: start several"),
        (("--operations=all_reduce,gather",), 2, "unknown operation 'gather'"),
        (("--through=mpi4pi",), 2, "unknown library 'mpi4pi'; did you mean 'mpi4py'?"),
        (("--models=cnn-9",), 2, "unknown model 'cnn-9'"),
        (("--smallest=8", "--largest=4"), 2, "largest 4 is below smallest 8"),
        (("--through=mpi4py,tf.distribute",), 2, "tf.distribute is measured by itself"),
        (("--through=,",), 2, "through names none"),
        (("--largest=1000000000000000",), 3, "choose --largest below"),
    ],
)
def test_what_cannot_be_measured_is_refused(tmp_path, flags, status, sentence):
    alone = {} if not flags else {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"}
    local = {"OMPI_COMM_WORLD_LOCAL_RANK": "0", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"} if alone else {}
    done = run([*COMMAND, *flags, "--results", tmp_path], env=environment(**alone, **local))
    assert done.status == status
    assert sentence in done.errors
    assert done.errors.count("\n") == 1


def test_files_that_are_none_are_named(tmp_path):
    good = table(lambda _: 1e-3, [4])
    good["mean_seconds"] = good["fastest_seconds"] = 1e-3
    for name, content in {
        "good": good,
        "short": good.drop(columns="ranks"),
        "none": good.assign(seconds=0.0),
        "text": good.assign(bytes="many"),
        "strange": good.assign(operation="gossip"),
    }.items():
        (tmp_path / name).mkdir()
        content.to_csv(tmp_path / name / COLLECTIVES_FILE, index=False)
    (tmp_path / "again").mkdir()
    good.to_csv(tmp_path / "again" / COLLECTIVES_FILE, index=False)
    (tmp_path / "good" / "round").symlink_to(tmp_path)
    (tmp_path / "unlike").mkdir()
    good.assign(launch="9").to_csv(tmp_path / "unlike" / COLLECTIVES_FILE, index=False)
    (tmp_path / "unlike" / "collectives.json").write_text("{")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / COLLECTIVES_FILE).touch()
    measured = Collectives.below(tmp_path)
    assert len(measured.points) == 1
    assert (measured.points["launches"] == 1).all()
    assert len(measured.skipped) == 7
    assert "the same launch as" in "".join(measured.skipped)
    assert "has no column ranks" in "".join(measured.skipped)


NCCL = """\
# nccl-tests version 2.17.6 nccl-headers=22501 nccl-library=22501
# Collective test starting: all_reduce_perf
# nThread 1 nGpus 1 minBytes 1048576 maxBytes 33554432 step: 2(factor) warmup iters: 5 iters: 100
#
# Using devices
#  Rank  0 Group  0 Pid   1946 on node-1 device  0 [0000:0f:00] NVIDIA A100-SXM4-40GB
#  Rank  1 Group  0 Pid   1947 on node-1 device  1 [0000:15:00] NVIDIA A100-SXM4-40GB
#  Rank  2 Group  0 Pid   1948 on node-2 device  0 [0000:0f:00] NVIDIA A100-SXM4-40GB
#  Rank  3 Group  0 Pid   1949 on node-2 device  1 [0000:15:00] NVIDIA A100-SXM4-40GB
#
#                                                              out-of-place                       in-place
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
     1048576        262144     float     sum      -1    105.9    9.90   14.85      0    105.7    9.92   14.88      0
    33554432       8388608     float     sum      -1    631.1   53.17   79.75      0    631.0   53.18   79.77    N/A
# Out of bounds values : 0 OK
# Avg bus bandwidth    : 47.3
"""  # noqa: E501
OSU = """\
# OSU MPI Allgather Latency Test v7.5
# Datatype: MPI_CHAR.
# Size       Avg Latency(us)   Min Latency(us)   Max Latency(us)  Iterations
4                      10.05              9.00             11.50        1000
1048576              1000.00            990.00           1100.25         100
"""
TIMES = {
    "nccl": [(2**20, 105.9e-6, 105.9e-6, 105.9e-6), (2**25, 631.1e-6, 631.1e-6, 631.1e-6)],
    "osu": [(16, 11.5e-6, 10.05e-6, 9e-6), (2**22, 1100.25e-6, 1000e-6, 990e-6)],
}


def prints(text, ranks=4):
    return printed(lines_of(text.encode()), 10, ranks)


def test_other_programs_numbers_are_no_rows_and_prefixes_no_content():
    (alone,) = prints(OSU)
    (followed,) = prints(OSU + "slurm epilog: job 7\n2024 100 1 1 1\n12 5.5 5 6 10\n")
    (prefixed,) = prints("".join(f"[1,0]<stdout>:{line}\n" for line in OSU.splitlines()))
    assert alone == followed == prefixed


@pytest.mark.parametrize("prefix", ["", "[1,0]<stdout>:", "0: ", "    "])
@pytest.mark.parametrize("name", TIMES)
def test_prints_of_others_are_read(name, prefix):
    text = {"nccl": NCCL, "osu": OSU}[name]
    (one,) = prints("".join(f"{prefix}{line}\n" for line in text.splitlines()))
    assert isinstance(one, PrintedCollective)
    assert (one.operation, one.ranks) == ({"nccl": "all_reduce", "osu": "all_gather"}[name], 4)
    np.testing.assert_allclose(one.times, TIMES[name])
    assert one.complete
    assert (one.nodes, one.device) == {"nccl": (2, "NVIDIA A100-SXM4-40GB"), "osu": (0, "")}[name]


def test_rccls_prints_are_told_from_nccls():
    """rccl-tests says so in a line of its own."""
    (one,) = prints(
        NCCL.replace("# Using devices", "rccl-tests: Version develop:3f7\n# Using devices")
    )
    assert (one.library, one.operation) == ("RCCL", "all_reduce")


def test_ranks_that_are_not_listed_are_told_by_the_bandwidths():
    """Of a list that somebody cut, nothing is believed but what agrees with them."""
    rank_2 = next(line for line in NCCL.splitlines(keepends=True) if "Rank  2" in line)
    (one,) = prints(NCCL.replace(rank_2, ""))
    assert (one.ranks, one.nodes) == (4, 0)
    (left,) = prints(NCCL.replace("14.85", "9.90").replace("79.75", "70.00").replace(rank_2, ""))
    assert "how many ranks" in left.why


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("-1    631.1   53.17   79.75      0", "-1    631.1   53.17   79.75      7"), "wrong"),
        (("all_reduce_perf", "alltoall_perf"), "it measures alltoall"),
        (("bounds values : 0 OK", "bounds values : 18 FAILED"), "it says at its end that results"),
        (("     float     sum      -1", "     float    none      -1"), ""),
    ],
)
def test_prints_that_say_something_else_are_left_out(change, why):
    text = NCCL.replace(*change)
    if not why:
        text, why = text.replace("# Collective test starting: all_reduce_perf\n", ""), "not say wh"
    (left,) = prints(text)
    assert isinstance(left, LeftOut)
    assert why in left.why


def test_a_type_that_is_not_named_here_is_read_too():
    """As rccl-tests calls its own."""
    (one,) = prints(NCCL.replace("   float ", "fp8_e4m3 "))
    assert (one.library, len(one.times), one.doubt) == ("NCCL fp8_e4m3", 2, "")


def test_types_and_operators_are_measurements_of_their_own():
    row = next(line for line in NCCL.splitlines(keepends=True) if line.startswith("     1048576"))
    half = row.replace("float", " half").replace("105.9    9.90", "205.9    5.09")
    product = row.replace("sum", "prod").replace("105.9    9.90", "305.9    3.43")
    found = prints(
        NCCL.replace(row, row + half.replace("14.85", " 7.64") + product.replace("14.85", " 5.14"))
    )
    assert {one.library: round(1e6 * one.times[0][1], 1) for one in found} == {
        "NCCL": 105.9,
        "NCCL half": 205.9,
        "NCCL prod": 305.9,
    }


@pytest.mark.parametrize(
    ("text", "doubt"),
    [
        (NCCL.replace("105.9    9.90", "10x.9    9.90"), "1 line of its table could not be read"),
        (OSU.replace("4                      10.05", "4                      1x.05"), "1 line of"),
    ],
)
def test_lines_of_a_table_that_cannot_be_read_are_counted(text, doubt):
    (one,) = prints(text)
    assert len(one.times) == 1
    assert doubt in one.doubt


def test_other_programs_numbers_within_a_table_of_osu_are_told():
    lines = OSU.splitlines(keepends=True)
    sizes = [f"{size} 5.00 4.00 6.00 100\n" for size in (8, 16, 32, 64)]
    head, table = "".join(lines[:3]), "".join([lines[3], *sizes])
    (left,) = prints(head + "[node1] pid 4321 5.0 4.0 6.0 10\n" + table)
    assert "most lines do not follow the first row" in left.why
    (one,) = prints(head + table + "job 256 3.0 2.0 4.0 1\n128 7.0 6.0 8.0 100\n")
    assert "1 line of its table could not be read" in one.doubt


def test_a_table_of_osu_with_a_column_that_is_not_known():
    (left,) = prints(
        OSU.replace("Iterations", "Validation")
        .replace("1000\n", "Pass\n")
        .replace(" 100\n", " Pass\n")
    )
    assert left.why.endswith("its column Validation is not known")


def test_osu_needs_to_be_told_its_ranks(tmp_path, capsys):
    log = tmp_path / "osu.log"
    log.write_text(OSU)
    into = ["--results", str(tmp_path / "imported")]
    assert import_logs.main([str(log), *into]) == 2
    assert "say so with --ranks" in capsys.readouterr().err
    assert import_logs.main([str(log), "--ranks=4", *into]) == 0
    assert "0 runs, 1 measurement of collective operations" in capsys.readouterr().err
    assert import_logs.main([str(log), "--ranks=4", *into]) == 0
    points = Collectives.below(tmp_path).points
    assert points["bytes"].tolist() == [16, 2**22]
    assert plot.main([str(tmp_path), "--output", str(tmp_path / "drawn")]) == 0


@settings(max_examples=200)
@given(st.sampled_from(sorted(TIMES)), st.data())
def test_a_print_that_is_cut_off_gives_no_wrong_number(name, data):
    text = {"nccl": NCCL, "osu": OSU}[name]
    cut = data.draw(st.integers(0, len(text)))
    for one in prints(text[:cut]):
        if isinstance(one, PrintedCollective):
            assert one.ranks == 4
            known = {tuple(round(1e9 * value) for value in row) for row in TIMES[name]}
            assert {tuple(round(1e9 * value) for value in row) for row in one.times} <= known
