"""What ran where: versions, hosts, devices, scheduler, and every setting that changes speed."""

import json
import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from hpcbench.cluster.site import SAID_IN
from hpcbench.process import output_of

PACKAGES = (
    *("tensorflow", "tensorflow-cpu", "keras", "torch", "jax", "jaxlib", "horovod", "mpi4py"),
    "numpy",
)
# Prefixes; "TF_" alone would take in another tool's variables, "OMPI_MCA_" the launcher's own.
SETTINGS = (
    "HOROVOD_",
    "NCCL_",
    "OMP_",
    "KMP_",
    "UCX_",
    "XLA_",
    "CUDA_VISIBLE_DEVICES",
    "ONEDNN_",
    "DNNL_",
    "MKL_",
    "ATEN_",
    "OMPI_MCA_btl",
    "OMPI_MCA_pml",
    "OMPI_MCA_coll",
    "OMPI_MCA_mpi_",
    "OMPI_MCA_hwloc_",
    "TF_CUDNN_",
    "TF_DETERMINISTIC_",
    "TF_ENABLE_",
    "TF_FORCE_",
    "TF_GPU_",
    "TF_NUM_",
    "TF_XLA_",
)
# As containers/install.sh writes it; then the variables in which runtimes name their image.
IMAGE_FILE = Path("/opt/hpcbench/image.json")
IMAGE_NAMES = ("HPCBENCH_IMAGE", "APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")


def collect(scheduler: Mapping[str, str], cpu_math: Mapping[str, Any] | None) -> dict[str, Any]:
    """Facts about this process's machine and software, ready for run.json.

    ``scheduler`` is what tells of the job, ``cpu_math`` how the framework calculates on CPUs.
    """
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "mpi": _mpi(),
        "image": _image(),
        "git_commit": _git_commit(),
        "command": sys.argv,
        "host": platform.node(),
        "kernel": platform.release(),
        "cores": sorted(os.sched_getaffinity(0)),
        "cores_of_machine": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "gpu_driver": _gpu_driver(),
        "cpu_math": cpu_math,
        "scheduler": dict(scheduler),
        "site": _site(),
        "settings": {
            name: value for name, value in sorted(os.environ.items()) if name.startswith(SETTINGS)
        },
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _mpi() -> str | None:
    """The MPI library's own name of itself, where one is in use already."""
    module = sys.modules.get("mpi4py.MPI")
    return module.Get_library_version().split("\n")[0].rstrip("\0") if module else None


def _image() -> dict[str, Any] | None:
    """The container image that this process runs in: what its builder wrote down, and its name."""
    made = IMAGE_FILE if Path(sys.executable).is_relative_to(IMAGE_FILE.parent) else None
    name = next((os.environ[n] for n in IMAGE_NAMES if n in os.environ), None)
    if made and made.exists():
        return json.loads(made.read_text()) | ({"name": name} if name else {})
    return {"name": name} if name else None


def _site() -> dict[str, Any] | None:
    """What the file of this cluster's site says, where a run was started by it."""
    says = os.environ.get(SAID_IN)
    return dict(json.loads(says)) if says else None


def _gpu_driver() -> str | None:
    version = Path("/proc/driver/nvidia/version")
    return version.read_text(encoding="utf-8").splitlines()[0] if version.exists() else None


def _git_commit() -> str | None:
    """The commit of this package's own checkout; None where it is installed, perhaps below a
    checkout of something else."""
    git = ("git", "-C", str(Path(__file__).parent))
    if output_of(*git, "ls-files", "--error-unmatch", Path(__file__).name, timeout=5) is None:
        return None
    commit = output_of(*git, "rev-parse", "HEAD", timeout=5)
    return commit.strip() if commit else None
