"""What loaders gave, and for which steps."""

from hpcbench_probe.pytorch.sparing import sparing
from hpcbench_probe.recording import recorder

# Steps in a row in which several loaders gave samples, after which theirs are not added up.
CROWDED = 3
# Of a loader that gave nothing.
NOTHING = 0, 0.0, 0, None


class Fetched:
    def __init__(self):
        self.forget()
        # How many samples the last batch was asked for.
        self.size = None
        self.crowded = 0
        # Of each loader's first batch, until training has begun.
        self.digests = {}

    def forget(self):
        """As if nothing had been trained yet."""
        # Since the last step, by loader: samples, None where not known, when it was asked first,
        # how many backward passes there had been, and the parts of steps.
        self.pending = {}
        # The last that gave a batch, and those that did so before a step.
        self.loader = None
        self.trained_on = set()

    def for_step(self):
        """Samples since the last step; None where they are not known."""
        pending, loader = self.pending, self.loader
        # Some fetch a batch ahead, so that at the end of an epoch nothing is fetched for a step.
        samples, asked, backwards, parts = pending.get(loader, NOTHING)
        if len(pending) < 2 and (loader in pending or not pending):
            self.crowded = 0
            pending.clear()
            self.trained_on.add(loader)
            return samples
        sparing.quiet = 0
        self.crowded += 1
        before = {other: one for other, one in pending.items() if other != loader}
        evaluated = self.trained_on.isdisjoint(before) and all(
            one[1] < asked and one[2] == backwards for one in before.values()
        )
        if evaluated and recorder.steps and self.crowded < CROWDED:
            # Without a word to the model, as far as there was none.
            told = recorder.paused - recorder.paused_before
            if recorder.pause_began is None:
                seconds = max(0.0, asked - recorder.last - told)
                recorder.take_out(seconds, recorder.parts_before, parts)
            recorder.last = max(asked, recorder.last)
        pending.clear()
        self.trained_on.add(loader)
        return samples if evaluated and self.crowded < CROWDED else None

    def asked(self):
        """When the batch of the step that is under way was asked for, 0 where none was; and the
        parts of steps then."""
        _, asked, _, parts = self.pending.get(self.loader, NOTHING)
        return asked, parts

    def forget_others(self):
        """But the loader that gave last."""
        self.pending = {self.loader: self.pending[self.loader]}

    def remembered(self):
        return self.loader, dict(self.pending), self.size

    def restore(self, remembered):
        self.loader, self.pending, self.size = remembered


fetched = Fetched()
