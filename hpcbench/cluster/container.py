"""Container images in jobs: how a program runs inside one, and whether its MPI fits the host's."""

import getpass
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from hpcbench.cluster.launchers import LAUNCHERS
from hpcbench.cluster.site import Site
from hpcbench.errors import EnvironmentLacks
from hpcbench.process import output_of

TIMEOUT = 60


def runtime(site: Site) -> str:
    """What runs the site's image, unless the site says: a folder is for ch-run, if it is here."""
    if site.container_command:
        return site.container_command
    if site.container and site.container.is_dir() and shutil.which("ch-run"):
        return "ch-run"
    older = shutil.which("singularity") and not shutil.which("apptainer")
    return "singularity" if older else "apptainer"


def inside(site: Site, command: Sequence[str], folders: Sequence[Path] = ()) -> list[str]:
    """``command`` as it runs in the site's image, in this folder, with ``folders`` visible."""
    visible = _visible(folders)
    image, program = str(site.container), runtime(site)
    if program == "ch-run":
        binds = [f"--bind={folder}:{folder}" for folder in visible]
        # ch-run wants to know who runs it, which batch systems do not always say.
        user = [] if "USER" in os.environ else ["env", f"USER={getpass.getuser()}"]
        return [*user, "ch-run", *binds, f"--cd={visible[0]}", image, "--", *command]
    gpus = ["--nv"] if site.device == "gpu" else []
    binds = [f"--bind={folder}" for folder in visible]
    return [program, "exec", *gpus, *binds, f"--pwd={visible[0]}", image, *command]


def check_image(site: Site, folders: Sequence[Path] = ()) -> str:
    """That the site's image runs here, and its MPI with the host's launcher; what its MPI is.

    Makes the places in a folder of an image where ``folders`` will be seen: ch-run does not, and
    ranks would each try. Raises EnvironmentLacks.
    """
    if site.container is None or not site.container.exists():
        raise EnvironmentLacks(
            f"image {site.container} is not here; containers/build makes one, and a site's "
            f"container names it"
        )
    if runtime(site) == "ch-run":
        _make_mount_points(site.container, _visible(folders))
    answer = output_of(*inside(site, ["mpirun", "--version"], folders), timeout=TIMEOUT)
    if answer is None:
        raise EnvironmentLacks(
            f"{runtime(site)} cannot run mpirun in {site.container}: it is not "
            f"installed here, or the image is damaged"
        )
    library = answer.splitlines()[0]
    refusal = LAUNCHERS[site.launcher].refusal(library, site.mpi)
    if refusal:
        raise EnvironmentLacks(f"{refusal} in site {site.name}")
    return library


def _make_mount_points(image: Path, folders: Sequence[Path]) -> None:
    for folder in folders:
        try:
            (image / folder.relative_to("/")).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentLacks(
                f"{folder} cannot be seen in image {image}, which is not yours to "
                f"write: copy the image, or have its owner make that folder in it"
            ) from error


def _visible(folders: Sequence[Path]) -> list[Path]:
    return list(dict.fromkeys(folder.absolute() for folder in (Path(), *folders)))
