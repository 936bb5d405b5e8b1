"""What other tools print, as it lies in people's logs: the right numbers, or a word why not."""

import gzip
import json
import os
import random
from dataclasses import replace
from itertools import zip_longest

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbench.analysis.answers import points_of
from hpcbench.analysis.load import observe
from hpcbench.analysis.scaling import scaling_table
from hpcbench.import_logs import main
from hpcbench.logs import AFTER_ANOTHER, LeftOut, Printed
from hpcbench.logs.runs import gather, identify, printed
from hpcbench.logs.text import lines_of, number
from hpcbench.records.reader import read_results
from support import run
from synthetic_sweep import write_sweep

HOROVOD = """\
Model: ResNet50
Batch size: 64
Number of GPUs: 4
Running warmup...
Running benchmark...
Iter #0: 300.0 img/sec per GPU
Iter #1: 330.0 img/sec per GPU
Img/sec per GPU: 315.0 +-29.4
Total img/sec on 4 GPU(s): 1260.0 +-117.6
"""
TF_CNN = """\
TensorFlow:  1.13
Model:       resnet50
Dataset:     imagenet (synthetic)
Mode:        training
SingleSess:  False
Batch size:  128 global
             64 per device
Num batches: 100
Num epochs:  0.01
Devices:     ['horovod/gpu:0', 'horovod/gpu:1']
Data format: NCHW
Optimizer:   momentum
Variables:   horovod
==========
Step\tImg/sec\ttotal_loss
1\timages/sec: 300.1 +/- 0.0 (jitter = 0.0)\t8.4
100\timages/sec: 300.5 +/- 0.2 (jitter = 1.0)\t7.9
----------------------------------------------------------------
total images/sec: 600.25
----------------------------------------------------------------
"""
# TensorFlow 1.4: no version, no number of batches; each worker prints the total of all.
TF_1_4 = """\
Model:       inception3
Mode:        training
Batch size:  512 global
             64 per device
Devices:     ['/gpu:0']
Data format: NCHW
Optimizer:   sgd
Variables:   distributed_replicated
==========
Step\tImg/sec\tloss
1\timages/sec: 110.0 +/- 0.0 (jitter = 0.0)\t7.3
60\timages/sec: 112.5 +/- 0.2 (jitter = 1.0)\t7.2
----------------------------------------------------------------
total images/sec: 900.01
----------------------------------------------------------------
"""
DLPERF = """\
model = resnet50
gpu_num_per_node = 8
num_nodes = 2
batch_size_per_device = 128
use_fp16 = False
train: epoch 0, iter 20, loss: 7.08, top_1: 0.0, top_k: 0.0, samples/s: 1000.125
train: epoch 0, iter 40, loss: 6.98, top_1: 0.0, top_k: 0.1, samples/s: 5900.500
train: epoch 0, iter 60, loss: 6.91, top_1: 0.0, top_k: 0.1, samples/s: 6100.250
"""
TITAN = """\
[rank0]:[titan] 2025-01-01 10:00:00,001 - root - INFO - Building 1-D device mesh with ['dp_shard'], [8]
[rank0]:[titan] 2025-01-01 10:00:01,001 - root - INFO - Building llama3 8B with TransformerModelArgs(dim=4096)
[rank0]:[titan] 2025-01-01 10:00:09,001 - root - INFO - Training starts at step 1, with local batch size 1, global batch size 8, sequence length 8192, total steps 30 (warmup 200)
[rank0]:[titan] 2025-01-01 10:00:12,001 - root - INFO - step:  1  loss: 12.2  memory: 40.1GiB(50.1%)  tps: 600  tflops: 30.1  mfu: 3.0%
[rank0]:[titan] 2025-01-01 10:00:22,001 - root - INFO - step: 11  loss: 10.8  memory: 47.6GiB(59.5%)  tps: 8,192  tflops: 400.0  mfu: 40.5%
[rank0]:[titan] 2025-01-01 10:00:32,001 - root - INFO - step: 21  loss:  9.9  memory: 47.6GiB(59.5%)  tps: 8,192  tflops: 400.0  mfu: 40.5%
"""  # noqa: E501
MEGATRON = """\
using world size: 8, data-parallel size: 4, context-parallel size: 1, tensor-model-parallel size: 2, pipeline-model-parallel size: 1
------------------------ arguments ------------------------
  hidden_size ..................................... 1024
  num_layers ...................................... 24
  params_dtype .................................... torch.bfloat16
  seq_length ...................................... 2048
-------------------- end of arguments ---------------------
 [2025-01-01 10:00:00] iteration       10/      30 | consumed samples:          640 | elapsed time per iteration (ms): 4000.0 | throughput per GPU (TFLOP/s/GPU): 20.1 | learning rate: 1.0E-06 | global batch size:    64 | lm loss: 1.0E+01 |
 [2025-01-01 10:00:05] iteration       20/      30 | consumed samples:         1280 | elapsed time per iteration (ms): 500.0 | throughput per GPU (TFLOP/s/GPU): 160.1 | learning rate: 1.0E-06 | global batch size:    64 | lm loss: 9.0E+00 |
 [2025-01-01 10:00:10] iteration       30/      30 | consumed samples:         1920 | elapsed time per iteration (ms): 640.0 | throughput per GPU (TFLOP/s/GPU): 130.1 | learning rate: 1.0E-06 | global batch size:    64 | lm loss: 8.0E+00 |
"""  # noqa: E501
ALL = {
    "horovod": (HOROVOD, 4, [1200.0, 1320.0]),
    "tf_cnn": (TF_CNN, 2, [600.25]),
    "tf_1_4": (TF_1_4, 8, [900.01]),
    "dlperf": (DLPERF, 16, [5900.5, 6100.25]),
    "torchtitan": (TITAN, 8, [8.0, 8.0]),
    "megatron": (MEGATRON, 8, [128.0, 100.0]),
}


