#!/usr/bin/env bash
# Sets up hpcbench beside itself: system packages where it may, .venv, TensorFlow, Horovod, data.
#
#   containers/setup.sh [--no-data]     the environment
#   containers/setup.sh --browser       Chromium, in which the tests open the report
#   containers/setup.sh --torch         PyTorch, the optional second framework
#
# Horovod is compiled once and kept as a wheel in ${XDG_CACHE_HOME:-~/.cache}/hpcbench/wheels.
set -euo pipefail
cd "$(dirname "$0")/.."

horovod=0.28.1
venv=.venv
python=${PYTHON:-python3}
say() { printf 'setup: %s\n' "$*"; }
stop() { printf 'setup: %s\n' "$*" >&2; exit 3; }

if [ "${1:-}" = --browser ]; then
    if command -v chromium >/dev/null || command -v google-chrome >/dev/null; then exit 0; fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing Chromium for the tests of the report"
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends chromium >/dev/null
    else
        say "no Chromium here, so the report is not tested in a browser; 'sudo apt-get install chromium'"
    fi
    exit 0
fi

if [ "${1:-}" = --torch ]; then
    if $venv/bin/python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)'; then exit 0; fi
    say "installing PyTorch"
    # Without a GPU, PyTorch's own index has a build that is gigabytes smaller; where it does not
    # answer, PyPI's serves.
    index=(--retries 1 --timeout 10 --extra-index-url https://download.pytorch.org/whl/cpu)
    if command -v nvidia-smi >/dev/null; then index=(); fi
    $venv/bin/python -m pip --quiet --disable-pip-version-check install ${index[@]+"${index[@]}"} -r requirements-torch.lock
    exit 0
fi

# Nothing to do where this very set-up was done before.
lock_hash=$(cat requirements.lock containers/setup.sh | sha256sum | cut -c1-16)
if [ -f $venv/setup-done ] && [ "$(cat $venv/setup-done)" = "$lock_hash" ]; then exit 0; fi

# System packages: a compiler for Horovod, MPI to run several processes with.
wanted=()
command -v g++ >/dev/null || wanted+=(g++)
command -v make >/dev/null || wanted+=(make)
command -v mpicxx >/dev/null || wanted+=(openmpi-bin libopenmpi-dev)
command -v "$python" >/dev/null || wanted+=(python3)
"$python" -c 'import ensurepip, sysconfig, os; assert os.path.exists(sysconfig.get_path("include") + "/Python.h")' \
    2>/dev/null || wanted+=(python3-venv python3-dev)
if [ ${#wanted[@]} -gt 0 ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing system packages: ${wanted[*]}"
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null
    elif [ "${wanted[*]}" = "openmpi-bin libopenmpi-dev" ]; then
        say "no MPI here, so Horovod is built with Gloo alone; for MPI run 'sudo apt-get install ${wanted[*]}' and set up again"
    else
        stop "needed and not here: run 'sudo apt-get install ${wanted[*]}', then this again"
    fi
fi
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' ||
    stop "Python 3.11 or 3.12 is needed, $python is $("$python" -V 2>&1 | cut -d' ' -f2); name another with PYTHON=..."

say "virtual environment and packages in $venv"
[ -x $venv/bin/python ] || "$python" -m venv $venv
pip() { $venv/bin/python -m pip --quiet --disable-pip-version-check "$@"; }
lock=requirements.lock
gpu=$(command -v nvidia-smi >/dev/null && echo yes || true)
if [ -n "$gpu" ]; then
    # The same versions, with the TensorFlow that has GPU kernels.
    lock=$(mktemp)
    sed 's/^tensorflow-cpu==/tensorflow[and-cuda]==/' requirements.lock >"$lock"
fi
pip install -r "$lock"
pip install --no-deps --no-build-isolation -e .

# A Horovod wheel belongs to one Python, one TensorFlow and one MPI.
tensorflow=$($venv/bin/python -c 'from importlib.metadata import version, PackageNotFoundError as E
try: print(version("tensorflow-cpu"))
except E: print(version("tensorflow"))')
mpi=$(command -v mpicxx >/dev/null && mpirun --version 2>/dev/null | head -n1 | tr -c 'A-Za-z0-9.\n' - || echo no-mpi)
nccl=$([ -n "$gpu" ] && command -v nvcc >/dev/null && echo nccl || echo cpu)
wheels=${XDG_CACHE_HOME:-$HOME/.cache}/hpcbench/wheels/horovod-$horovod-tf-$tensorflow-$("$python" -c 'import sys; print("py%d%d" % sys.version_info[:2])')-$mpi-$nccl
if ! compgen -G "$wheels/*.whl" >/dev/null; then
    say "compiling Horovod $horovod for TensorFlow $tensorflow ($mpi, $nccl): some minutes, once"
    export HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 HOROVOD_WITH_GLOO=1
    if [ "$mpi" = no-mpi ]; then export HOROVOD_WITHOUT_MPI=1; else export HOROVOD_WITH_MPI=1; fi
    if [ "$nccl" = nccl ]; then export HOROVOD_GPU_OPERATIONS=NCCL; fi
    built=$(mktemp -d)
    # The build has to see TensorFlow, so it cannot be isolated; CMake comes from the environment.
    # pip would keep the wheel for any TensorFlow, so its cache stays out of it.
    PATH="$PWD/$venv/bin:$PATH" MAKEFLAGS="-j$(nproc)" pip wheel --no-cache-dir --no-build-isolation --no-deps \
        -w "$built" "horovod==$horovod" >"$built/log" 2>&1 ||
        { tail -n 20 "$built/log" >&2; stop "Horovod did not compile; the whole log is $built/log"; }
    mkdir -p "$wheels"
    mv "$built"/*.whl "$wheels/"
    rm -r "$built"
fi
pip install --no-deps --force-reinstall "$wheels"/*.whl

if [ "${1:-}" != --no-data ]; then
    say "data"
    if ! $venv/bin/python -m hpcbench.datasets.sources && [ "$(id -u)" = 0 ] &&
        command -v apt-get >/dev/null; then
        apt-get install -y -qq dataset-fashion-mnist >/dev/null || true
    fi
fi
echo "$lock_hash" >$venv/setup-done
say "done: $venv/bin/python -m hpcbench.train"
