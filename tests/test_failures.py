"""Each way to fail: the right exit status, one sentence, and nothing lost."""

import json
import os
import re
import signal
import sys

import pytest

from hpcbench.process import program
from hpcbench.records.reader import read_results
from support import environment, launcher, only_run, run, start, train, train_command

LONG = ("--epochs=400", "--interval-steps=20")


def one_sentence(done, *words):
    lines = [line for line in done.errors.splitlines() if line.startswith("hpcbench:")]
    assert len(lines) == 1, done.errors
    assert "Traceback" not in done.errors
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--model=fc-46"], ["did you mean 'fc-64'"]),
        (["--dataset=mnits"], ["did you mean 'mnist'"]),
        (["--strategy=horovode"], ["did you mean 'horovod'"]),
        (["--bacth=3"], ["did you mean '--batch'"]),
        (["--batch=0"], ["--batch 0", "greater than or equal to 1"]),
        (
            ["--batch=3", "--scaling=strong", "--strategy=mirrored", "--devices=2"],
            ["multiple of 2"],
        ),
        (["--strategy=single", "--devices=2"], ["one device"]),
        (["--strategy=mirrored", "--compression=fp16"], ["no compression to fp16; known: none"]),
        (["--accumulate=2", "--batchnorm=sync"], ["--batchnorm sync", "choose one of them"]),
        (["--strategy=horovod", "--devices=4"], ["one process per device", "horovodrun -np 4"]),
        (["--strategy=mirrored", "--exchange=per-tensor"], ["no exchange 'per-tensor'"]),
        (["--sweep=$(touch x)"], ["--sweep"]),
    ],
)
def test_bad_arguments_end_with_2_before_tensorflow_loads(results, flags, words):
    command = [sys.executable, "-X", "importtime", "-m", "hpcbench.train", f"--results={results}"]
    done = run([*command, *flags])
    assert done.status == 2
    one_sentence(done, *words)
    assert "| tensorflow" not in done.errors
    assert not results.exists()


@pytest.mark.slow
def test_a_launcher_that_contradicts_the_strategy(results):
    command = [sys.executable, "-m", "hpcbench.train", "--strategy=single", f"--results={results}"]
    done = run([*launcher("mpi", 2), *command])
    assert done.status == 2
    one_sentence(done, "mpirun started 2")