def found(text):
    return printed(lines_of(text.encode()), 10)


def rates(run):
    return [rate for _, rate in run.intervals]


@pytest.mark.parametrize(("text", "devices", "expected"), ALL.values(), ids=list(ALL))
def test_what_each_tool_prints(text, devices, expected):
    (run,) = found(text)
    assert isinstance(run, Printed)
    assert (run.devices, rates(run), run.complete) == (devices, expected, True)
    assert run.doubt == ""


def test_what_a_header_says_is_the_point():
    (run,) = found(TF_CNN)
    assert (run.model, run.strategy, run.batch_per_device) == ("resnet50", "horovod", 64)
    assert (run.dataset, run.input, run.device) == ("imagenet (synthetic)", "synthetic", "GPU")
    assert run.options == {"data_format": "NCHW", "optimizer": "momentum"}
    assert run.software == {"tensorflow": "1.13"}
    assert run.intervals[0][0] == 100
    (real,) = found(TF_CNN.replace(" (synthetic)", "").replace("gpu", "cpu"))
    assert (real.dataset, real.input, real.device) == ("imagenet", "unknown", "CPU")
    # The last step that was printed tells how many there were, where the header does not.
    assert found(TF_1_4)[0].intervals[0][0] == 60
    (titan,) = found(TITAN)
    assert (titan.model, titan.strategy, titan.batch_per_device) == ("llama3 8B", "dp_shard", 1)
    (megatron,) = found(MEGATRON)
    assert megatron.strategy == "data tensor-model 2"
    glued = "size: 1, hierarchical context-parallel sizes: Nonetensor"
    assert found(MEGATRON.replace("size: 1, tensor", glued))[0].strategy == megatron.strategy
    assert (megatron.model, megatron.precision) == ("24 layers of 1024", "mixed_bfloat16")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (TF_CNN.replace("training", "forward-only"), "was not trained: its mode is forward-only"),
        (TF_CNN.replace("training", "BenchmarkMode.EVAL"), "its mode is BenchmarkMode.EVAL"),
        (TF_CNN.replace("600.25", "nan"), "no total"),
        (TF_CNN.replace("64 per device", "0 per device"), "a batch or a rate of nothing"),
        (HOROVOD.replace("300.0", "nan").replace("330.0", "0.0"), "no line with a rate"),
        (TF_CNN.partition("==========")[2], "a total stands there without the header"),
        (DLPERF.replace("num_nodes", "nodes"), "does not say its num_nodes"),
        (TITAN.replace("sequence length", "length"), "does not say its sequence length"),
        (
            MEGATRON.replace("global batch size:    64 | lm loss: 9", "global batch size: 96 | 9"),
            "grows",
        ),
        ("# nThread 1 nGpus 8 minBytes 8\n# Out of bounds values : 0 OK\n", "no table"),
        (
            "# OSU MPI Bandwidth Test v5.8\n# Size  Bandwidth (MB/s)\n8  1.2\n",
            "it is its Bandwidth Test",
        ),
    ],
)
def test_what_is_no_training_is_left_out_by_name(text, why):
    (left,) = found(text)
    assert isinstance(left, LeftOut)
    assert why in left.why


def test_several_prints_of_several_tools_in_one_log():
    other = HOROVOD.replace("ResNet50", "VGG16").replace("GPUs: 4", "GPUs: 8")
    other = other.replace("4 GPU(s)", "8 GPU(s)")
    second = TF_CNN.replace("600.25", "590.75")
    found_all = found(f"make[1]: entering\n{TF_CNN}{HOROVOD}loss 3.2\n{second}{other}")
    assert sorted((run.model, run.devices, max(rates(run))) for run in found_all) == [
        ("ResNet50", 4, 1320.0),
        ("VGG16", 8, 2640.0),
        ("resnet50", 2, 590.75),
        ("resnet50", 2, 600.25),
    ]


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
}


