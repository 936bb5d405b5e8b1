"""Files that come with the package: sites, sweeps and job scripts.

A folder ``jobs`` in the working folder goes first, so that one's own copies are used.
"""

from pathlib import Path

OWN = Path("jobs")
# In a clone a link to the folder of that name beside the package.
PACKAGED = Path(__file__).parent / "jobs"


def job_file(name: str) -> Path:
    """The file ``name`` of the user's folder of job files, else the one that came with us."""
    own = OWN / name
    return own if own.exists() else PACKAGED / name


def job_files(folder: str) -> list[Path]:
    """The TOML files of one ``folder`` of job files, the user's before ours, by name."""
    found = {path.name: path for path in (PACKAGED / folder).glob("*.toml")}
    found |= {path.name: path for path in (OWN / folder).glob("*.toml")}
    return [found[name] for name in sorted(found)]
