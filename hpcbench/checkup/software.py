"""Python, TensorFlow, Keras, Horovod, MPI and NCCL: there, and fitting each other."""

import ctypes.util
import json
import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from hpcbench.checkup import Asked, Finding, State, said
from hpcbench.launch import mpi_version, program, visible_gpus

PYTHONS = ((3, 11), (3, 12))
# The versions that a test suite was run with; make setup TENSORFLOW=... takes them.
TENSORFLOWS = ((2, 16), (2, 21))
HOROVOD = "Horovod"
LOADS = Path(__file__).with_name("loads.py")


def version(*packages: str) -> str | None:
    """The version of the first of ``packages`` that is installed."""
    for package in packages:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return None


def tensorflow_version() -> str | None:
    return version("tensorflow-cpu", "tensorflow")


def python(_: Asked) -> Iterator[Finding]:
    """The interpreter's version."""
    found = f"{platform.python_version()}, {sys.executable}"
    if sys.version_info[:2] in PYTHONS:
        yield Finding("Python", State.OK, found)
    else:
        yield Finding(
            "Python", State.PROBLEM, found,
            "use 3.11 or 3.12: make setup PYTHON=python3.11",
        )  # fmt: skip


def tensorflow(_: Asked) -> Iterator[Finding]:
    """TensorFlow and Keras, by what is installed; nothing is loaded."""
    found = tensorflow_version()
    if found is None:
        yield Finding("TensorFlow", State.PROBLEM, "not installed", "run make setup")
    elif TENSORFLOWS[0] <= _major_minor(found) <= TENSORFLOWS[1]:
        yield Finding("TensorFlow", State.OK, found)
    else:
        yield Finding(
            "TensorFlow", State.WARNING, f"{found}, with which nothing was tried",
            "make setup installs one of 2.16 to 2.21",
        )  # fmt: skip
    keras = version("keras")
    if keras is None or _major_minor(keras)[0] < 3:
        yield Finding("Keras", State.PROBLEM, keras or "not installed", "run make setup")
    else:
        yield Finding("Keras", State.OK, keras)


def _major_minor(text: str) -> tuple[int, int]:
    major, minor = (*text.split("."), "0")[:2]
    return int(major), int(re.match(r"\d*", minor)[0] or 0)  # type: ignore[index]


def horovod(_: Asked) -> Iterator[Finding]:
    """Horovod: for which TensorFlow it was compiled, and whether its libraries are found."""
    found, spec = version("horovod"), find_spec("horovod")
    if found is None or spec is None or not spec.submodule_search_locations:
        yield Finding(
            HOROVOD, State.WARNING, "not installed: single, mirrored, multiworker and mpi work",
            "make setup compiles it",
        )  # fmt: skip
        return
    folder = Path(spec.submodule_search_locations[0])
    try:
        built_for = json.loads((folder / "metadata.json").read_text()).get("tensorflow")
    except (OSError, ValueError):
        built_for = None
    libraries = sorted((folder / "tensorflow").glob("mpi_lib*.so"))
    if not built_for or not libraries:
        yield Finding(
            HOROVOD, State.PROBLEM, f"{found}, compiled without TensorFlow",
            "remove .venv and run make setup",
        )  # fmt: skip
    elif built_for != tensorflow_version():
        yield Finding(
            HOROVOD, State.PROBLEM,
            f"{found}, compiled for TensorFlow {built_for}, and {tensorflow_version()} is here",
            "remove .venv and run make setup",
        )  # fmt: skip
    else:
        told = said("ldd", str(libraries[0]))
        needed = told or ""
        # Python's own process brings TensorFlow's libraries.
        missing = [
            line.split()[0] for line in needed.splitlines()
            if "not found" in line and "tensorflow" not in line
        ]  # fmt: skip
        over = "MPI and Gloo" if "libmpi" in needed else "Gloo alone"
        if told is None:
            over = "ldd does not say with what"
        if missing:
            yield Finding(
                HOROVOD, State.PROBLEM, f"{found} does not find {', '.join(missing)}",
                "load the MPI (or NCCL) with which it was compiled, as in module load openmpi",
            )  # fmt: skip
        else:
            yield Finding(HOROVOD, State.OK, f"{found} for TensorFlow {built_for}, {over}")