@pytest.mark.parametrize("name", OTHER_JOBS)
def test_two_jobs_that_write_into_one_log_give_no_wrong_number(name):
    """Whole or cut off, in pieces of any length: what is read is of one of them, or left out, or
    that another print before it did not end is said of it."""
    text, changes = OTHER_JOBS[name]
    other = text
    for old, new in changes:
        assert old in other
        other = other.replace(old, new)
    right = {one.devices: rates(one) for one in (*found(text), *found(other))}
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
            assert told or set(rates(one)) <= set(right[one.devices]), seed


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


def test_a_folder_that_cannot_be_written_down_is_refused(tmp_path, capsys):
    (tmp_path / "log").write_text(HOROVOD)
    results = os.fsdecode(bytes(tmp_path) + b"/o\xffut")
    assert main([str(tmp_path / "log"), "--results", results]) == 2
    assert "has a name that is no UTF-8" in capsys.readouterr().err
    assert not os.path.exists(results)


def test_where_a_print_ends_is_told():
    (run,) = found(MEGATRON.replace("/      30", "/     100"))
    assert (run.complete, run.doubt) == (True, "it ends at iteration 30 of 100")
    (run,) = found(TITAN.replace("total steps 30", "total steps 31"))
    assert (run.complete, run.doubt) == (True, "it ends at step 21 of 31")


def test_a_print_that_ends_early_counts_as_failed_at_its_point(tmp_path):
    for name, text in (("whole", HOROVOD), ("stopped", HOROVOD.partition("Img/sec")[0])):
        (tmp_path / f"{name}.log").write_text(text)
    logs = [str(path) for path in tmp_path.glob("*.log")]
    assert main([*logs, "--results", str(tmp_path / "r")]) == 0
    results = read_results(tmp_path / "r")
    _, (point,) = (table.to_dict("records") for table in points_of(results, observe(results)))
    assert (point["devices"], point["runs"], point["failed"]) == (4, 1, 1)


def test_cpus_are_not_called_by_the_name_of_a_gpu(tmp_path):
    cpus = HOROVOD.replace("GPUs: 4", "CPUs: 4")
    (tmp_path / "both.log").write_text(HOROVOD + cpus)
    main([str(tmp_path / "both.log"), "--device-kind", "V100", "--results", str(tmp_path / "r")])
    kinds = read_results(tmp_path / "r").throughput["device_kind"]
    assert sorted(kinds.unique()) == ["CPU", "V100"]


def test_ranks_that_print_the_same_are_one_run():
    """Of two ranks' totals the lowest counts; not their sum."""
    header, _, rest = TF_CNN.partition("Step\t")
    both = "".join(f"{line}\n{line}\n" for line in header.splitlines())
    (run,) = found(both + f"Step\t{rest}" + "total images/sec: 599.50\n")
    assert rates(run) == [599.5]
    # Eight workers of TensorFlow 1.4, one after the other in a log.
    (eight,) = found(TF_1_4 + "total images/sec: 899.99\n" * 7)
    assert rates(eight) == [899.99]
    assert (run.doubt, eight.doubt) == ("", "")
    # Two of eight may be two jobs' that wrote into one file.
    (two,) = found(TF_1_4 + "total images/sec: 899.99\n")
    assert two.doubt == "the lowest of 2 totals is taken, as of ranks of one launch"


def test_lines_that_cannot_be_read_are_counted():
    (run,) = found(HOROVOD.replace("300.0", "nan"))
    assert (rates(run), run.doubt) == ([1320.0], "1 of 2 lines with a rate could be read")
    (glued,) = found(HOROVOD.replace("300.0 img/sec per GPU\n", "3"))
    assert (rates(glued), glued.doubt) == ([1320.0], "1 of 2 lines with a rate could be read")
    (joined,) = found(HOROVOD.replace("per GPU\nIter", "per GPUIter"))
    assert rates(joined) == [1200.0, 1320.0]
    (stopped,) = found(HOROVOD.partition("Img/sec")[0])
    assert not stopped.complete
    assert "ends before its end: 2 of 2" in stopped.doubt


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


@given(st.text() | st.floats().map(str))
def test_a_number_is_one_or_none(text):
    assert 0 <= number(text) < float("inf")


