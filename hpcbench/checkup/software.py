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

from hpcbench.checkup import CheckContext, Finding, Severity
from hpcbench.cluster.launchers.mpirun import mpi_version
from hpcbench.devices.gpus import visible_gpus
from hpcbench.frameworks import Probe
from hpcbench.packages import installation
from hpcbench.process import output_of, program

PYTHONS = ((3, 11), (3, 12), (3, 13))
# The versions that a test suite was run with; make setup TENSORFLOW=... takes them.
TENSORFLOWS = ((2, 16), (2, 21))
HOROVOD = "Horovod"
LOADS = "hpcbench.checkup.loads"
TITLES = {"tensorflow": "TensorFlow", "torch": "PyTorch", "jax": "JAX"}


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


def python(_: CheckContext) -> Iterator[Finding]:
    """The interpreter's version."""
    found = f"{platform.python_version()}, {sys.executable}"
    if sys.version_info[:2] in PYTHONS:
        yield Finding("Python", Severity.OK, found)
    else:
        yield Finding(
            "Python",
            Severity.PROBLEM,
            found,
            "use 3.11 to 3.13, in a clone with make setup PYTHON=python3.11",
        )


def tensorflow(_: CheckContext) -> Iterator[Finding]:
    """TensorFlow and Keras, by what is installed; nothing is loaded."""
    found = tensorflow_version()
    if found is None:
        needs = {"torch": ("torch",), "jax": ("jax", "keras")}
        others = [name for name, of in needs.items() if all(map(find_spec, of))]
        yield Finding(
            "TensorFlow",
            Severity.WARNING if others else Severity.PROBLEM,
            "not installed" + (f": --framework {others[0]} works" if others else ""),
            f"run {installation('tensorflow')}",
        )
        return
    if TENSORFLOWS[0] <= _major_minor(found) <= TENSORFLOWS[1]:
        yield Finding("TensorFlow", Severity.OK, found)
    else:
        yield Finding(
            "TensorFlow",
            Severity.WARNING,
            f"{found}, which is untested",
            "make setup installs one of 2.16 to 2.21",
        )
    keras = version("keras")
    if keras is None or _major_minor(keras)[0] < 3:
        found = keras or "not installed"
        yield Finding("Keras", Severity.PROBLEM, found, f"run {installation('keras')}")
    else:
        yield Finding("Keras", Severity.OK, keras)


def _major_minor(text: str) -> tuple[int, int]:
    major, minor = (*text.split("."), "0")[:2]
    return int(major), int(re.match(r"\d*", minor)[0] or 0)  # type: ignore[index]


def horovod(context: CheckContext) -> Iterator[Finding]:
    """Horovod: for which TensorFlow it was compiled, and whether its libraries are found; nothing
    where there is no TensorFlow, which it would train."""
    if tensorflow_version() is None:
        return
    found, spec = version("horovod"), find_spec("horovod")
    if found is None or spec is None or not spec.submodule_search_locations:
        yield Finding(
            HOROVOD,
            Severity.WARNING,
            "not installed: single, mirrored, multiworker and mpi work",
            "make setup in a clone of the project compiles it",
        )
        return
    folder = Path(spec.submodule_search_locations[0])
    try:
        built_for = json.loads((folder / "metadata.json").read_text()).get("tensorflow")
    except (OSError, ValueError):
        built_for = None
    libraries = sorted((folder / "tensorflow").glob("mpi_lib*.so"))
    if not built_for or not libraries:
        yield Finding(
            HOROVOD,
            Severity.PROBLEM,
            f"{found}, compiled without TensorFlow",
            "remove .venv and run make setup",
        )
    elif built_for != tensorflow_version():
        yield Finding(
            HOROVOD,
            Severity.PROBLEM,
            f"{found}, compiled for TensorFlow {built_for}, and {tensorflow_version()} is here",
            "remove .venv and run make setup",
        )
    else:
        answer = output_of("ldd", str(libraries[0]))
        needed = answer or ""
        # Python's own process brings TensorFlow's libraries.
        missing = [
            line.split()[0]
            for line in needed.splitlines()
            if "not found" in line and "tensorflow" not in line
        ]
        over = "MPI and Gloo" if "libmpi" in needed else "Gloo alone"
        # It names NCCL's functions where one of them fails.
        with_nccl = b"ncclCommInitRank" in libraries[0].read_bytes()
        over += ", NCCL" if with_nccl else ""
        if answer is None:
            over = "ldd does not list its libraries"
        if missing:
            yield Finding(
                HOROVOD,
                Severity.PROBLEM,
                f"{found} does not find {', '.join(missing)}",
                "load the MPI (or NCCL) with which it was compiled, as in module load openmpi",
            )
        else:
            yield Finding(HOROVOD, Severity.OK, f"{found} for TensorFlow {built_for}, {over}")
            if not with_nccl and visible_gpus(context.environment):
                yield Finding(
                    HOROVOD,
                    Severity.WARNING,
                    "compiled without NCCL, so gradients of GPUs travel through the CPU",
                    "load CUDA, with nvcc, and run containers/setup.sh again",
                )


