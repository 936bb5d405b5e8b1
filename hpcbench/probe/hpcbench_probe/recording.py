"""What one process does, added up, and told in a line now and then."""

import functools
import os
import platform
import threading
import time

from hpcbench_probe.framework import Framework
from hpcbench_probe.guard import harmless
from hpcbench_probe.lines import Lines
from hpcbench_probe.process import facts_of_process
from hpcbench_probe.stacks import listen

FOLDER = os.environ.get("HPCBENCH_PROBE", "")
# Seconds between two lines, about; a device's queue is emptied before each.
INTERVAL = float(os.environ.get("HPCBENCH_PROBE_SECONDS", "0.5"))
# How often a line tells of what a framework timed by itself.
LOOKS = 6
# To look into a step of PyTorch's costs some 0.04 ms, more than half a per cent of those shorter
# than this: of these only the steps of the first lines and then of some lines in so many are to be
# looked into, others may be counted, if they are as many as it is worth.
SHORT_STEP, LOOKED_LINES, LINES, WORTH = 0.008, 4, 128, 16
FIRST_LINES = int(os.environ.get("HPCBENCH_PROBE_FIRST_LINES", "16"))


class Recorder:
    """What one process does, and its file; made by the first step."""

    # Whose steps are counted; it is told of what begins, and asked for what it knows.
    framework = Framework()

    def __init__(self):
        self.process = os.getpid()
        # The process that it was forked from, which may have trained before.
        self.forked_from = None
        self.lock = threading.Lock()
        # None before the first step.
        self.lines = None
        # The one that takes its steps, once it is known.
        self.thread = None
        self.steps = 0
        # Of these so many were looked into for all that is told of them; whether a framework to
        # which that costs something may just count for now, and the seconds of a step, by the last
        # line.
        self.looked = 0
        self.sparing = False
        self.usual = 0.0
        self.samples = 0
        # Whether each sample so far was seen to be fetched.
        self.counted = True
        self.waited = 0.0
        # Whether another thread waits for data, which may be ready before a step needs them; then
        # it is not known for how long steps wait.
        self.fetches_ahead = False
        # In the model's forward pass and within the backward pass, where those are seen.
        self.forward = 0.0
        self.backward = 0.0
        self.paused = 0.0
        # That, and the parts of steps, at the last step; and these when the pause began.
        self.paused_before, self.parts_before = 0.0, self.parts()
        self.pause_began = self.parts_at_pause = None
        self.longest = 0.0
        self.last = time.perf_counter()
        self.line_at = self.last
        self.steps_at_line, self.paused_at_line = 0, 0.0
        # Lines stand at multiples of this power of two, so that ranks have them in common.
        self.every = 1
        # Whether the program itself says where its steps are; then nothing else counts them.
        self.by_steps = False
        # How many steps trained on so many samples, and came with a batch of so many.
        self.sizes = {}
        self.fetched = {}
        self.synchronize = _nothing
        # What asks a framework for an iteration and its exchange, at which multiples of steps, and
        # what it told since a line.
        self.exposed = None
        self.look = 1
        self.told = {}
        # Epoch time of perf_counter's zero: ranks' clocks are compared by it.
        self.zero = time.time() - self.last

    def step(self, facts, samples=None, steps=1, of=None, fetched=None):
        """A step of training was taken, on so many ``samples``, of which the loader gives so many
        (``fetched``; default: all) at a time; ``facts`` (of ``of``, if that is given) are asked
        for once."""
        now = time.perf_counter()
        if self.lines is None:
            self.thread = self.thread or threading.get_ident()
            self._open(facts if of is None else functools.partial(facts, of))
        took = now - self.last
        self.last, self.paused_before, self.parts_before = now, self.paused, self.parts()
        self.steps += steps
        self.looked += steps
        if samples is None:
            self.counted = False
        else:
            self.samples += samples
            a_step = samples // steps
            self.sizes[a_step] = self.sizes.get(a_step, 0) + steps
            if fetched is None:
                fetched = a_step
        if fetched is not None:
            self.fetched[fetched] = self.fetched.get(fetched, 0) + steps
        self.longest = max(self.longest, took)
        self._due(now, steps > 1)

    def passed(self, steps, samples, a_step, fetched):
        """So many steps were only counted since the last one, most on ``a_step`` samples."""
        now = time.perf_counter()
        # How much longer they took than such steps do is longer than any of them was, or nearly.
        self.longest = max(self.longest, now - self.last - steps * self.usual)
        self.last, self.paused_before, self.parts_before = now, self.paused, self.parts()
        self.steps += steps
        if samples is None:
            self.counted = False
        else:
            self.samples += samples
            self.sizes[a_step] = self.sizes.get(a_step, 0) + steps
            self.fetched[fetched] = self.fetched.get(fetched, 0) + steps
        self._due(now, False)

    def _due(self, now, several):
        if self.exposed is not None and self.steps % self.look == 0:
            self.told.update(self.exposed())
        if self.steps % self.every == 0 or several:
            self._line(now)

    def until_next(self):
        """How many steps there are until something is done with one."""
        left = self.every - self.steps % self.every
        return left if self.exposed is None else min(left, self.look - self.steps % self.look)

    def _line(self, now):
        if now - self.line_at < INTERVAL / 2:
            if self.steps > 16 and self.steps % (2 * self.every) == 0:
                self.every *= 2
                # Of three, since what loaders and programs do now and then is at multiples of two.
                if 3 * self.look * LOOKS <= self.every:
                    self.look *= 3
            if self.steps > 16:
                return
        self.synchronize()
        now = time.perf_counter()
        self.lines.write(
            kind="steps",
            steps=self.steps,
            looked=self.looked,
            samples=self.samples if self.counted else None,
            at=self.zero + now,
            waited=None if self.fetches_ahead else round(self.waited, 6),
            forward=round(self.forward, 6),
            backward=round(self.backward, 6),
            exposed=sorted(self.told.items()),
            paused=round(self.paused, 6),
            longest=round(self.longest, 6),
            batch=_commonest(self.sizes),
            batch_share=_share_of_commonest(self.sizes),
            fetched=_commonest(self.fetched),
        )
        steps, paused = self.steps - self.steps_at_line, self.paused - self.paused_at_line
        self.usual = max(0.0, now - self.line_at - paused) / steps
        number = self.steps // self.every
        seen = number >= FIRST_LINES and number % LINES >= LOOKED_LINES
        self.sparing = seen and self.usual < SHORT_STEP and self.every >= WORTH
        self.steps_at_line, self.paused_at_line = self.steps, self.paused
        self.line_at = self.last = time.perf_counter()
        self.longest = 0.0
        self.told = {}

    def _open(self, facts):
        path = os.path.join(FOLDER, f"{platform.node()}-{os.getpid()}.jsonl")
        with self.lock:
            if self.lines is not None:
                return
            self.lines = Lines(path)
        listen(path.replace(".jsonl", ".stack"))
        known = {"kind": "facts", "batch_digest": self.framework.first_batch()}
        known["forked_from"] = self.forked_from
        for told in (facts_of_process, facts):
            try:
                known.update(told())
            except Exception as error:
                known["untold"] = repr(error)
        self.lines.write(**known)

    @harmless
    def pause(self, begins):
        """Evaluation or a checkpoint begins or ends."""
        self.framework.stirred()
        now = time.perf_counter()
        if begins and self.pause_began is None:
            self.pause_began, self.parts_at_pause = now, self.parts()
        elif not begins and self.pause_began is not None:
            self.take_out(now - self.pause_began, self.parts_at_pause, self.parts())
            self.pause_began = None

    def take_out(self, seconds, since, until):
        """So many seconds were a pause, and what was added to the parts of steps meanwhile."""
        self.paused += seconds
        self.waited, self.forward, self.backward = map(_less, self.parts(), since, until)

    def parts(self):
        """Of all steps so far the seconds of each part that is timed."""
        return self.waited, self.forward, self.backward

    def waiting(self):
        """What ``waited_since`` is to be told, now that a wait for data begins."""
        return time.perf_counter(), self.waited, self.paused

    def waited_since(self, began, waited, paused):
        """The wait is over. What was added within it counts once, and a pause in it not at all."""
        if self.thread is None or self.thread == threading.get_ident():
            self.waited = waited + time.perf_counter() - began - (self.paused - paused)
        else:
            self.fetches_ahead = True

    def forked(self):
        """A child that trains is a process of its own; one that loads data takes no step."""
        parent = self.process if self.lines is not None else None
        self.__init__()
        self.forked_from = parent
        self.framework.forget()

    def end(self):
        if self.lines is not None and self.process == os.getpid():
            self.framework.stirred()
            now = time.perf_counter()
            self.lines.write(kind="end", steps=self.steps, at=self.zero + now)


def _nothing():
    return None


def _less(part, since, until):
    return part - max(0.0, until - since)


def _commonest(counts):
    return max(counts, key=counts.get) if counts else None


def _share_of_commonest(counts):
    return round(max(counts.values()) / sum(counts.values()), 3) if counts else None


recorder = Recorder()
