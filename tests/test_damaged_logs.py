"""Logs as they lie about: wrapped, cut off, of several jobs: the right numbers, or none."""

import gzip
import json
import random
from dataclasses import replace
from itertools import zip_longest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbench.logs import AFTER_ANOTHER, LeftOut, Printed
from hpcbench.logs.runs import gather, identify, printed
from hpcbench.logs.text import lines_of
from support.prints import ALL, DLPERF, HOROVOD, MEGATRON, TF_CNN, TITAN, found, rates


@pytest.mark.parametrize(
    ("of_first", "of_second"),
    [
        ("Mode:        training", "Mode:        forward-only"),
        ("128 global\n             64 per", "256 global\n             64 per"),
        ("64 per device", "32 per device"),
        ("imagenet (synthetic)", "imagenet"),
        ("Optimizer:   momentum", "Optimizer:   sgd"),
    ],
)
def test_an_unfinished_print_lends_the_next_nothing(of_first, of_second):
    crashed = TF_CNN.partition("Step\t")[0]
    second = TF_CNN.replace(of_first, of_second)
    alone, (lost, *both) = found(second), found(crashed + second)
    assert isinstance(lost, LeftOut)
    assert [replace(one, until="") if isinstance(one, Printed) else one for one in both] == alone


def test_what_follows_a_total_is_not_of_its_print():
    assert found(f"{TF_CNN}then 32 per device\n") == found(TF_CNN)


def test_prints_that_run_into_each_other_are_left_out():
    """Line by line, as of two jobs that write into one file."""
    larger = TF_CNN.replace("128 global", "256 global").replace("600.25", "1111.00")
    larger = larger.replace("64 per", "32 per")
    for one, other in (
        (TF_CNN, larger),
        (HOROVOD, HOROVOD.replace("ResNet50", "VGG16").replace("GPUs: 4", "GPUs: 8")),
    ):
        lines = zip_longest(one.splitlines(), other.splitlines(), fillvalue="")
        mixed = found("\n".join(line for both in lines for line in both))
        assert mixed
        assert {type(each) for each in mixed} == {LeftOut}


OTHER_JOBS = {
    "megatron": (MEGATRON, [("world size: 8", "world size: 16"), ("size: 4,", "size: 8,")]),
    "torchtitan": (TITAN, [("[8]", "[16]"), ("tps: 8,192", "tps: 4,096")]),
    "dlperf": (DLPERF, [("num_nodes = 2", "num_nodes = 4"), ("5900.5", "5800.5")]),
    "tf_cnn": (TF_CNN, [("128 global", "256 global"), ("600.25", "1111.00")]),
    "horovod": (HOROVOD, [("GPUs: 4", "GPUs: 8"), ("4 GPU(s)", "8 GPU(s)")]),
    # Of another model or batch on as many devices.
    "horovod, model": (HOROVOD, [("ResNet50", "VGG16"), ("330.0", "110.0"), ("300.0", "100.0")]),
    "horovod, batch": (HOROVOD, [("size: 64", "size: 32"), ("330.0", "130.0"), ("300.0", "120.0")]),
    "tf_cnn, model": (TF_CNN, [("resnet50", "vgg16"), ("600.25", "211.00")]),
    "tf_cnn, batch": (TF_CNN, [("128 g", "64 g"), ("64 per", "32 per"), ("600.25", "550.25")]),
}


def _point(one):
    return one.model, one.devices, one.batch_per_device


@pytest.mark.parametrize("name", OTHER_JOBS)
def test_two_jobs_that_write_into_one_log_give_no_wrong_number(name):
    """Whole or cut off, in pieces of any length: what is read is of one of them, or left out, or
    that another print before it did not end is said of it."""
    text, changes = OTHER_JOBS[name]
    other = text
    for old, new in changes:
        assert old in other
        other = other.replace(old, new)
    right = {_point(one): rates(one) for one in (*found(text), *found(other))}
    assert len(right) == 2
    for seed in range(500):
        chance = random.Random(seed)
        both = [job.splitlines() for job in (text, other)]
        both = [job[: chance.choice((len(job), chance.randint(1, len(job))))] for job in both]
        mixed = []
        while any(both):
            job, length = chance.choice(both), chance.choice((1, 3, 30))
            mixed += job[:length]
            del job[:length]
        for one in found("\n".join(mixed) + "\n"):
            told = isinstance(one, LeftOut) or AFTER_ANOTHER in one.doubt
            assert told or set(rates(one)) <= set(right[_point(one)]), seed


