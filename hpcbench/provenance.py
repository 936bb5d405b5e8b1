"""What ran where: versions, hosts, devices, scheduler, and every setting that changes speed."""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "torch", "horovod", "mpi4py", "numpy")
# Prefixes; "TF_" alone would take in another tool's variables, "OMPI_MCA_" the launcher's own.
SETTINGS = (
    "HOROVOD_", "NCCL_", "OMP_", "KMP_", "UCX_", "XLA_", "CUDA_VISIBLE_DEVICES",
    "OMPI_MCA_btl", "OMPI_MCA_pml", "OMPI_MCA_coll", "OMPI_MCA_mpi_", "OMPI_MCA_hwloc_",
    "TF_CUDNN_", "TF_DETERMINISTIC_", "TF_ENABLE_", "TF_FORCE_", "TF_GPU_", "TF_NUM_", "TF_XLA_",
)  # fmt: skip
SCHEDULER = (
    "SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT",
    "SLURM_JOB_PARTITION", "SLURM_JOB_NODELIST", "SLURM_CLUSTER_NAME",
)  # fmt: skip
# As containers/install.sh writes it; then the variables in which runtimes name their image.
IMAGE_FILE = Path("/opt/hpcbench/image.json")
IMAGE_NAMES = ("HPCBENCH_IMAGE", "APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")


def collect() -> dict[str, Any]:
    """Facts about this process' machine and software, ready for run.json."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "mpi": _mpi(),
        "image": _image(),
        "git_commit": _output("git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"),
        "command": sys.argv,
        "host": platform.node(),
        "kernel": platform.release(),
        "cores": sorted(os.sched_getaffinity(0)),
        "cores_of_machine": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "gpu_driver": _gpu_driver(),
        "scheduler": {name: os.environ[name] for name in SCHEDULER if name in os.environ},
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


def _gpu_driver() -> str | None:
    version = Path("/proc/driver/nvidia/version")
    return version.read_text().splitlines()[0] if version.exists() else None


def _output(*command: str) -> str | None:
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None


def cpu_name() -> str:
    """The processor's name as the kernel gives it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return os.uname().machine


def cpu_share(cores_per_device: int, processes_per_core: int) -> str:
    """The name of a CPU device of this process, as it stands in every row.

    It says the share's size, since rates of shares of another size are not comparable.
    """
    share = f"{cores_per_device} core{'s' * (cores_per_device > 1)}"
    if processes_per_core > 1:
        share = f"1/{processes_per_core} core"
    return f"{cpu_name()} ({share})"
