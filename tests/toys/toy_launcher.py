"""A launcher in one file: its ranks are processes of this machine."""

import os
import subprocess
import sys

from hpcbench.cluster.launchers import LAUNCHERS, Launcher, launch_of

RANK, SIZE = "TOY_RANK", "TOY_SIZE"


class ToyStart(Launcher):
    name = "toy-start"
    precedence = 100

    def detect(self, environment):
        return launch_of(self.name, environment, RANK, SIZE, RANK, SIZE)

    def command(self, program, placement):
        return [sys.executable, __file__, str(placement.ranks), *program]

    def mark(self, environment):
        return environment.get("TOY_LAUNCH", "")


if __name__ == "__main__":
    count, program = sys.argv[1], sys.argv[2:]
    launch = {SIZE: count, "TOY_LAUNCH": str(os.getpid())}
    ranks = [
        subprocess.Popen(program, env=os.environ | launch | {RANK: str(rank)})
        for rank in range(int(count))
    ]
    sys.exit(max(rank.wait() for rank in ranks))
else:
    LAUNCHERS.add(ToyStart.name, ToyStart())
