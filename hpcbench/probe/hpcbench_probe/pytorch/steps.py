"""Steps of optimizers, and which of them are steps of training."""

import time
import weakref

from hpcbench_probe.guard import complain
from hpcbench_probe.pytorch.evaluation import evaluation
from hpcbench_probe.pytorch.facts import compared, facts
from hpcbench_probe.pytorch.fetched import fetched
from hpcbench_probe.pytorch.passes import passes
from hpcbench_probe.pytorch.sparing import QUIET, sparing
from hpcbench_probe.pytorch.trained import parameters, trained
from hpcbench_probe.recording import recorder

# Another optimizer is the one that trains once it took so many steps and that before it none.
TAKES_OVER = 100


class Steps:
    def __init__(self):
        self.forget()
        # Whether an optimizer but the counted one has stepped since that did.
        self.another = False
        # Of hooks before and after each step: all, the number of ours, and ours.
        self.hooks = ()

    def forget(self):
        """As if nothing had been trained yet."""
        trained.optimizer, trained.weights, trained.models = None, (), 0
        # Whether others train what the counted one does, and their steps since its last one; those
        # whose steps have begun, one within the other.
        self.kin, self.others = weakref.WeakKeyDictionary(), weakref.WeakKeyDictionary()
        self.within = []
        # Samples of the last step.
        self.of_step = None

    def optimizers(self, module):
        if hasattr(module, "register_optimizer_step_post_hook"):
            before = module.register_optimizer_step_pre_hook(self.begins)
            after = module.register_optimizer_step_post_hook(self.stepped)
            self.hooks = (
                (module._global_optimizer_pre_hooks, before.id, self.begins),
                (module._global_optimizer_post_hooks, after.id, self.stepped),
            )
            sparing.steps, sparing.every = self, module.Optimizer

    def unhook(self):
        for hooks, number, _ in self.hooks:
            hooks.pop(number, None)
        self.within.clear()

    def hook(self):
        for hooks, number, ours in self.hooks:
            hooks[number] = ours

    def begins(self, optimizer, *_):
        # This and what follows are in each step, so they call little.
        within = self.within
        if within and within[0] == id(optimizer):
            # A step that began before and did not end has failed.
            within.clear()
        within.append(id(optimizer))
        if recorder.steps == 2 and trained.counted() is optimizer and not recorder.by_steps:
            # Which ranks may average instead of gradients.
            recorder.lines.write(kind="also", weights=compared(optimizer, lambda p: p))

    def counts(self, optimizer):
        """Whether it is that one, or trains what that one did and does no more."""
        counted = trained.counted()
        if counted is optimizer or counted is None:
            return True
        if optimizer not in self.kin:
            ours, theirs = ({id(p) for p in parameters(one)} for one in (counted, optimizer))
            self.kin[optimizer] = not ours.isdisjoint(theirs)
        others = self.others[optimizer] = self.others.get(optimizer, 0) + 1
        self.another = True
        if self.kin[optimizer]:
            return others > 1
        if others < TAKES_OVER:
            return False
        # What passed since the last step that was counted was none of those that follow.
        seconds = time.perf_counter() - recorder.last
        recorder.take_out(seconds, recorder.parts_before, recorder.parts())
        recorder.last = time.perf_counter()
        return True

    def stepped(self, optimizer, *_):
        try:
            within, identity = self.within, id(optimizer)
            if identity not in within:
                # A part of one that has counted.
                return
            while within.pop() != identity:
                pass
            if within or recorder.by_steps:
                return
            if trained.optimizer is None or trained.optimizer() is not optimizer:
                sparing.quiet = 0
                if not self.counts(optimizer):
                    return
                if trained.count(optimizer) and recorder.lines is not None:
                    recorder.lines.write(kind="also", models=trained.models)
                self.kin.clear()
            if self.another:
                self.another = False
                self.others.clear()
            if evaluation.evaluating is not None:
                evaluation.left_without_a_word()
            samples = None if fetched.loader is None else fetched.for_step()
            recorder.step(facts, samples, 1, optimizer, fetched.size)
            sparing.quiet = sparing.quiet + 1 if samples == self.of_step else 0
            self.of_step = samples
            if recorder.sparing and sparing.quiet > QUIET and not passes.compiled:
                sparing.count(optimizer, fetched.loader, samples, fetched.size)
            elif recorder.steps == 1:
                passes.watch(optimizer)
        except Exception as error:
            complain("Steps.stepped", error)


steps = Steps()
