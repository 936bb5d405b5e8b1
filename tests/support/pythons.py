"""Other versions of Python on this machine."""

import subprocess
import sys
from pathlib import Path

from hpcbench.process import program


def interpreter(version: str) -> str | None:
    """A Python of this version: this one, of the PATH, or of pyenv."""
    candidates = [sys.executable, f"python{version}"]
    candidates += map(str, sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python")))
    question = "import sys; print('%d.%d' % sys.version_info[:2])"
    for found in filter(None, map(program, candidates)):
        asked = subprocess.run([found, "-c", question], capture_output=True, text=True, check=False)
        if asked.stdout.strip() == version:
            return found
    return None