def mpi(_: Asked) -> Iterator[Finding]:
    """What starts ranks."""
    mpirun = program("mpirun")
    if mpirun is None:
        yield Finding(
            "MPI", State.WARNING, "no mpirun: horovodrun starts ranks over Gloo, strategy mpi "
            "does not run", "module load openmpi, or apt-get install openmpi-bin libopenmpi-dev",
        )  # fmt: skip
        return
    answer = said(mpirun, "--version")
    if answer is None:
        yield Finding("MPI", State.PROBLEM, f"{mpirun} --version fails", "load another MPI module")
    else:
        yield Finding("MPI", State.OK, f"{answer.splitlines()[0]}, {mpirun}")


def nccl(asked: Asked) -> Iterator[Finding]:
    """NCCL, where there are GPUs that would exchange gradients by it."""
    if visible_gpus(asked.environment) == 0:
        return
    packaged = version("nvidia-nccl-cu12", "nvidia-nccl-cu13")
    library = packaged or ctypes.util.find_library("nccl")
    if library:
        yield Finding("NCCL", State.OK, library)
    else:
        yield Finding(
            "NCCL", State.WARNING, "not found: gradients of several GPUs travel by MPI or Gloo",
            "pip install nvidia-nccl-cu12, or module load nccl",
        )  # fmt: skip


def loading(asked: Asked) -> Iterator[Finding]:
    """TensorFlow, Horovod and MPI really loaded, in a process of their own: some seconds."""
    answer = said(sys.executable, str(LOADS), timeout=120)
    if answer is None:
        yield Finding(
            "loading", State.PROBLEM, "a process that imports TensorFlow dies",
            f"see what it says: {sys.executable} {LOADS}",
        )  # fmt: skip
        return
    # Libraries print as they load.
    loaded = json.loads(answer.strip().splitlines()[-1])
    for name, error in loaded["errors"].items():
        yield Finding(
            name, State.PROBLEM, f"does not load: {error}", "remove .venv and run make setup"
        )
    if "tensorflow" in loaded:
        yield _devices_of_tensorflow(loaded["tensorflow"], visible_gpus(asked.environment))
    if "horovod" in loaded:
        over = [name for name, built in loaded["horovod"].items() if built]
        yield Finding(HOROVOD, State.OK, f"loads, with {', '.join(over)}")
    if "mpi" in loaded:
        yield mpi_fits(loaded["mpi"], said(program("mpirun") or "mpirun", "--version"))


def _devices_of_tensorflow(names: list[str], gpus: int) -> Finding:
    if len(names) < gpus:
        return Finding(
            "TensorFlow", State.PROBLEM, f"loads, and sees {len(names)} of {gpus} GPUs",
            "its CUDA libraries do not fit or are not installed: make setup on a node with GPUs",
        )  # fmt: skip
    return Finding("TensorFlow", State.OK, f"loads, sees {', '.join(names) or 'no GPU'}")


def mpi_fits(library: str, launcher: str | None) -> Finding:
    """Whether ``mpirun --version`` is of the MPI library that the ranks load.

    Ranks of another MPI than their launcher's each believe that they are alone.
    """
    name = library.split(",", maxsplit=1)[0].strip("\0 \n")
    ours, its = mpi_version(library), mpi_version(launcher or "")
    if launcher is None:
        return Finding("MPI", State.WARNING, f"loads {name}, and no mpirun starts its ranks")
    if ours and its and ours != its:
        return Finding(
            "MPI", State.PROBLEM,
            f"ranks load {name}, and mpirun is of {' '.join(its)}: each rank would "
            f"believe that it is alone",
            "load one MPI module only, and run make setup with it",
        )  # fmt: skip
    return Finding("MPI", State.OK, f"ranks load {name}")