def test_the_same_logs_count_once_in_any_order(tmp_path, monkeypatch, capsys):
    logs = {name: tmp_path / f"{name}.log" for name in ALL}
    for name, log in logs.items():
        log.write_text(ALL[name][0])
    copy = tmp_path / "copy.log"
    copy.write_text("".join(f"0: {line}\n" for line in HOROVOD.splitlines()))
    results = tmp_path / "old"
    paths = [*logs.values(), copy]
    assert main([*map(str, paths), f"--results={results}"]) == 0
    assert "in too, and counts once" not in capsys.readouterr().err
    before = {path.name for path in results.iterdir()}
    monkeypatch.chdir(tmp_path)
    assert main([*(path.name for path in reversed(paths)), f"--results={results}"]) == 0
    assert "a print of Horovod synthetic benchmark is in copy.log too" in capsys.readouterr().err
    assert {path.name for path in results.iterdir()} == before
    assert len(before) == len(ALL)


def test_good_logs_are_read_and_bad_ones_named(tmp_path, capsys):
    for name, text in (("good", HOROVOD), ("empty", "hello\n"), ("last", TF_CNN)):
        (tmp_path / name).write_text(text)
    (tmp_path / "broken.gz").write_bytes(gzip.compress(b"x" * 99)[:10] + b"\xff" * 20)
    names = ("good", "empty", "missing", "broken.gz", "last")
    status = main([*(str(tmp_path / name) for name in names), f"--results={tmp_path / 'r'}"])
    said = capsys.readouterr()
    assert status == 2
    assert len(said.out.splitlines()) == 2
    for words in ("empty: nothing of Horovod", "missing: No such file", "broken.gz: it is a gzip"):
        assert words in said.err
    assert "imported: 2 runs, 3 left out" in said.err
    assert "re.compile" not in said.err


def test_a_print_that_ended_early_is_a_failed_run(tmp_path):
    (tmp_path / "h.log").write_text(HOROVOD + HOROVOD.partition("Img/sec")[0])
    assert main([str(tmp_path / "h.log"), f"--results={tmp_path / 'r'}"]) == 0
    results = read_results(tmp_path / "r")
    assert [len(results.runs), len(results.failed)] == [1, 1]
    assert "2 of 2 lines" in results.failed[0]["message"]


def test_a_log_for_each_rank_is_doubted(tmp_path):
    logs = [tmp_path / f"rank{rank}" for rank in range(2)]
    for log, total in zip(logs, ("600.25", "600.50"), strict=True):
        log.write_text(TF_CNN.replace("600.25", total))
    (remark,) = gather(logs, 10).remarks
    assert remark.startswith(
        "2 prints of resnet50 on 2 devices stand in 2 logs: if these are the r"
    )
    # One after the other in one file.
    both = tmp_path / "both"
    both.write_text("".join(log.read_text() for log in logs))
    (remark,) = gather([both], 10).remarks
    assert remark.startswith(f"2 prints of resnet50 on 2 devices stand in {both}: if these are the")


def test_kinds_are_no_repeats_of_each_other(tmp_path):
    """Real and made-up data, CPUs and GPUs, two layouts: no two are one point."""
    variants = [
        TF_CNN,
        TF_CNN.replace(" (synthetic)", ""),
        TF_CNN.replace("gpu", "cpu"),
        TF_CNN.replace("NCHW", "NHWC"),
    ]
    (tmp_path / "t.log").write_text("".join(variants))
    assert main([str(tmp_path / "t.log"), f"--results={tmp_path / 'r'}"]) == 0
    assert len(scaling_table(observe(read_results(tmp_path / "r")).runs)) == len(variants)


def test_old_printouts_lie_beside_new_results(tmp_path):
    (tmp_path / "h.log").write_text(HOROVOD)
    (tmp_path / "t.log").write_text(TF_CNN)
    command = ["python", "analysis/import_logs.py", "--results", tmp_path / "r" / "old"]
    done = run([*command, tmp_path / "h.log", tmp_path / "t.log"])
    assert done.status == 0, done.errors
    write_sweep(tmp_path / "r" / "new", (1, 2), repeats=1, intervals=3)
    plot = ["python", "analysis/plot_scaling.py", tmp_path / "r", "--format", "json"]
    plot = run([*plot, "--output", tmp_path / "f"])
    assert plot.status == 0, plot.errors
    report = (tmp_path / "f" / "report.json").read_text()
    assert "options ," not in report
    points = pd.DataFrame(json.loads(report)["points"])
    old = points[points["framework"].str.startswith("imported: ")].set_index("model")
    # All images over all seconds, not the mean of the two rates.
    assert old.loc["ResNet50", "samples_per_second"] == pytest.approx(4 * 2 / (1 / 300 + 1 / 330))
    assert old.loc["resnet50", "samples_per_second"] == pytest.approx(600.25)
    assert old["devices"].to_dict() == {"ResNet50": 4, "resnet50": 2}
