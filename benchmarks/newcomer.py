"""What a newcomer waits for: from a bare Debian to the first plot and to the whole default report.

    python benchmarks/newcomer.py [--folder DIR]

As root, since it makes a system of its own in a folder: Debian's smallest, by debootstrap, in which
the README's first command is run as typed. What this machine reaches Debian and PyPI with (mirrors,
certificates, pip's settings and the folders that they name) is taken along, caches are not.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from hpcbench.devices.cores import available_cores, cpu_name

ROOT = Path(__file__).resolve().parent.parent
SUITE, MIRROR = "bookworm", "http://deb.debian.org/debian"
# How this machine reaches what is installed.
SETTINGS = ("/etc/pip.conf", str(Path.home() / ".config/pip/pip.conf"))
CERTIFICATES = ("/etc/ssl/certs", "/usr/local/share/ca-certificates")
REACHES = ("/etc/resolv.conf", "/etc/hosts", *CERTIFICATES, *SETTINGS)
FIRST, WHOLE = "first plot", "whole report"


def bare_debian(folder: Path) -> Path:
    """A root folder with nothing but Debian's essential packages."""
    if shutil.which("debootstrap") is None:
        raise SystemExit("debootstrap is not here: apt-get install debootstrap")
    root = folder / "debian"
    subprocess.run(["debootstrap", "--variant=minbase", SUITE, root, MIRROR], check=True, stdout=2)
    there = [Path(name) for name in SETTINGS if Path(name).exists()]
    settings = "\n".join(path.read_text(encoding="utf-8") for path in there)
    named = re.findall(r"(?:file://|[ =])(/[\w./-]+)", settings)
    # An index of links to files beside it.
    folders = [path.parent if path.name == "simple" else path for path in map(Path, named)]
    for path in [*map(Path, REACHES), *folders]:
        target = root / path.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, target, symlinks=True, dirs_exist_ok=True)
        elif path.exists():
            shutil.copy(path, target)
    for path in Path("/etc/apt/apt.conf.d").glob("99*"):
        shutil.copy(path, root / path.relative_to("/"))
    subprocess.run(["git", "clone", "--quiet", "--bare", ROOT, root / "source.git"], check=True)
    return root


# What a system needs of the kernel, in a namespace of its own: whatever becomes of this program,
# nothing stays mounted in a folder that is removed.
INSIDE = """
for place in /proc /sys /dev; do mount --rbind $place "$1$place"; done
exec chroot "$1" bash -c "$2"
"""


def typed(root: Path, line: str) -> subprocess.Popen[str]:
    """A line of shell in the new system, as its root types it."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return subprocess.Popen(
        ["unshare", "--mount", "sh", "-ec", INSIDE, "-", root, line],
        env={"HOME": "/root", "PATH": path, "LANG": "C.UTF-8", **kept},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def moments(root: Path) -> dict[str, float]:
    """Seconds since the first line was typed, by what began or was there then."""
    start = time.monotonic()
    found: dict[str, float] = {}
    lines = "apt-get update -qq && apt-get install -y -qq git make >/dev/null"
    with typed(root, f"{lines} && git clone -q /source.git hpcbench") as first:
        print(first.communicate()[0], file=sys.stderr)
    found["git and make installed, cloned"] = time.monotonic() - start
    report = root / "hpcbench" / "figures" / "report.html"
    with typed(root, "cd hpcbench && make sweep") as sweep:
        assert sweep.stdout
        for line in sweep.stdout:
            print(line, end="", file=sys.stderr, flush=True)
            now = time.monotonic() - start
            step = re.match(r"setup: (.{1,60})", line)
            if step:
                found.setdefault(f"setup: {step[1]}", now)
            if report.exists():
                found.setdefault(FIRST, report.stat().st_mtime - time.time() + now)
    if sweep.returncode:
        raise SystemExit(f"make sweep ended with {sweep.returncode}")
    found[WHOLE] = time.monotonic() - start
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where there are some 10 GB; default: /tmp")
    given = parser.parse_args()
    print(
        f"{cpu_name()}, {len(available_cores())} cores; load average {psutil.getloadavg()[0]:.1f}"
    )
    with tempfile.TemporaryDirectory(dir=given.folder, ignore_cleanup_errors=True) as folder:
        for what, seconds in moments(bare_debian(Path(folder))).items():
            print(f"{int(seconds) // 60:>3} min {int(seconds) % 60:02} s  {what}")


if __name__ == "__main__":
    main()