@pytest.mark.parametrize("name", ["megatron", "torchtitan", "dlperf"])
def test_what_ranks_or_restarts_print_again_is_left_out(name):
    text = OTHER_JOBS[name][0]
    lines = text.splitlines(keepends=True)
    twice = "".join(line * 2 for line in lines)
    (left,) = found(twice)
    assert isinstance(left, LeftOut)
    assert "comes again, so several ranks" in left.why
    restarted = text + "".join(lines[-2:])
    (left,) = found(restarted)
    assert isinstance(left, LeftOut)
    assert "so several ranks, several prints or one and its restart stand in one log" in left.why


@given(st.sampled_from(sorted(ALL)), st.data())
def test_a_number_that_was_cut_off_within_a_log_is_none(name, data):
    text, devices, expected = ALL[name]
    cut = text[: data.draw(st.integers(0, len(text)))]
    after = data.draw(st.sampled_from(["\nslurmstepd: killed\n", "2024-01-01 12:00\n", "  ok\n"]))
    for one in found(cut + after):
        if isinstance(one, Printed):
            assert one.devices == devices
            assert set(rates(one)) <= set(expected)


def test_a_killed_print_before_another_of_its_header_is_told():
    crashed = TF_CNN.partition("total images")[0]
    (run,) = found(crashed + TF_CNN)
    assert run.doubt == "of 2 prints with this header 1 came to an end"


def test_a_decimal_comma_is_no_thousand():
    (run,) = found(HOROVOD.replace("330.0 img", "330,0 img"))
    assert rates(run) == [1200.0]
    assert run.doubt == "1 of 2 lines with a rate could be read"


def test_an_archive_that_is_cut_off_is_told(tmp_path):
    log = tmp_path / "log.gz"
    log.write_bytes(gzip.compress((HOROVOD + "tail\n" * 9999).encode())[:-30])
    gathered = gather([log], 10)
    assert len(gathered.runs) == 1
    assert any("the archive is cut off" in remark for remark in gathered.remarks)


PREFIXES = [
    "[1,0]<stdout>:",
    "[1,0]<stdout> ",
    "0: ",
    "Mon Jan 01 00:00:00 2024[0]<stdout>:",
    "[node1:12345] [prterun-node1-1@1,0]<stdout>: ",
    "\x1b[36m(RayTrainWorker pid=123, ip=10.0.0.1)\x1b[0m ",
    "INFO|2024-01-01T10:00:00|train.py|12| ",
    "    ",
    "2024-01-01T00:00:00.000000Z  ",
]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("name", ALL)
def test_prefixes_are_found_and_not_listed(name, prefix):
    text, devices, expected = ALL[name]
    (run,) = found("".join(f"{prefix}{line}\n" for line in text.splitlines()))
    assert (run.devices, rates(run)) == (devices, expected)
    # Whoever tagged the lines: it is the same print.
    assert identify(run) == identify(found(text)[0])


@pytest.mark.parametrize("name", ALL)
def test_encodings(name):
    text, devices, expected = ALL[name]
    bare = text.encode("utf-16-le")
    for content in (
        b"\xef\xbb\xbf" + text.encode(),
        b"\xff\xfe" + bare,
        bare,
        b"\xfe\xff" + text.encode("utf-16-be"),
        text.replace("\n", "\r\n").encode(),
        gzip.compress(text.encode()),
        text.encode() + b"\xff\xfe\x00broken",
        # A hole, where two nodes wrote to one file.
        b"\0" * 501 + text.encode(),
        text.encode().replace(b"\n", b"\n" + b"\0" * 100, 1),
    ):
        (run,) = printed(lines_of(content), 10)
        assert (run.devices, rates(run)) == (devices, expected)


