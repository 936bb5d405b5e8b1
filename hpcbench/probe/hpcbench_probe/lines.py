"""The file that a process writes, which is whole whatever the program does."""

import json
import os
import sys

# Files that somebody else closed.
lost = []


class Lines:
    """A JSON object a line."""

    def __init__(self, path):
        self.path = path
        try:
            self._open()
        except OSError as error:
            # The program is not to suffer for a folder that it may not write to.
            print(f"hpcbench probe: cannot write its lines: {error}", file=sys.stderr)
            self.file = open(os.devnull, "ab", buffering=0)
            self.identity = _identity(self.file)

    def _open(self):
        # Each line is one write, so that nothing is lost where the process just ends.
        self.file = open(self.path, "ab", buffering=0)
        self.identity = _identity(self.file)

    def write(self, **line):
        try:
            if _identity(self.file) != self.identity:
                # The program closed files that are not its own; the number may be another's now,
                # which must stay open.
                lost.append(self.file)
                self._open()
            self.file.write((json.dumps(line) + "\n").encode())
        except Exception:
            # The program is not to suffer for a disk that is full.
            pass


def _identity(file):
    """Which file a descriptor is; None where it is closed."""
    try:
        found = os.fstat(file.fileno())
    except (AttributeError, OSError, ValueError):
        return None
    return found.st_dev, found.st_ino
