"""Odd but common machines: file systems without flock, no home, other locales, proxies."""

import json
import os
import pwd
import re
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from hpcbench.checkup import CheckContext
from hpcbench.checkup.surroundings import home
from hpcbench.cluster.rendezvous import pass_proxies
from hpcbench.datasets import DATASETS
from hpcbench.datasets.sources import download, keras_cache
from hpcbench.errors import DataError
from hpcbench.locks import PATIENCE, file_of
from support import environment, only_run, run, train_command

# flock as file systems without it answer, for everything that is started with it.
NO_FLOCK = """
#include <errno.h>
extern "C" int flock(int, int) { errno = %s; return -1; }
"""


@pytest.fixture(params=["ENOSYS", "ENOLCK"])
def without_flock(tmp_path, request):
    source, library = tmp_path / "flock.cpp", tmp_path / "flock.so"
    source.write_text(NO_FLOCK % request.param)
    subprocess.run(["g++", "-shared", "-fPIC", source, "-o", library], check=True)
    return environment(LD_PRELOAD=str(library))


HOLD = """
import pathlib, sys, time
from hpcbench.datasets import DATASETS
from hpcbench.datasets.sources import download, keras_cache
from hpcbench.errors import DataError
from hpcbench.locks import held, take
folder = pathlib.Path(sys.argv[1])
if sys.argv[2] == "hold":
    release = take(folder)
    print(release is not None, flush=True)
    time.sleep(60)
for _ in range(100):
    with held(folder):
        number = int((folder / "n").read_text())
        (folder / "n").write_text(str(number + 1))
"""


def start(folder, what, env):
    command = [sys.executable, "-c", HOLD, folder, what]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)


def end(process):
    """Kill it, and give back what this process holds of it."""
    process.kill()
    process.communicate()


def test_without_flock_one_process_at_a_time_has_the_lock(tmp_path, without_flock):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "n").write_text("0")
    counters = [start(folder, "count", without_flock) for _ in range(3)]
    for counter in counters:
        counter.communicate()
        assert counter.returncode == 0
    assert (folder / "n").read_text() == "300"
    assert not file_of(folder).exists()
    holder = start(folder, "hold", without_flock)
    assert holder.stdout.readline() == "True\n"
    second = start(folder, "hold", without_flock)
    assert second.stdout.readline() == "False\n"
    end(second)
    # What a process leaves that was killed is in nobody's way on its own host.
    end(holder)
    third = start(folder, "hold", without_flock)
    assert third.stdout.readline() == "True\n"
    end(third)


def test_without_flock_a_lock_of_another_host_is_kept(tmp_path, without_flock):
    """Whether that process lives cannot be seen from here."""
    folder = tmp_path / "run"
    folder.mkdir()
    file_of(folder).write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    holder = start(folder, "hold", without_flock)
    assert holder.stdout.readline() == "False\n"
    end(holder)


def test_without_flock_a_lock_that_nobody_signed_is_one_for_a_minute(tmp_path, without_flock):
    """Its process was ended before it could write who it is."""
    folder = tmp_path / "run"
    folder.mkdir()
    file_of(folder).touch()
    for age, free in ((0, "False\n"), (PATIENCE + 5, "True\n")):
        long_ago = time.time() - age
        os.utime(file_of(folder), (long_ago, long_ago))
        holder = start(folder, "hold", without_flock)
        assert holder.stdout.readline() == free
        end(holder)


@pytest.mark.slow
def test_it_trains_without_flock_and_the_doctor_says_so(results, without_flock):
    flags = ("--input=synthetic", "--train-samples=640", "--epochs=1", "--repeat=0")
    done = run(train_command(results, *flags), env=without_flock)
    assert done.status == 0, done.errors
    assert only_run(results)[1]["status"] == "complete"
    done = run(
        [sys.executable, "-m", "hpcbench.doctor", "--no-full", f"--results={results}"],
        env=without_flock,
    )
    assert "has no flock" in done.output


def test_a_terminal_that_is_not_utf8_gets_question_marks(tmp_path):
    shown = environment(PYTHONIOENCODING="ascii", COLUMNS="80")
    done = run([sys.executable, "-m", "hpcbench.doctor", "--no-full"], env=shown)
    assert "UnicodeEncodeError" not in done.errors
    assert "output is ascii" in done.output
    folder = tmp_path / "größe"
    done = run([sys.executable, "-m", "hpcbench.plot", str(folder)], env=shown)
    assert (done.status, done.errors) == (
        2,
        f"hpcbench: results folder {tmp_path}/gr??e does not exist\n",
    )


DEAF_NAME_SERVER = """
import socket, sys
from hpcbench.checkup import CheckContext
from hpcbench.checkup.surroundings import names
if sys.argv[1] == "deaf":
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
# An address of documentation (RFC 5737), which no file of hosts has.
socket.gethostbyname = lambda _: "192.0.2.7"
print([finding.found for finding in names(CheckContext("fc-64"))])
"""


@pytest.mark.parametrize("kind", ["deaf", "none"])
def test_a_name_server_that_does_not_answer(tmp_path, kind):
    """In a network of its own, where one takes questions and says nothing, or there is none."""
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:2\n")
    inside = 'ip link set lo up; mount --bind "$1" /etc/resolv.conf; exec "$2" -c "$3" "$4"'
    alone = ["unshare", "--net", "--mount", "sh", "-ec", inside, "sh", tmp_path / "resolv.conf"]
    done = run([*alone, sys.executable, DEAF_NAME_SERVER, kind])
    if done.status and re.match("unshare|mount", done.errors):
        pytest.skip("no right to a network of its own")
    assert done.status == 0, done.errors
    assert ("for which ranks of PyTorch wait" in done.output) == (kind == "deaf")


def test_a_user_without_a_home(monkeypatch):
    """As in a container that runs under a number that its passwd does not know."""

    def unknown(_):
        raise KeyError

    for name in ("HOME", "HPCBENCH_DATA", "KERAS_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert keras_cache() is None
    assert [found.subject for found in home(CheckContext("fc-64"))] == ["home"]
    with pytest.raises(DataError, match="without a home folder"):
        download(replace(DATASETS["mnist"], system_folder=None))


def test_ranks_talk_past_a_proxy():
    shown = {"http_proxy": "http://proxy:3128", "no_proxy": "site.example,localhost"}
    pass_proxies(["n1", "n2", "n1"], shown)
    for name in ("no_proxy", "no_grpc_proxy"):
        named = shown[name].split(",")
        assert {"localhost", "127.0.0.1", "n1", "n2"} <= set(named)
        assert len(named) == len(set(named))
    assert shown["no_proxy"].startswith("site.example,")


@pytest.mark.slow
def test_workers_that_use_grpc_do_not_hang_behind_a_proxy(results):
    """Nothing listens where the proxy is said to be."""
    flags = ("--input=synthetic", "--train-samples=640", "--epochs=1")
    done = run(
        train_command(results, *flags, strategy="multiworker", devices=2),
        env=environment(http_proxy="http://127.0.0.1:9", https_proxy="http://127.0.0.1:9"),
    )
    assert done.status == 0, done.errors
