"""DataLoaders: what is asked of them, and what they give."""

import collections
import functools
import threading
import weakref

from hpcbench_probe.batches import batch_size
from hpcbench_probe.guard import complain, harmless
from hpcbench_probe.pytorch.digest import digest
from hpcbench_probe.pytorch.fetched import fetched
from hpcbench_probe.pytorch.passes import passes
from hpcbench_probe.pytorch.sparing import sparing
from hpcbench_probe.pytorch.steps import steps
from hpcbench_probe.recording import recorder

# Of loaders that give to no step there may be many: so many are remembered.
PENDING = 16


def loaders(module):
    base = module._BaseDataLoaderIter
    make, reset = base.__init__, base._reset

    @functools.wraps(make)
    def __init__(iterator, *args, **kwargs):
        sparing.stirred()
        make(iterator, *args, **kwargs)
        harmless(Loader)(iterator)

    @functools.wraps(reset)
    def _reset(iterator, *args, **kwargs):
        sparing.stirred()
        if "_hpcbench" in iterator.__dict__:
            iterator._hpcbench.asked.clear()
        return reset(iterator, *args, **kwargs)

    base.__init__, base._reset = __init__, _reset


class Loader:
    """What is kept of an iterator over a DataLoader, by its attribute ``_hpcbench``."""

    def __init__(self, iterator):
        # Samples of the batches that are under way; workers are asked ahead.
        self.asked = collections.deque()
        # Whether indices come a batch at a time.
        self.batches = getattr(iterator, "_auto_collation", False)
        self.iterator = weakref.ref(iterator)
        # From an iterable data set, whose last batch may be smaller than asked; whether its
        # batches' first dimension was seen to be that of samples.
        self.streams = getattr(iterator, "_dataset_kind", 0) == 1
        self.by_dimension = False
        iterator._hpcbench = self
        self.plain = type(iterator)
        self.watched = watched(self.plain)
        self.watch(True)

    def watch(self, so):
        """Whether each batch is told of."""
        iterator = self.iterator()
        if iterator is not None:
            iterator.__class__ = self.watched if so else self.plain

    def streamed(self, size, batch):
        first = batch_size(batch)
        if self.by_dimension and first is not None and first < size:
            return first
        self.by_dimension = self.by_dimension or first == size
        return size

    def whole_batches(self, size):
        """How many more will have so many samples for sure; 0 where that cannot be known."""
        iterator = self.iterator()
        sampler = getattr(iterator, "_index_sampler", None)
        kind = type(sampler)
        known = (kind.__name__, kind.__module__) == ("BatchSampler", "torch.utils.data.sampler")
        if self.streams or not self.batches or not known or sampler.batch_size != size:
            return 0
        return len(sampler) - 1 - iterator._num_yielded

    def expect(self):
        """Know what is under way when it was not seen to be asked for."""
        iterator = self.iterator()
        if iterator is None:
            return
        sampler, under_way = iterator._index_sampler, 0
        if iterator._num_workers:
            under_way = iterator._send_idx - iterator._rcvd_idx
        self.asked = collections.deque([sampler.batch_size] * under_way)
        rest = len(sampler.sampler) % sampler.batch_size
        last = iterator._num_yielded + under_way == len(sampler)
        if under_way and rest and last and not sampler.drop_last:
            self.asked[-1] = rest


@functools.cache
def watched(kind):
    """A class of iterators that are of this one and tell of each batch. A single iterator can be
    made one and be let go: after a change to a class Python is slow for a while wherever it is
    used."""
    next_batch, next_index = kind.__next__, kind._next_index
    waiting = recorder.waiting

    def __next__(iterator):
        if sparing.counting:
            # From another one than is trained on.
            sparing.stirred()
        since = waiting()
        batch = next_batch(iterator)
        came(iterator, batch, since)
        return batch

    def _next_index(iterator):
        index = next_index(iterator)
        try:
            loader = iterator._hpcbench
            known = loader.batches and hasattr(index, "__len__")
            loader.asked.append(len(index) if known else None)
        except Exception as error:
            complain("asked", error)
        return index

    ours = {"__next__": __next__, "_next_index": _next_index}
    as_theirs = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind.__name__, (kind,), ours | as_theirs)


def came(iterator, batch, since):
    """A batch that was waited for ``since`` then; in each step, so this calls little."""
    try:
        loader = iterator._hpcbench
        size = loader.asked.popleft() if loader.asked else None
        if recorder.lines is None and loader not in fetched.digests:
            fetched.digests[loader] = digest(batch)
        if recorder.by_steps:
            return
        recorder.waited_since(*since)
        if loader.streams and size is not None:
            size = loader.streamed(size, batch)
        elif size == 1 and batch_size(batch) != 1:
            # The data set's items may be batches.
            size = None
        # Steps that failed are over, unless another thread fetches.
        if steps.within and recorder.thread == threading.get_ident():
            steps.within.clear()
        pending = fetched.pending
        if loader in pending:
            before, *asked = pending[loader]
            size_so_far = None if None in (before, size) else before + size
            pending[loader] = size_so_far, *asked
        else:
            if len(pending) > PENDING:
                pending.clear()
            began, waited, _ = since
            parts = waited, recorder.forward, recorder.backward
            pending[loader] = size, began, passes.backwards, parts
        fetched.loader, fetched.size = loader, size
    except Exception as error:
        complain("came", error)
