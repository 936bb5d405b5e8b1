"""What is no training: evaluation, and a checkpoint that is saved."""

import functools
import threading
import weakref

from hpcbench_probe.guard import harmless
from hpcbench_probe.pytorch.fetched import fetched
from hpcbench_probe.pytorch.sparing import sparing
from hpcbench_probe.pytorch.trained import trained
from hpcbench_probe.recording import recorder


class Evaluation:
    """From ``eval()`` to ``train()``, where that is not of a part that is kept as it is."""

    def __init__(self):
        # The module that was told to evaluate, and what loaders had given before.
        self.evaluating = None
        self.before = None
        # Of modules that tell those within them.
        self.depth = 0

    def modules(self, modules):
        original = modules.Module.train

        @functools.wraps(original)
        def train(module, mode=True):
            # A module tells those within it; the outermost one is what the program asked.
            self.depth += 1
            try:
                return original(module, mode)
            finally:
                self.depth -= 1
                if self.depth == 0:
                    self.switched(module, mode)

        modules.Module.train = train

    @harmless
    def switched(self, module, mode):
        sparing.stirred()
        if mode and trained.model() is None:
            trained.own = weakref.ref(module)
        if not mode and self.evaluating is None and trained.optimizer is not None:
            # A part that is kept frozen is switched so too: then the next step shows that what
            # was fetched meanwhile was trained on.
            self.evaluating = weakref.ref(module)
            self.before = fetched.remembered()
            recorder.pause(True)
        elif mode and self.evaluating is not None and _holds(module, self.evaluating()):
            self.evaluating = None
            fetched.restore(self.before)
            recorder.pause(False)

    def left_without_a_word(self):
        """It trains on without having left evaluation: of the whole model, until it asked for the
        batch of this step; of a part, which is kept as it is, that was none."""
        module, self.evaluating = self.evaluating(), None
        asked, parts = fetched.asked()
        wrapper = trained.wrapper and trained.wrapper()
        whole = module is not None and module in (trained.model(), wrapper)
        if whole and recorder.pause_began is not None and asked > recorder.pause_began:
            recorder.take_out(asked - recorder.pause_began, recorder.parts_at_pause, parts)
            recorder.last = max(asked, recorder.last)
            fetched.forget_others()
        recorder.pause_began = None


def _holds(module, other):
    """Whether one is a part of the other, as a model is of DDP's wrapper."""
    if other is None:
        return False
    return any(part is other for part in module.modules()) or any(
        part is module for part in other.modules()
    )


def saving(module):
    original = module.save

    @functools.wraps(original)
    def save(*args, **kwargs):
        # Others may save beside training.
        elsewhere = recorder.thread not in (None, threading.get_ident())
        within = elsewhere or recorder.pause_began is not None
        if not within:
            recorder.pause(True)
        try:
            return original(*args, **kwargs)
        finally:
            if not within:
                recorder.pause(False)

    module.save = save


evaluation = Evaluation()