@pytest.mark.slow
def test_ranks_that_do_not_find_each_other(results):
    """As under an mpirun of another MPI: mpi4py finds one rank where the launcher said two."""
    if not program("mpirun"):
        pytest.skip("no MPI on this machine")
    told = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}
    local = {"OMPI_COMM_WORLD_LOCAL_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "0"}
    command = [sys.executable, "-m", "hpcbench.train", "--strategy=mpi", f"--results={results}"]
    done = run(command, env=environment(**told, **local))
    assert done.status == 3
    one_sentence(done, "mpirun started 2 processes but mpi4py sees 1")
    assert list(results.rglob("run.json")) == []


@pytest.mark.slow
def test_ranks_that_calculate_otherwise_are_refused(results):
    """As on nodes of two generations."""
    if not program("mpirun"):
        pytest.skip("no MPI on this machine")
    shell = '[ $OMPI_COMM_WORLD_RANK = 0 ] || export ONEDNN_MAX_CPU_ISA=SSE41; exec "$@"'
    command = train_command(results, "--train-samples=640", strategy="mpi", devices=2)
    python = command.index(sys.executable)
    done = run([*command[:python], "sh", "-c", shell, "sh", *command[python:]])
    assert done.status == 3
    assert re.search(
        r"rank 0 on \S+ computes on oneDNN .* and rank 1 on \S+ on oneDNN", done.errors
    )
    assert list(results.rglob("throughput.csv")) == []


def one_waits_in_vain(done, rank, whom=""):
    one_sentence(done, f"rank {rank} of 2", f"waited 3 s for the others{whom}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("framework", "strategy", "rank"), [("tensorflow", "multiworker", 0), ("torch", "ddp", 1)]
)
def test_a_rank_that_never_comes_is_named(results, framework, strategy, rank):
    places = ("SIZE", "2"), ("RANK", rank), ("LOCAL_SIZE", "2"), ("LOCAL_RANK", rank)
    told = {f"HOROVOD_{name}": str(value) for name, value in places}
    command = train_command(results, f"--framework={framework}", "--model=cnn-pytorch")
    command += [f"--strategy={strategy}", "--devices=2"]
    done = run(command, env=environment(**told, HPCBENCH_RENDEZVOUS_SECONDS="3"), timeout=90)
    assert done.status == -signal.SIGKILL, done.errors
    one_waits_in_vain(done, rank, f"; no answer from rank {1 - rank} at localhost:")
    assert list(results.rglob("run.json")) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("framework", "strategy"), [("tensorflow", "multiworker"), ("torch", "ddp")]
)
@pytest.mark.parametrize("suffix", ["host", "-ib.invalid"])
def test_ranks_meet_by_the_interconnects_names_or_not_at_all(results, framework, strategy, suffix):
    """Here a host is called "local", and only with its suffix it is a name of this machine's."""
    command = train_command(
        results,
        f"--framework={framework}",
        "--model=cnn-pytorch",
        *("--train-samples=512", "--epochs=1"),
        strategy=strategy,
        devices=2,
    )
    told = {"HPCBENCH_HOSTS": "local:2", "HPCBENCH_RENDEZVOUS_SUFFIX": suffix}
    done = run(command, env=environment(**told))
    if suffix == "host":
        assert done.status == 0, done.errors
        assert only_run(results)[1]["identity"]["devices"] == 2
        return
    assert done.status == 2
    # Of each rank that comes to say it before the launcher ends all.
    said = [line for line in done.errors.splitlines() if line.startswith("hpcbench:")]
    assert said
    for line in said:
        assert "local-ib.invalid has no address, so ranks cannot meet there" in line
    assert "Traceback" not in done.errors
    assert list(results.rglob("run.json")) == []


@pytest.mark.slow
def test_ranks_that_never_come_end_mpi(results):
    """Under the real launcher; the rank that is late sleeps before Python starts."""
    shell = '[ $OMPI_COMM_WORLD_RANK = 1 ] && exec sleep 300; exec "$@"'
    command = ["sh", "-c", shell, "sh", sys.executable, "-m", "hpcbench.train"]
    command += ["--strategy=mpi", f"--results={results}"]
    limit = environment(HPCBENCH_RENDEZVOUS_SECONDS="3")
    done = run([*launcher("mpi", 2), *command], env=limit, timeout=90)
    assert done.status == 128 + signal.SIGKILL, done.errors
    one_waits_in_vain(done, 0)


@pytest.mark.slow
def test_missing_and_corrupt_data_end_with_3(results, tmp_path):
    done = train(results, f"--data-dir={tmp_path / 'nowhere'}")
    assert done.status == 3
    one_sentence(done, "nowhere does not exist")
    (tmp_path / "mnist.npz").write_bytes(b"PK\x03\x04 torn")
    done = train(results, f"--data-dir={tmp_path}", "--dataset=mnist")
    assert done.status == 3
    one_sentence(done, "mnist.npz is corrupt")
    assert list(results.rglob("run.json")) == []


@pytest.mark.slow
def test_unwritable_output_ends_with_3(tmp_path):
    (tmp_path / "file").touch()
    done = train(tmp_path / "file")
    assert done.status == 3
    one_sentence(done, "cannot be written")


@pytest.mark.slow
def test_more_mirrored_devices_than_there_are(results):
    done = train(results, strategy="mirrored", devices=4096)
    assert done.status == 3
    one_sentence(done, "--devices 4096", "this machine has")


@pytest.mark.slow
def test_inputs_that_a_model_cannot_take(results):
    done = train(results, "--model=climate-tiny", "--image-size=40")
    assert done.status == 2
    one_sentence(done, "climate-tiny", "40 x 60 x 16", "--image-size")


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_a_diverging_loss_ends_with_4(results, devices):
    done = train(
        results,
        "--optimizer=sgd",
        "--learning-rate=1e20",
        "--epochs=2",
        strategy="horovod",
        devices=devices,
    )
    assert done.status == 4
    one_sentence(done, "training loss is", "--learning-rate")
    _, document = only_run(results)
    assert (document["status"], document["failure"]) == ("failed", "diverged")
    assert len(read_results(results).skipped) == 1


