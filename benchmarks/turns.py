"""Sides of a comparison that take turns, a process a side, which sleeps while another trains."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator


class Side:
    """A process that trains an epoch when it is told to, and waits otherwise."""

    def __init__(self, *command: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()

    def epoch(self) -> float:
        """Microseconds a sample."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a side ended with status {self._process.wait()}")
        return line

    def close(self) -> None:
        self._process.communicate()


def serve(epochs: Iterator[float], samples: int) -> None:
    """A side's process: an epoch that is not counted, then one for each line on standard input,
    its microseconds a sample printed. What a side shows of its progress goes nowhere."""
    answers = sys.stdout
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        next(epochs)
        print("ready", file=answers, flush=True)
        for _ in sys.stdin:
            print(next(epochs) / samples * 1e6, file=answers, flush=True)


def take_turns(sides: dict[str, Side], rounds: int) -> dict[str, list[float]]:
    """Microseconds a sample of each side's epochs, a side after the other in each round."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            times[name].append(side.epoch())
    for side in sides.values():
        side.close()
    return times
