"""What other tools print, as it lies in people's logs: the right numbers, or a word why not."""

import gzip
import json
import os
import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbench.analysis.answers import points_of
from hpcbench.analysis.load import observe
from hpcbench.analysis.scaling import scaling_table
from hpcbench.import_logs import main
from hpcbench.logs import LeftOut, Printed
from hpcbench.logs.runs import gather
from hpcbench.logs.text import number
from hpcbench.records.reader import read_results
from support import run
from support.prints import ALL, DLPERF, HOROVOD, MEGATRON, TF_1_4, TF_CNN, TITAN, found, rates
from support.runs import report_as
from synthetic_sweep import write_sweep

STOPPED = HOROVOD.partition("Img/sec")[0].replace("300.0", "310.0")


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
    for name, text in (("whole", HOROVOD), ("stopped", STOPPED)):
        (tmp_path / f"{name}.log").write_text(text)
    logs = [str(path) for path in tmp_path.glob("*.log")]
    assert main([*logs, "--results", str(tmp_path / "r")]) == 0
    results = read_results(tmp_path / "r")
    _, (point,) = (table.to_dict("records") for table in points_of(results, observe(results)))
    assert (point["devices"], point["runs"], point["failed"]) == (4, 1, 1)


@pytest.mark.parametrize("kind", ["", "\udce9", "a\nb"])
def test_a_kind_of_device_that_cannot_be_written_is_refused(tmp_path, capsys, kind):
    (tmp_path / "log").write_text(HOROVOD)
    assert (
        main([str(tmp_path / "log"), f"--device-kind={kind}", f"--results={tmp_path / 'r'}"]) == 2
    )
    assert "--device-kind" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_the_folder_at_hand_has_a_name_too(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log").write_text(HOROVOD)
    assert main(["log", "--results=."]) == 0
    assert set(read_results(tmp_path).throughput["sweep"]) == {tmp_path.name}
    assert main(["log", "--results=/"]) == 2
    assert "a folder with a name" in capsys.readouterr().err


def test_a_log_whose_name_is_no_text_is_imported(tmp_path):
    log = os.fsencode(tmp_path) + b"/caf\xe9.log"
    with open(log, "w") as file:
        file.write(HOROVOD)
    assert main([os.fsdecode(log), f"--results={tmp_path / 'r'}"]) == 0
    results = read_results(tmp_path / "r")
    assert (len(results.runs), results.skipped) == (1, [])


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
    (tmp_path / "h.log").write_text(HOROVOD + STOPPED)
    assert main([str(tmp_path / "h.log"), f"--results={tmp_path / 'r'}"]) == 0
    results = read_results(tmp_path / "r")
    assert [len(results.runs), len(results.failed)] == [1, 1]
    assert "2 of 2 lines" in results.failed[0]["message"]


def test_the_beginning_of_a_print_is_no_second_run(tmp_path, capsys):
    """Copied while it was still written to."""
    beginning = MEGATRON[: MEGATRON.rindex("\n", 0, MEGATRON.rindex("iteration ")) + 1]
    for name, text in (("half", beginning), ("whole", MEGATRON), ("again", MEGATRON)):
        (tmp_path / name).write_text(text)
    gathered = gather([tmp_path / name for name in ("half", "whole", "again")], 10)
    ((_, log),) = gathered.runs.values()
    assert log == tmp_path / "whole"
    assert any("half: a print of Megatron-LM is the beginning of" in r for r in gathered.remarks)
    twice = gather([tmp_path / "whole", tmp_path / "." / "whole"], 10)
    assert (len(twice.runs), twice.remarks) == (1, [])


def test_a_log_for_each_rank_is_doubted(tmp_path):
    logs = [tmp_path / f"rank{rank}" for rank in range(2)]
    for log, total in zip(logs, ("600.25", "600.50"), strict=True):
        log.write_text(TF_CNN.replace("600.25", total))
    (remark,) = gather(logs, 10).remarks
    assert remark.startswith(
        "2 prints of resnet50 on 2 devices stand in 2 logs: if these are the r"
    )
    titans = []
    for rank in range(3):
        titans.append(tmp_path / str(rank) / "stdout.log")
        titans[-1].parent.mkdir()
        titans[-1].write_text(re.sub(r"tps: \d", f"tps: {rank + 4}", TITAN))
    (remark,) = gather(titans, 10).remarks
    assert "if these are the ranks of one launch, import rank 0's alone" in remark
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
    report = report_as("json", tmp_path / "r")
    assert "options ," not in report
    points = pd.DataFrame(json.loads(report)["points"])
    old = points[points["framework"].str.startswith("imported: ")].set_index("model")
    # All images over all seconds, not the mean of the two rates.
    assert old.loc["ResNet50", "samples_per_second"] == pytest.approx(4 * 2 / (1 / 300 + 1 / 330))
    assert old.loc["resnet50", "samples_per_second"] == pytest.approx(600.25)
    assert old["devices"].to_dict() == {"ResNet50": 4, "resnet50": 2}
