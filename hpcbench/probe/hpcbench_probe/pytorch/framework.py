"""What is asked of PyTorch, answered."""

from hpcbench_probe.framework import Framework
from hpcbench_probe.pytorch.fetched import fetched
from hpcbench_probe.pytorch.sparing import sparing
from hpcbench_probe.pytorch.steps import steps
from hpcbench_probe.recording import recorder


class PyTorch(Framework):
    def stirred(self):
        sparing.stirred()

    def for_step(self):
        return None if fetched.loader is None else fetched.for_step()

    def first_batch(self):
        return fetched.digests.get(fetched.loader)

    def forget(self):
        steps.forget()
        fetched.forget()
        sparing.forget()


def optimizers(module):
    recorder.framework = PyTorch()
    steps.optimizers(module)
