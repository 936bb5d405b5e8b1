"""Ranks that DistributedDataParallel (DDP) connects."""

import functools
import weakref

from hpcbench_probe.guard import harmless
from hpcbench_probe.pytorch.sparing import sparing
from hpcbench_probe.pytorch.trained import trained
from hpcbench_probe.recording import recorder


class Exchange:
    """Of gradients, as DDP tells of it."""

    def __init__(self):
        self.wrappers = weakref.WeakSet()
        # How often they time an iteration.
        self.rate = 100

    def parallel(self, module):
        original = module.DistributedDataParallel.__init__

        @functools.wraps(original)
        def __init__(wrapper, *args, **kwargs):
            original(wrapper, *args, **kwargs)
            self.wraps(wrapper)

        module.DistributedDataParallel.__init__ = __init__

    @harmless
    def wraps(self, wrapper):
        sparing.stirred()
        # What ranks exchange in a forward pass, the wrapper exchanges around its module's.
        trained.own, trained.wrapper = weakref.ref(wrapper.module), weakref.ref(wrapper)
        self.wrappers.add(wrapper)
        recorder.exposed = self.exposed

    def exposed(self):
        """By the last iteration that DDP timed, for how many seconds of it gradients were under way
        when the rank had no more of its backward pass to compute; DDP does so by itself, on GPUs by
        events. Empty where it does not tell, where several exchange, and where its iterations are
        no steps."""
        try:
            (wrapper,) = self.wrappers
            if not trained.on_gpu and self.rate != recorder.look:
                # On GPUs it waits for the iteration before, each time.
                self.rate = recorder.look
                wrapper._set_ddp_runtime_logging_sample_rate(self.rate)
            told = wrapper._get_ddp_logging_data()
            under_way = told["backward_comm_time"] - told["backward_compute_comm_overlap_time"]
            ahead = told["iteration"] - recorder.steps
            alike = -10 - max(100, self.rate) <= ahead <= 10
            if told["backward_comm_time"] <= 0 or not alike:
                return {}
            return {told["iteration"]: round(max(0, under_way) / 1e9, 6)}
        except Exception:
            return {}


exchange = Exchange()
