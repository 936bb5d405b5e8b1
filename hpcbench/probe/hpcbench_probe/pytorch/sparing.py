"""Short steps are only counted for a while, in a way that costs nothing."""

import itertools
import operator
import weakref

from hpcbench_probe.guard import harmless
from hpcbench_probe.recording import WORTH, recorder

# So many steps in which nothing but training was seen come before those that are only counted, and
# fewer than these are not.
QUIET = 4
# So often in a row it may not have been worth it.
IN_VAIN = 4


class Sparing:
    """Leaves PyTorch as it is but for counting the steps of an optimizer, for a while.

    An optimizer calls a method that does nothing after each step, for PyTorch's profiler. Meanwhile
    an iterator written in C stands in its place, so that to count a step costs nothing.
    """

    AFTER_STEP = "_optimizer_step_code"

    def __init__(self):
        self.counting = False
        # How many steps were like the one before, and nothing between them.
        self.quiet = 0
        # Whether it may be done at all; how often in a row it was not worth it.
        self.possible = True
        self.in_vain = 0
        # What has hooks around each step, and the class of all optimizers; what times the passes,
        # and where PyTorch has its backward pass, ours and its own.
        self.steps = self.every = self.passes = self.backward = None
        # What is counted, by whose batches of how many samples, so many to a step, and how many of
        # these there had been.
        self.optimizer = self.loader = self.size = None
        self.fetches = self.yielded = 0
        # Steps that are counted in one go; how many of the first and the last of these have passed,
        # and those between them that have not.
        self.planned = self.passed = 0
        self.rest = iter(())
        # Whether steps of optimizers that are not counted are noticed meanwhile.
        self.notices = False

    def stirred(self):
        """Something else than a step is done, so that the next ones are looked into."""
        self.quiet = 0
        if self.counting:
            self.interrupted()

    def forget(self):
        """As if nothing had been trained yet."""
        self.quiet = 0
        self.look()

    def notice(self):
        """Of what an optimizer does that is not counted; whether this version of PyTorch can."""
        if not self.notices and hasattr(self.every, self.AFTER_STEP):

            def after_step(optimizer):
                if self.counting:
                    self.stirred()

            setattr(self.every, self.AFTER_STEP, after_step)
            self.notices = True
        return self.notices

    @harmless
    def count(self, optimizer, loader, samples, size):
        """Until a step with which something is to be done, as far as batches are all alike."""
        if not self.possible or recorder.pause_began is not None:
            return
        if loader is not None and (not samples or not size or samples % size):
            return
        self.loader, self.size, self.fetches = loader, size, (samples or 0) // (size or 1)
        if self.plan() < QUIET:
            return
        module, ours, _ = self.backward
        if module.backward is not ours or not self.notice():
            # Somebody else's stands before ours, or an optimizer calls nothing after a step.
            self.possible = False
            return
        self.optimizer = weakref.ref(optimizer)
        self.counting = True
        self.take_out()
        self.begin(optimizer)

    def begin(self, optimizer):
        if self.loader is not None:
            self.yielded = self.loader.iterator()._num_yielded
        self.passed, self.rest = 0, itertools.repeat(None, self.planned - 2)
        counter = itertools.chain(self.first(), self.rest, self.last())
        setattr(optimizer, self.AFTER_STEP, counter.__next__)

    def first(self):
        self.passed = 1
        # Only now, since hooks must not change while they are called.
        self.steps.unhook()
        yield

    def last(self):
        self.passed = 2
        self.ends()
        while True:
            yield

    def counted(self):
        return self.passed + self.planned - 2 - operator.length_hint(self.rest)

    def take_out(self):
        """Of ours what is called in each step, but hooks."""
        module, _, theirs = self.backward
        module.backward = theirs
        self.passes.time_forward(False)
        if self.loader is not None:
            self.loader.watch(False)

    def put_back(self):
        module, ours, theirs = self.backward
        if module.backward is theirs:
            module.backward = ours
        self.passes.time_forward(True)
        if self.loader is not None:
            self.loader.watch(True)
        self.steps.hook()

    def plan(self):
        """How many steps need only be counted from here on."""
        self.planned = recorder.until_next()
        if self.loader is not None:
            # One may have been fetched ahead.
            whole = self.loader.whole_batches(self.size) // self.fetches
            self.planned = min(self.planned, whole - 1)
        return self.planned

    @harmless
    def ends(self):
        self.in_vain = 0
        self.account()
        # It costs more than a few steps that are looked into to begin with it anew.
        if recorder.sparing and self.plan() >= 2:
            self.begin(self.optimizer())
        else:
            self.look()

    @harmless
    def interrupted(self):
        """By something else than a step."""
        self.in_vain = 0 if self.counted() >= WORTH else self.in_vain + 1
        self.possible = self.in_vain < IN_VAIN
        self.account()
        # Of the step that is under way only the rest is seen.
        recorder.looked -= 1
        self.look()

    @harmless
    def account(self):
        """Tell of the steps that were counted."""
        steps, samples = self.counted(), None
        if self.loader is not None:
            own = self.loader.iterator()
            # One that is gone was left after a step.
            samples = steps * self.fetches * self.size
            if own is not None:
                samples = self.size * (own._num_yielded - self.yielded)
        if steps and not recorder.by_steps:
            recorder.passed(steps, samples, self.fetches * (self.size or 0), self.size)

    @harmless
    def look(self):
        """Into each step again."""
        if not self.counting:
            return
        self.counting = False
        optimizer = self.optimizer()
        if optimizer is not None:
            vars(optimizer).pop(self.AFTER_STEP, None)
        self.put_back()
        if self.loader is not None:
            self.loader.expect()


sparing = Sparing()
