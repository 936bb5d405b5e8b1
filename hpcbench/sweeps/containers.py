"""Container images in jobs: how a program runs inside one, and whether its MPI fits the host's."""

import getpass
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hpcbench.errors import EnvironmentLacks
from hpcbench.launch import mpi_version, program

if TYPE_CHECKING:
    from hpcbench.sweeps.sites import Site


def runtime(site: "Site") -> str:
    """What runs the site's image, unless the site says: a folder is for ch-run, if it is here."""
    if site.container_command:
        return site.container_command
    if site.container and site.container.is_dir() and shutil.which("ch-run"):
        return "ch-run"
    return (
        "apptainer"
        if shutil.which("apptainer") or not shutil.which("singularity")
        else "singularity"
    )


def inside(site: "Site", command: Sequence[str], folders: Sequence[Path] = ()) -> list[str]:
    """``command`` as it runs in the site's image, in this folder, with ``folders`` visible."""
    seen = _seen(folders)
    image = str(site.container)
    started = runtime(site)
    if started == "ch-run":
        binds = [f"--bind={folder}:{folder}" for folder in seen]
        # ch-run wants to know who runs it, which batch systems do not always say.
        user = [] if "USER" in os.environ else ["env", f"USER={getpass.getuser()}"]
        return [*user, "ch-run", *binds, f"--cd={seen[0]}", image, "--", *command]
    gpus = ["--nv"] if site.device == "gpu" else []
    return [
        started, "exec", *gpus, *(f"--bind={folder}" for folder in seen),
        f"--pwd={seen[0]}", image, *command,
    ]  # fmt: skip


def check_image(site: "Site", folders: Sequence[Path] = ()) -> str:
    """That the site's image runs here, and its MPI with the host's launcher; says what it has.

    Makes the places in a folder of an image where ``folders`` will be seen: ch-run does not, and
    ranks would each try. Raises EnvironmentLacks.
    """
    if site.container is None or not site.container.exists():
        raise EnvironmentLacks(
            f"image {site.container} is not here; containers/build makes one, and a site's "
            f"container names it"
        )
    if runtime(site) == "ch-run":
        try:
            for folder in _seen(folders):
                (site.container / folder.relative_to("/")).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentLacks(
                f"{folder} cannot be seen in image {site.container}, which is not yours to "
                f"write: copy the image, or have its owner make that folder in it"
            ) from error
    its = _output(inside(site, ["mpirun", "--version"], folders))
    if its is None:
        raise EnvironmentLacks(
            f"{runtime(site)} cannot run mpirun in {site.container}: it is not "
            f"installed here, or the image is damaged"
        )
    name = its.splitlines()[0]
    if site.launcher == "srun":
        plugins = _output(["srun", "--mpi=list"]) or ""
        if not re.search(rf"\b{re.escape(site.mpi)}(_v\d+)?\b", plugins):
            raise EnvironmentLacks(
                f"this Slurm starts no ranks by {site.mpi} (srun --mpi=list), which the image's "
                f"{name} wants; choose another mpi or launcher in site {site.name}"
            )
    elif site.launcher == "mpirun":
        ours = _output([program("mpirun") or "mpirun", "--version"]) or "no mpirun"
        if mpi_version(ours) != mpi_version(its):
            raise EnvironmentLacks(
                f"the host's {ours.splitlines()[0]} does not fit the image's {name}: each rank "
                f"would believe that it is alone; load the module of the same version, or use "
                f"launcher srun in site {site.name}"
            )
    return name


def _seen(folders: Sequence[Path]) -> list[Path]:
    return list(dict.fromkeys(folder.absolute() for folder in (Path(), *folders)))


def _output(command: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    # srun prints its list to stderr.
    return (done.stdout or done.stderr) if done.returncode == 0 else None
