"""How long the forward and the backward pass take."""

import functools
import time
import types

from hpcbench_probe.guard import harmless
from hpcbench_probe.process import connected
from hpcbench_probe.pytorch.sparing import sparing
from hpcbench_probe.pytorch.trained import parameters, trained
from hpcbench_probe.recording import recorder


class Passes:
    def __init__(self):
        self.compiled = False
        # What times the forward pass, while that and the backward pass are timed.
        self.timed = None
        self.in_backward = False
        self.backwards = 0

    def compiler(self, module):
        if not hasattr(module, "compile"):
            return
        original = module.compile

        @functools.wraps(original)
        def compile(*args, **kwargs):
            # Python within a forward pass would break its graph.
            self.compiled = True
            sparing.stirred()
            self.unwatch()
            return original(*args, **kwargs)

        module.compile = compile

    @harmless
    def watch(self, optimizer):
        """Time the forward and the backward pass from the second step on, where they are nobody's
        but this rank's, and over when they return: not on a GPU, which works on."""
        own = trained.model()
        if own is None or self.compiled or getattr(own, "_compiled_call_impl", None) is not None:
            return
        # Of several that are not connected by DDP, what ranks exchange in it is not known.
        if trained.wrapper is None and connected() != 1:
            return
        if any(p.is_cuda or type(p).__name__ == "DTensor" for p in parameters(optimizer)):
            return
        kinds = [type(part).__name__ for part in own.modules()]
        if any(kind.startswith(("SyncBatchNorm", "FullySharded", "FSDP")) for kind in kinds):
            return
        # Of its class, since what is put into a module itself is saved and scripted with it.
        kind = type(own)
        if "__call__" not in kind.__dict__:
            self.timed = kind.__call__ = Timed(kind)

    def unwatch(self):
        self.time_forward(False)
        self.timed = None

    @harmless
    def time_forward(self, so):
        if self.timed is None:
            return
        kind = self.timed.kind
        if so and "__call__" not in kind.__dict__:
            kind.__call__ = self.timed
        elif not so and kind.__dict__.get("__call__") is self.timed:
            del kind.__call__

    def gradients(self, module):
        original = module.backward

        @functools.wraps(original)
        def backward(*args, **kwargs):
            self.backwards += 1
            # A pass may hold others, as of what is computed anew.
            if self.timed is None or self.in_backward:
                return original(*args, **kwargs)
            self.in_backward = True
            began = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                recorder.backward += time.perf_counter() - began
                self.in_backward = False

        module.backward = backward
        sparing.passes, sparing.backward = self, (module, backward, original)


class Timed:
    """In the place of a module class's inherited ``__call__``: times the forward pass of one of its
    modules in training. Where the class is saved with its content it is what it stands for."""

    def __init__(self, kind):
        self.kind = kind
        inherited = super(kind, kind).__call__
        clock = time.perf_counter

        def call(module, *args, **kwargs):
            if not module.training or trained.own is None or trained.own() is not module:
                return super(kind, module).__call__(*args, **kwargs)
            began = clock()
            try:
                return inherited(module, *args, **kwargs)
            finally:
                recorder.forward += clock() - began

        self.call = call

    def __get__(self, module, kind=None):
        return self if module is None else types.MethodType(self.call, module)

    def __call__(self, module, *args, **kwargs):
        return self.call(module, *args, **kwargs)

    def __reduce__(self):
        return getattr, (self.kind.__mro__[1], "__call__")


passes = Passes()