def mpi(_: CheckContext) -> Iterator[Finding]:
    """What starts ranks."""
    mpirun = program("mpirun")
    if mpirun is None:
        yield Finding(
            "MPI",
            Severity.WARNING,
            "no mpirun: horovodrun starts ranks over Gloo, strategy mpi does not run",
            "module load openmpi, or apt-get install openmpi-bin libopenmpi-dev",
        )
        return
    answer = output_of(mpirun, "--version")
    if answer is None:
        yield Finding(
            "MPI", Severity.PROBLEM, f"{mpirun} --version fails", "load another MPI module"
        )
    else:
        yield Finding("MPI", Severity.OK, f"{answer.splitlines()[0]}, {mpirun}")


def nccl(context: CheckContext) -> Iterator[Finding]:
    """NCCL, where there are GPUs that would exchange gradients by it."""
    if visible_gpus(context.environment) == 0:
        return
    packaged = version("nvidia-nccl-cu12", "nvidia-nccl-cu13")
    library = packaged or ctypes.util.find_library("nccl")
    if library:
        yield Finding("NCCL", Severity.OK, library)
    else:
        yield Finding(
            "NCCL",
            Severity.WARNING,
            "not found: gradients of several GPUs travel by MPI or Gloo",
            "pip install nvidia-nccl-cu12, or module load nccl",
        )


def loading(context: CheckContext) -> Iterator[Finding]:
    """The frameworks and libraries really loaded, in a process of their own: some seconds."""
    command = (sys.executable, "-m", LOADS)
    answer = output_of(*command, timeout=120)
    if answer is None:
        yield Finding(
            "loading",
            Severity.PROBLEM,
            "importing the frameworks kills the process",
            f"see what it says: {' '.join(command)}",
        )
        return
    # Libraries print as they load.
    loaded = json.loads(answer.strip().splitlines()[-1])
    for name, error in loaded["errors"].items():
        yield Finding(
            name, Severity.PROBLEM, f"does not load: {error}", "remove .venv and run make setup"
        )
    gpus = visible_gpus(context.environment)
    for name, probe in loaded["frameworks"].items():
        yield _devices_of(TITLES.get(name, name), Probe(**probe), gpus)
    libraries = loaded["libraries"]
    if "horovod" in libraries:
        over = [name for name, built in libraries["horovod"].items() if built]
        yield Finding(HOROVOD, Severity.OK, f"loads, with {', '.join(over)}")
    if "mpi" in libraries:
        mpirun = program("mpirun") or "mpirun"
        yield mpi_fits(libraries["mpi"]["library"], output_of(mpirun, "--version"))


def _devices_of(title: str, probe: Probe, gpus: int) -> Finding:
    if len(probe.accelerators) < gpus:
        return Finding(
            title,
            Severity.PROBLEM,
            f"loads, and sees {len(probe.accelerators)} of {gpus} GPUs",
            "its CUDA libraries do not fit or are not installed: make setup on a node with GPUs",
        )
    seen = ", ".join(probe.accelerators) or f"no GPU; calculates with {probe.cpu_math}"
    return Finding(title, Severity.OK, f"loads, sees {seen}")


def mpi_fits(library: str, launcher: str | None) -> Finding:
    """Whether ``mpirun --version`` is of the MPI library that the ranks load.

    Ranks of another MPI than their launcher's each believe that they are alone.
    """
    name = library.split(",", maxsplit=1)[0].strip("\0 \n")
    ours, its = mpi_version(library), mpi_version(launcher or "")
    if launcher is None:
        return Finding("MPI", Severity.WARNING, f"loads {name}, and no mpirun starts its ranks")
    if ours and its and ours != its:
        return Finding(
            "MPI",
            Severity.PROBLEM,
            f"ranks load {name}, and mpirun is of {' '.join(its)}: each rank would "
            f"believe that it is alone",
            "load one MPI module only, and run make setup with it",
        )
    return Finding("MPI", Severity.OK, f"ranks load {name}")