@pytest.mark.slow
def test_a_full_disk_ends_with_3_and_whole_lines(results):
    command = train_command(results, *LONG)
    # No file may grow past 40 blocks of 512 bytes (a shell's ulimit), as on a full disk.
    done = run(["sh", "-c", 'ulimit -f 40; exec "$@"', "sh", *command])
    assert done.status == 3
    one_sentence(done, "throughput.csv cannot be written")
    folder, _ = only_run(results)
    lines = (folder / "throughput.csv").read_text()
    assert lines.endswith("\n")
    assert len({line.count(",") for line in lines.splitlines()}) == 1


@pytest.mark.slow
def test_two_ranks_of_a_launcher_that_tells_them_nothing(tmp_path):
    """Each believes that it is alone; the second finds the first one at the same point."""
    command = train_command(tmp_path, "--model=fc-64", *LONG)
    first = start(command, tmp_path, "throughput.csv", 1)
    done = run(command)
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=60)
    assert done.status == 2
    one_sentence(done, f"process {first.pid} measures the same", "mpirun")
    folder, document = only_run(tmp_path)
    assert document["identity"]["repeat"] == 0
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.slow
def test_so_are_two_on_two_hosts_of_one_job(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n[1-2]")

    def on(host):
        code = f"import platform, runpy; platform.node = lambda: {host!r}\n"
        code += "runpy.run_module('hpcbench.train', run_name='__main__', alter_sys=True)"
        command = train_command(tmp_path, "--model=fc-64", *LONG)
        return [sys.executable, "-c", code, *command[command.index("hpcbench.train") + 1 :]]

    first = start(on("n1"), tmp_path, "throughput.csv", 1)
    done = run(on("n2"))
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=60)
    assert done.status == 2
    one_sentence(done, f"process {first.pid} measures the same on n1 of this job", "mpirun")


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--target=nan", "--learning-rate=inf", "--warmup-epochs=inf"])
def test_numbers_that_are_none(results, flag):
    done = train(results, flag)
    assert done.status == 2
    assert "finite number" in done.errors


@pytest.mark.slow
def test_the_short_benchmark_as_typed(results):
    """horovodrun -np 8 python -m hpcbench.train, on whatever machine this is."""
    done = run(["horovodrun", "-np", "8", "python", "-m", "hpcbench.train", f"--results={results}"])
    assert done.status == 0, done.errors
    _, document = only_run(results)
    assert document["status"] == "complete"
    assert document["schedule"]["world_size"] == 8
    if (os.cpu_count() or 1) < 8:
        assert "8 ranks share" in done.errors + done.output
    assert "test accuracy" in done.output


@pytest.mark.slow
def test_more_test_samples_than_there_are(results):
    done = train(results, "--test-samples=1000000")
    assert done.status == 2
    one_sentence(done, "--test-samples 1000000: there are only")


@pytest.mark.slow
def test_no_argument_at_all_prints_a_summary(tmp_path):
    done = run(
        [sys.executable, "-X", "importtime", "-m", "hpcbench.train"],
        cwd=tmp_path,
        env=environment(PYTHONPATH=os.getcwd()),
    )
    assert done.status == 0, done.errors
    loaded = {line.rpartition("|")[2].strip() for line in done.errors.splitlines()}
    assert "tensorflow" in loaded
    # Of a second and more each, which a run has no use for.
    unneeded = {"jax.numpy", "matplotlib.figure", "pandas.core", "scipy.stats", "sklearn.utils"}
    assert not loaded & unneeded
    for word in ("rate", "samples/s", "step time", "test accuracy", "files"):
        assert word in done.output
    document = json.loads(next((tmp_path / "results").rglob("run.json")).read_text())
    assert document["config"]["model"] == "fc-64"
    assert document["parameters"] == 55_050
