"""What a program prints: passed on, searched for rates, its last lines kept."""

import os
import re
import sys
import time
from collections import deque
from contextlib import suppress

from hpcbench.programs.metric import Metric

KEPT_LINES, LAST_LINES = 400, 3
TRACEBACK = "Traceback (most recent call last)"
# A launcher's mark of the rank; what Python says last of an exception, perhaps behind one.
RANK = r"(?:\[[^\]]*\](?:<std(?:out|err)>)?:?\s*)?"
EXCEPTION = re.compile(RANK + r"([A-Za-z_][\w.]*(?:Error|Exception|Interrupt)\b.*)")
# How TensorFlow begins what it says of one in a graph, which comes some lines later.
OF_GRAPH = "in user code:"
# What torchrun, mpirun and Slurm say of a process that the system killed; the others then complain
# that it is gone.
KILLED = re.compile(r"exitcode\s*:\s*-9\b|exited on signal 9\b|oom[-_]kill", re.IGNORECASE)
# What the probe prints where it cannot do its work.
OF_PROBE = "hpcbench probe:"


class Output:
    """What the program prints: passed on, searched for the metric, its last lines kept."""

    def __init__(self, metric: Metric | None) -> None:
        self.metric = metric
        self._last: deque[str] = deque(maxlen=KEPT_LINES)
        # The last that the probe said; empty where it had nothing to complain of.
        self.of_probe = ""
        self.changed = self._began = time.monotonic()

    def follow(self, descriptor: int) -> None:
        """Read until the program's end; a terminal's carriage return ends a line too."""
        rest, came = b"", self._began
        # A terminal whose other end is gone is an error to the reader.
        with suppress(OSError):
            while chunk := os.read(descriptor, 65536):
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()
                now, before = time.monotonic(), rest
                *lines, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
                for place, line in enumerate(lines):
                    # A bar begins with what ends the line before it, which was there already.
                    at = came if place == 0 and line == before else now
                    self._line(line.decode(errors="replace"), at)
                came = now
        if rest:
            self._line(rest.decode(errors="replace"), came)

    def reason(self) -> str:
        """That a process was killed, or the exception of the rank that ended first; else the last
        lines with a word in them."""
        lines = list(self._last)
        killed = next((line for line in lines if KILLED.search(line)), None)
        if killed:
            return f"a process of it was killed, as where memory runs short ({killed})"
        traces = [place for place, line in enumerate(lines) if TRACEBACK in line]
        for line in lines[traces[0] :] if traces else ():
            found = EXCEPTION.match(line)
            if found and not found[1].endswith(OF_GRAPH):
                return found[1]
        worded = [line for line in lines if re.search(r"\w", line)]
        return " | ".join(worded[-LAST_LINES:]) or "it printed nothing"

    def _line(self, text: str, at: float) -> None:
        if not text.strip():
            return
        self._last.append(text.strip())
        if OF_PROBE in text:
            self.of_probe = text[text.index(OF_PROBE) + len(OF_PROBE) :].strip()
        if self.metric and self.metric.line(text, at - self._began):
            self.changed = at