@given(st.sampled_from(sorted(ALL)), st.data())
def test_a_log_that_is_cut_off_gives_no_wrong_number(name, data):
    text, devices, expected = ALL[name]
    for one in found(text[: data.draw(st.integers(0, len(text)))]):
        if isinstance(one, Printed):
            assert one.devices == devices
            assert set(rates(one)) <= set(expected)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("key", ["log", "message"])
def test_lines_that_were_wrapped_in_json_are_the_programs(name, key):
    """As Docker and journald keep what a container prints."""
    text, devices, expected = ALL[name]
    lines = [
        json.dumps({key: f"{line}\n", "stream": "stdout", "time": "2024-01-01T00:00:00.5Z", "n": 1})
        for line in text.splitlines()
    ]
    (run,) = found("\n".join([*lines, '{"broken', '{"deep":' + 99999 * "["]) + "\n")
    assert (run.devices, rates(run)) == (devices, expected)
    assert identify(run) == identify(found(text)[0])


OTHERS = [
    "loss_scale = 64",
    "loss 3.2",
    "step 4",
    "",
    "WARNING: Model not compiled",
    "images: 3",
    "[1,1]<stderr>: ok",
]


@given(st.sampled_from(sorted(ALL)), st.data())
def test_lines_of_others_in_between_change_nothing(name, data):
    text, devices, expected = ALL[name]
    mixed = []
    for line in text.splitlines():
        mixed += data.draw(st.lists(st.sampled_from(OTHERS), max_size=2))
        mixed.append(data.draw(st.sampled_from(["", *PREFIXES])) + line)
    (run,) = found("\n".join(mixed) + "\n")
    assert (run.devices, rates(run)) == (devices, expected)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        # Of a dataloader, and of a sentence.
        (HOROVOD.replace("Running w", "Number of workers: 16\nRunning w"), ""),
        (HOROVOD.replace("Batch size", "Global Batch size: 256\nModel: loaded x\nBatch size"), ""),
        (HOROVOD.partition("Running warmup")[2], "without the header that says of what"),
        (TITAN + "step: 22  validate step: 22  loss: 9  tps: 20,000  x\n", ""),
    ],
)
def test_lines_that_are_of_no_print(text, why):
    (one,) = found(text)
    assert (one.why if isinstance(one, LeftOut) else one.doubt) == why or why in one.why
    if not why:
        assert rates(one) in (rates(found(HOROVOD)[0]), rates(found(TITAN)[0]))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        # What scripts print around a benchmark looks like its header.
        ("".join(f"Data format: {name}\n{TF_CNN}" for name in ("NCHW", "NHWC", "NCHW")), 3),
        (f"Model: ResNet50\n{HOROVOD.replace('ResNet50', 'resnet50')}", 1),
        (f"Effective batch size: 256\n{HOROVOD}", 1),
        *(
            ("".join(f"{prefix} {line}\n" for line in HOROVOD.splitlines()), 1)
            for prefix in ("worker-0 main", "2026-01-01T10:00:00Z stdout", "10:00:00 info")
        ),
    ],
)
def test_what_stands_around_a_print_does_not_cost_it(text, count):
    found_all = found(text)
    assert [type(one) for one in found_all] == [Printed] * count
    assert {tuple(rates(one)) for one in found_all} <= {(600.25,), (1200.0, 1320.0)}


def test_several_models_before_a_count_are_called_so():
    (left,) = found(f"Batch size: 256\n{HOROVOD}")
    assert "several models or batches are printed" in left.why


def test_a_mesh_as_later_versions_of_torchtitan_print_it():
    old, new = "Building 1-D device mesh with ['dp_shard'], [8]", "pp=1, dp_replicate=1, dp_shard=8"
    new = f"Building device mesh with parallelism: {new}, cp=1, tp=1, ep=1"
    assert old in TITAN
    later = TITAN.replace(old, new).replace("Training starts at step 1,", "Trainer is initialized")
    (one,), (other,) = found(TITAN), found(later)
    assert replace(one, text="") == replace(other, text="")
    (split,) = found(later.replace("tp=1", "tp=4").replace("dp_shard=8", "dp_shard=2"))
    assert (split.devices, split.strategy) == (8, "dp_shard tp 4")
