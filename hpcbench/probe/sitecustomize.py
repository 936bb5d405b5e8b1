"""Counts the steps of a training program from within, without a change to it.

Python imports a module of this name when it starts, if its folder is in PYTHONPATH. It needs
nothing but Python 3.9 or later, whose standard library is all that it knows, and does nothing until
the program imports a framework and takes a step of training. A process that does writes a file of
its own into the folder HPCBENCH_PROBE, a JSON object a line, for ``hpcbench.programs.probe_lines``.
"""

import atexit
import collections
import functools
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import itertools
import json
import operator
import os
import platform
import sys
import threading
import time
import types
import weakref

FOLDER = os.environ.get("HPCBENCH_PROBE", "")
# Seconds between two lines, about; a device's queue is emptied before each.
INTERVAL = float(os.environ.get("HPCBENCH_PROBE_SECONDS", "0.5"))
# How often a counter that only a framework's graph moves is looked at.
POLL = 0.02
# Of a batch so much is looked at, to tell whether ranks train on the same samples.
HASHED_BYTES = 1 << 20
# How often a line tells of what a framework timed by itself.
LOOKS = 6
# So many tensors, and of each so many numbers, tell whether ranks have the same.
COMPARED_TENSORS, COMPARED_NUMBERS = 16, 4096
# To look into a step costs some 0.04 ms, more than half a per cent of those shorter than this: of
# these only the steps of the first lines and then of some lines in so many are looked into, others
# are counted, after so many in which nothing but training was seen.
SHORT_STEP, LOOKED_LINES, LINES, QUIET = 0.008, 4, 128, 4
# So often in a row it may be in vain, which it is for fewer steps than so many times these.
IN_VAIN, WORTH = 4, 4
FIRST_LINES = int(os.environ.get("HPCBENCH_PROBE_FIRST_LINES", "16"))
# Another optimizer is the one that trains once it took so many steps and that before it none.
TAKES_OVER = 100
# Steps in a row in which several loaders gave samples, after which theirs are not added up.
CROWDED = 3
# Libraries under which each rank has a part of the gradients.
SHARDING = ("deepspeed", "megatron", "colossalai", "fairscale", "torchrec")
# Other libraries by which processes may train together.
CONNECTING = (
    "mpi4py",
    "torch_xla",
    "byteps",
    "bagua",
    "cupy",
    "ray",
    "oneccl_bindings_for_pytorch",
)
# By launcher: rank and world size.
RANKS = (
    ("HOROVOD_RANK", "HOROVOD_SIZE"),
    ("RANK", "WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
)


def harmless(function):
    """Whatever goes wrong in it is said once, and the program goes on."""

    @functools.wraps(function)
    def guarded(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except Exception as error:
            complain(function.__qualname__, error)

    return guarded


def complain(what, error):
    if what not in complained:
        complained.add(what)
        print(f"hpcbench probe: {what}: {error!r}", file=sys.stderr)


complained = set()


class Recorder:
    """What one process does, and its file; made by the first step."""

    def __init__(self):
        self.process = os.getpid()
        # The process that it was forked from, which may have trained before.
        self.forked_from = None
        self.lock = threading.Lock()
        self.file = None
        # The one that takes its steps.
        self.thread = None
        self.steps = 0
        # Of these so many were looked into for all that is told of them; whether that is enough for
        # now, and the seconds of a step, by the last line.
        self.looked = 0
        self.sparing = False
        self.usual = 0.0
        self.samples = 0
        # Whether each sample so far was seen to be fetched.
        self.counted = True
        self.waited = 0.0
        # In the model's forward pass and within the backward pass, where those are seen.
        self.forward = 0.0
        self.backward = 0.0
        self.paused = 0.0
        # That at the last step.
        self.paused_before = 0.0
        self.pause_began = None
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
        if self.file is None:
            self.thread = threading.get_ident()
            self._open(facts if of is None else functools.partial(facts, of))
        took = now - self.last
        self.last, self.paused_before = now, self.paused
        self.steps += steps
        if not self.sparing:
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

    def spare(self, so):
        self.sparing = so
        pytorch.time_forward(not so)

    def passed(self, steps, samples, a_step, fetched):
        """So many steps were only counted since the last one, most on ``a_step`` samples."""
        now = time.perf_counter()
        # How much longer they took than such steps do is longer than any of them was, or nearly.
        self.longest = max(self.longest, now - self.last - steps * self.usual)
        self.last, self.paused_before = now, self.paused
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
        self.write(
            kind="steps",
            steps=self.steps,
            looked=self.looked,
            samples=self.samples if self.counted else None,
            at=self.zero + now,
            waited=round(self.waited, 6),
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
        worth_it = self.usual < SHORT_STEP and self.every >= WORTH * QUIET
        self.spare(seen and worth_it and sparing.possible)
        self.steps_at_line, self.paused_at_line = self.steps, self.paused
        self.line_at = self.last = time.perf_counter()
        self.longest = 0.0
        self.told = {}

    def _open(self, facts):
        with self.lock:
            if self.file is not None:
                return
            self.path = os.path.join(FOLDER, f"{platform.node()}-{os.getpid()}.jsonl")
            try:
                self._reopen()
            except OSError as error:
                # The program is not to suffer for a folder that it may not write to.
                print(f"hpcbench probe: cannot write its lines: {error}", file=sys.stderr)
                self.file = open(os.devnull, "ab", buffering=0)
                self.identity = _identity(self.file)
        _listen(self.path.replace(".jsonl", ".stack"))
        known = {"kind": "facts", "batch_digest": pytorch.digests.get(pytorch.loader)}
        known["forked_from"] = self.forked_from
        for told in (_of_process, facts):
            try:
                known.update(told())
            except Exception as error:
                known["untold"] = repr(error)
        self.write(**known)

    def _reopen(self):
        # Each line is one write, so that nothing is lost where the process just ends.
        self.file = open(self.path, "ab", buffering=0)
        self.identity = _identity(self.file)

    def write(self, **line):
        try:
            if _identity(self.file) != self.identity:
                # The program closed files that are not its own; the number may be another's now,
                # which must stay open.
                lost.append(self.file)
                self._reopen()
            self.file.write((json.dumps(line) + "\n").encode())
        except Exception:
            # The program is not to suffer for a disk that is full.
            pass

    @harmless
    def pause(self, begins):
        """Evaluation or a checkpoint begins or ends."""
        pytorch.stirred()
        now = time.perf_counter()
        if begins and self.pause_began is None:
            self.pause_began = now
        elif not begins and self.pause_began is not None:
            self.paused += now - self.pause_began
            self.pause_began = None

    def end(self):
        if self.file is not None and self.process == os.getpid():
            pytorch.stirred()
            self._final(time.perf_counter())

    def _final(self, now):
        self.write(kind="end", steps=self.steps, at=self.zero + now)


def _nothing():
    return None


def _identity(file):
    """Which file a descriptor is; None where it is closed."""
    try:
        found = os.fstat(file.fileno())
    except (AttributeError, OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _commonest(counts):
    return max(counts, key=counts.get) if counts else None


def _share_of_commonest(counts):
    return round(max(counts.values()) / sum(counts.values()), 3) if counts else None


recorder = Recorder()
# Files that somebody else closed.
lost = []


def _after_fork():
    # A child that trains is a process of its own; one that loads data takes no step.
    parent = recorder.process if recorder.file is not None else None
    recorder.__init__()
    recorder.forked_from = parent
    pytorch.forget()
    sparing.look()


def _listen(path):
    """Let SIGUSR2 write where each thread is, if the program has no use for it itself."""
    import faulthandler
    import signal

    try:
        if signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL:
            faulthandler.register(signal.SIGUSR2, file=open(path, "w"), all_threads=True)
    except Exception:
        pass


def _of_process():
    facts = {
        "host": platform.node(),
        "pid": os.getpid(),
        "python": platform.python_version(),
        "command": list(getattr(sys, "argv", [])),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "replicas": 1,
        "packages": {},
    }
    try:
        facts["folder"] = os.getcwd()
    except OSError:
        # It is gone.
        pass
    for rank, size in RANKS:
        if rank in os.environ and size in os.environ:
            try:
                facts["rank"], facts["size"] = int(os.environ[rank]), int(os.environ[size])
            except ValueError:
                continue
            break
    for name in ("torch", "tensorflow", "keras", "jax", "horovod", "lightning", "transformers"):
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            facts["packages"][name] = version
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "")
    facts["restarts"] = int(restarts) if restarts.isdecimal() else 0
    return facts


def connected():
    """How many processes train together with this one, by the library that connects them; None
    where that may be one that is not known here."""
    torch = sys.modules.get("torch")
    distributed = getattr(torch, "distributed", None)
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    for name in ("torch", "tensorflow", "keras"):
        horovod = sys.modules.get("horovod." + name)
        if horovod is not None and horovod.is_initialized():
            return horovod.size()
    if any(name in sys.modules for name in CONNECTING) or "TF_CONFIG" in os.environ:
        return None
    return 1


# PyTorch


class Torch:
    """Steps by the first optimizer that takes one, and what trains the same parameters later;
    samples by the loader that was asked last."""

    def __init__(self):
        self.forget()
        # Whether an optimizer but the counted one has stepped since that did.
        self.another = False
        # How many samples the last batch was asked for.
        self.size = None
        self.crowded = 0
        # Of each loader's first batch, until training has begun.
        self.digests = {}
        self.evaluating = None
        self.before = None
        self.depth = 0
        # The module whose forward pass is a rank's own work, and DDP's wrappers, the last and all;
        # how often they time an iteration.
        self.own = None
        self.wrapper = None
        self.wrappers = weakref.WeakSet()
        self.rate = 100
        self.on_gpu = False
        self.compiled = False
        # What times the forward pass, while that and the backward pass are timed.
        self.timed = None
        self.in_backward = False
        self.backwards = 0

    def forget(self):
        """As if nothing had been trained yet, which is so in a process that was forked."""
        # That which is counted; whether others train what it does, and their steps since its last
        # one; those whose steps have begun, one within the other.
        self.optimizer = None
        self.kin, self.others = weakref.WeakKeyDictionary(), weakref.WeakKeyDictionary()
        self.within = []
        # Since the last step, by loader: samples, None where not known, when it was asked first,
        # and how many backward passes there had been.
        self.pending = {}
        # The last that gave a batch, and those that did so before a step.
        self.loader = None
        self.trained_on = set()
        # Samples of the last step, and how many steps were like it, and nothing between them.
        self.of_step = None
        self.quiet = 0

    def optimizers(self, module):
        if hasattr(module, "register_optimizer_step_post_hook"):
            before = module.register_optimizer_step_pre_hook(self.begins)
            after = module.register_optimizer_step_post_hook(self.stepped)
            sparing.optimizers(module, before.id, after.id)

    def begins(self, optimizer, *_):
        # This and what follows are in each step, so they call little.
        within = self.within
        if within and within[0] == id(optimizer):
            # A step that began before and did not end has failed.
            within.clear()
        within.append(id(optimizer))
        if recorder.steps == 2 and self.counted() is optimizer and not recorder.by_steps:
            # Which ranks may average instead of gradients.
            recorder.write(kind="also", weights=self.compared(optimizer, lambda p: p))

    def counted(self):
        """The optimizer whose steps count; None where it is gone, or none has stepped."""
        return self.optimizer and self.optimizer()

    def counts(self, optimizer):
        """Whether it is that one, or trains what that one did and does no more."""
        counted = self.counted()
        if counted is optimizer or counted is None:
            return True
        if optimizer not in self.kin:
            ours = {id(p) for group in counted.param_groups for p in group["params"]}
            theirs = {id(p) for group in optimizer.param_groups for p in group["params"]}
            self.kin[optimizer] = not ours.isdisjoint(theirs)
        others = self.others[optimizer] = self.others.get(optimizer, 0) + 1
        self.another = True
        if self.kin[optimizer]:
            return others > 1
        if others < TAKES_OVER:
            return False
        # What passed since the last step that was counted was none of those that follow.
        recorder.paused += time.perf_counter() - recorder.last
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
            if self.optimizer is None or self.optimizer() is not optimizer:
                self.quiet = 0
                if not self.counts(optimizer):
                    return
                self.optimizer = weakref.ref(optimizer)
                self.kin.clear()
            if self.another:
                self.another = False
                self.others.clear()
            if self.evaluating is not None:
                self.left_without_a_word()
            samples = None if self.loader is None else self.fetched()
            recorder.step(self.facts, samples, 1, optimizer, self.size)
            self.quiet = self.quiet + 1 if samples == self.of_step else 0
            self.of_step = samples
            if recorder.sparing and self.quiet > QUIET:
                sparing.count(optimizer, self.loader, samples, self.size)
            elif recorder.steps == 1:
                self.watch(optimizer)
        except Exception as error:
            complain("Torch.stepped", error)

    def fetched(self):
        """Samples since the last step; None where they are not known."""
        pending, loader = self.pending, self.loader
        # Some fetch a batch ahead, so that at the end of an epoch nothing is fetched for a step.
        samples, asked, backwards = pending.get(loader, (0, 0.0, 0))
        if len(pending) < 2 and (loader in pending or not pending):
            self.crowded = 0
            pending.clear()
            self.trained_on.add(loader)
            return samples
        self.quiet = 0
        self.crowded += 1
        before = {other: one for other, one in pending.items() if other != loader}
        evaluated = self.trained_on.isdisjoint(before) and all(
            one[1] < asked and one[2] == backwards for one in before.values()
        )
        if evaluated and recorder.steps and self.crowded < CROWDED:
            # Without a word to the model, as far as there was none.
            told = recorder.paused - recorder.paused_before
            if recorder.pause_began is None:
                recorder.paused += max(0.0, asked - recorder.last - told)
            recorder.last = max(asked, recorder.last)
        pending.clear()
        self.trained_on.add(loader)
        return samples if evaluated and self.crowded < CROWDED else None

    def facts(self, optimizer):
        import torch

        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        found = {
            "framework": "torch",
            "parameters": sum(p.numel() for p in parameters),
            "dtypes": sorted({str(p.dtype).replace("torch.", "") for p in parameters}),
            "threads": torch.get_num_threads(),
            "connected": connected(),
            "gradients": self.compared(optimizer, lambda p: p.grad),
        }
        self.on_gpu = any(p.is_cuda for p in parameters)
        if self.on_gpu:
            recorder.synchronize = self.synchronize
            device = torch.cuda.get_device_properties(torch.cuda.current_device())
            found["device"] = device.name
            found["gpu"] = str(getattr(device, "uuid", torch.cuda.current_device()))
        distributed = torch.distributed
        if distributed.is_available() and distributed.is_initialized():
            found["rank"], found["size"] = distributed.get_rank(), distributed.get_world_size()
            found["backend"] = distributed.get_backend()
        return found

    @staticmethod
    def synchronize():
        import torch

        # Which a graph that is being recorded would not survive.
        if not torch.cuda.is_current_stream_capturing():
            torch.cuda.synchronize()

    def compared(self, optimizer, tensor_of):
        """Shape, sum and sum of magnitudes of some tensors, each of their first numbers, or None;
        None for all where ranks need not have the same, or that cannot be known."""
        try:
            return self._compared(optimizer, tensor_of)
        except Exception:
            return None

    def _compared(self, optimizer, tensor_of):
        if connected() == 1 or any(name in sys.modules for name in SHARDING):
            return None
        import torch

        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        marks = ("_is_flat_param", "_fsdp_flattened")
        kinds = {type(p).__name__ for p in parameters}
        flat = any(hasattr(p, mark) for p in parameters for mark in marks)
        if flat or kinds & {"DTensor", "FlatParameter"}:
            return None
        chosen = parameters[:: max(1, len(parameters) // COMPARED_TENSORS)][:COMPARED_TENSORS]
        found = []
        with torch.no_grad():
            for parameter in chosen:
                tensor = tensor_of(parameter)
                if tensor is None or tensor.is_sparse:
                    found.append(None)
                    continue
                some = tensor.detach().reshape(-1)[:COMPARED_NUMBERS].double()
                found.append([list(tensor.shape), float(some.sum()), float(some.abs().sum())])
        return found

    def loaders(self, module):
        base = module._BaseDataLoaderIter
        make, reset = base.__init__, base._reset

        @functools.wraps(make)
        def __init__(iterator, *args, **kwargs):
            self.stirred()
            make(iterator, *args, **kwargs)
            harmless(Loader)(iterator)

        @functools.wraps(reset)
        def _reset(iterator, *args, **kwargs):
            self.stirred()
            if "_hpcbench" in iterator.__dict__:
                iterator._hpcbench.asked.clear()
            return reset(iterator, *args, **kwargs)

        base.__init__, base._reset = __init__, _reset

    def came(self, iterator, batch, began):
        try:
            loader = iterator._hpcbench
            size = loader.asked.popleft() if loader.asked else None
            if recorder.file is None and loader not in self.digests:
                self.digests[loader] = digest(batch)
            if recorder.by_steps:
                return
            recorder.waited += time.perf_counter() - began
            if loader.streams and size is not None:
                size = loader.streamed(size, batch)
            # Steps that failed are over, unless another thread fetches.
            if self.within and recorder.thread == threading.get_ident():
                self.within.clear()
            pending = self.pending
            if loader in pending:
                before, asked, backwards = pending[loader]
                size_so_far = None if None in (before, size) else before + size
                pending[loader] = size_so_far, asked, backwards
            else:
                if len(pending) > COMPARED_TENSORS:
                    # Of loaders that give to no step there may be many.
                    pending.clear()
                pending[loader] = size, began, self.backwards
            self.loader, self.size = loader, size
        except Exception as error:
            complain("Torch.came", error)

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

    def parallel(self, module):
        original = module.DistributedDataParallel.__init__

        @functools.wraps(original)
        def __init__(wrapper, *args, **kwargs):
            original(wrapper, *args, **kwargs)
            self.wraps(wrapper)

        module.DistributedDataParallel.__init__ = __init__

    @harmless
    def wraps(self, wrapper):
        self.stirred()
        # What ranks exchange in a forward pass, the wrapper exchanges around its module's.
        self.own, self.wrapper = weakref.ref(wrapper.module), weakref.ref(wrapper)
        self.wrappers.add(wrapper)
        recorder.exposed = self.exposed

    def exposed(self):
        """By the last iteration that DDP timed, for how many seconds of it gradients were under way
        when the rank had no more of its backward pass to compute; DDP does so by itself, on GPUs by
        events. Empty where it does not tell, where several exchange, and where its iterations are
        no steps."""
        try:
            (wrapper,) = self.wrappers
            if not self.on_gpu and self.rate != recorder.look:
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

    def compiler(self, module):
        if not hasattr(module, "compile"):
            return
        original = module.compile

        @functools.wraps(original)
        def compile(*args, **kwargs):
            # Python within a forward pass would break its graph.
            self.compiled = True
            self.stirred()
            self.unwatch()
            return original(*args, **kwargs)

        module.compile = compile

    @harmless
    def watch(self, optimizer):
        """Time the forward and the backward pass from the second step on, where they are nobody's
        but this rank's, and over when they return: not on a GPU, which works on."""
        own = self.own and self.own()
        if own is None or self.compiled or getattr(own, "_compiled_call_impl", None) is not None:
            return
        # Of several that are not connected by DDP, what ranks exchange in it is not known.
        if self.wrapper is None and connected() != 1:
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if any(p.is_cuda or type(p).__name__ == "DTensor" for p in parameters):
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
        sparing.backward = module, backward, original

    def left_without_a_word(self):
        """It trains on without having left evaluation: of the whole model, until it asked for the
        batch of this step; of a part, which is kept as it is, that was none."""
        module, self.evaluating = self.evaluating(), None
        _, asked, _ = self.pending.get(self.loader, (0, 0.0, 0))
        whole = module is not None and module in (self.own and self.own(), self.module())
        if whole and recorder.pause_began is not None and asked > recorder.pause_began:
            recorder.paused += asked - recorder.pause_began
            recorder.last = max(asked, recorder.last)
            self.pending = {self.loader: self.pending[self.loader]}
        recorder.pause_began = None

    def module(self):
        """DDP's wrapper, if there is one."""
        return self.wrapper and self.wrapper()

    def stirred(self):
        """Something else than a step is done, so that the next ones are looked into."""
        self.quiet = 0
        if sparing.counting:
            sparing.interrupted()

    @harmless
    def switched(self, module, mode):
        self.stirred()
        if mode and (self.own is None or self.own() is None):
            self.own = weakref.ref(module)
        if not mode and self.evaluating is None and self.optimizer is not None:
            # A part that is kept frozen is switched so too: then the next step shows that what
            # was fetched meanwhile was trained on.
            self.evaluating = weakref.ref(module)
            self.before = self.loader, dict(self.pending), self.size
            recorder.pause(True)
        elif mode and self.evaluating is not None and self.holds(module, self.evaluating()):
            self.evaluating = None
            self.loader, self.pending, self.size = self.before
            recorder.pause(False)

    @staticmethod
    def holds(module, other):
        """Whether one is a part of the other, as a model is of DDP's wrapper."""
        if other is None:
            return False
        return any(part is other for part in module.modules()) or any(
            part is module for part in other.modules()
        )

    @staticmethod
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
    clock = time.perf_counter

    def __next__(iterator):
        if sparing.counting:
            # From another one than is trained on.
            pytorch.stirred()
        began = clock()
        batch = next_batch(iterator)
        pytorch.came(iterator, batch, began)
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


class Timed:
    """In the place of a module class's inherited ``__call__``: times the forward pass of one of its
    modules in training. Where the class is saved with its content it is what it stands for."""

    def __init__(self, kind):
        self.kind = kind
        inherited = super(kind, kind).__call__
        clock = time.perf_counter

        def call(module, *args, **kwargs):
            if not module.training or pytorch.own is None or pytorch.own() is not module:
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


class Sparing:
    """Leaves PyTorch as it is but for counting the steps of an optimizer, for a while.

    An optimizer calls a method that does nothing after each step, for PyTorch's profiler. Meanwhile
    an iterator written in C stands in its place, so that to count a step costs nothing.
    """

    AFTER_STEP = "_optimizer_step_code"

    def __init__(self):
        self.counting = False
        # Whether it may be done at all; how often in a row it was not worth it.
        self.possible = True
        self.in_vain = 0
        # Where PyTorch has it, ours and its own; the optimizers' hooks, and which of them are ours;
        # the class of all optimizers.
        self.backward = self.hooks = self.every = None
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

    def optimizers(self, module, before, after):
        hooks = module._global_optimizer_pre_hooks, module._global_optimizer_post_hooks
        self.hooks = *hooks, before, after
        self.every = module.Optimizer

    def notice(self):
        """Of what an optimizer does that is not counted; whether this version of PyTorch can."""
        if not self.notices and hasattr(self.every, self.AFTER_STEP):

            def after_step(optimizer):
                if self.counting:
                    pytorch.stirred()

            setattr(self.every, self.AFTER_STEP, after_step)
            self.notices = True
        return self.notices

    @harmless
    def count(self, optimizer, loader, samples, size):
        """Until a step with which something is to be done, as far as batches are all alike."""
        if not self.possible or pytorch.within or pytorch.another:
            return
        if pytorch.evaluating is not None or recorder.pause_began is not None or pytorch.compiled:
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
        self.unhook()
        pytorch.within.clear()
        yield

    def last(self):
        self.passed = 2
        self.ends()
        while True:
            yield

    def counted(self):
        return self.passed + self.planned - 2 - operator.length_hint(self.rest)

    def unhook(self):
        before, after, before_id, after_id = self.hooks
        before.pop(before_id, None)
        after.pop(after_id, None)

    def take_out(self):
        """Of ours what is called in each step, but hooks."""
        module, _, theirs = self.backward
        module.backward = theirs
        if self.loader is not None:
            self.loader.watch(False)

    def put_back(self):
        module, ours, theirs = self.backward
        if module.backward is theirs:
            module.backward = ours
        if self.loader is not None:
            self.loader.watch(True)
        before, after, before_id, after_id = self.hooks
        before[before_id], after[after_id] = pytorch.begins, pytorch.stepped

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
        self.in_vain = 0 if self.counted() >= WORTH * QUIET else self.in_vain + 1
        self.possible = self.in_vain < IN_VAIN
        self.account()
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
pytorch = Torch()


def batch_size(batch):
    """The first dimension of the first array of a batch, in whatever it is wrapped; else None."""
    try:
        return _batch_size(batch)
    except Exception:
        # Of arrays with a shape of their own.
        return None


def _batch_size(batch):
    if isinstance(batch, dict):
        batch = list(batch.values())
    if isinstance(batch, (list, tuple)):
        found = (_batch_size(part) for part in batch)
        return next((size for size in found if size is not None), None)
    shape = getattr(batch, "shape", None)
    return int(shape[0]) if shape is not None and len(shape) > 0 else None


def digest(batch):
    """Of all its arrays' first bytes; None where one is not on the host, or there is none."""
    found = hashlib.sha256()
    try:
        arrays = list(_arrays(batch))
        for array in arrays:
            found.update(array.reshape(-1)[: HASHED_BYTES // 8].numpy().tobytes())
    except Exception:
        return None
    return found.hexdigest()[:16] if arrays else None


def _arrays(batch):
    """Those of a batch that have a shape, such as masks; ranks may have the same one of these."""
    if isinstance(batch, dict):
        batch = list(batch.values())
    if isinstance(batch, (list, tuple)):
        for part in batch:
            yield from _arrays(part)
    elif getattr(batch, "shape", None) is not None:
        yield batch


# Horovod under TensorFlow


class Horovod:
    """Whether gradients may be averaged: an operation that does is at least made."""

    averages = False

    @classmethod
    def operations(cls, module):
        for name in ("_allreduce", "_grouped_allreduce", "_reducescatter"):
            original = getattr(module, name, None)
            if original is not None:
                setattr(module, name, cls.noticed(original))

    @classmethod
    def noticed(cls, original):
        @functools.wraps(original)
        def operation(*args, **kwargs):
            cls.averages = True
            return original(*args, **kwargs)

        return operation

    @classmethod
    def facts(cls):
        loaded = any("horovod." + name in sys.modules for name in ("tensorflow", "keras"))
        return {"averages": cls.averages} if loaded and (connected() or 1) > 1 else {}


# Keras, with any backend


class Keras:
    """Steps of ``fit`` by a callback; of a loop of one's own by the optimizer's counter."""

    fitting = False
    watched = None

    @classmethod
    def models(cls, keras):
        original = keras.Model.fit
        signature = inspect.signature(original)

        @functools.wraps(original)
        def fit(self, *args, **kwargs):
            cls.fitting = True
            try:
                given = cls.with_callback(keras, signature, self, args, kwargs)
                args, kwargs = (given.args, given.kwargs) if given else ((self, *args), kwargs)
                return original(*args, **kwargs)
            finally:
                cls.fitting = False

        keras.Model.fit = fit
        apply = keras.optimizers.Optimizer.apply

        @functools.wraps(apply)
        def applied(self, *args, **kwargs):
            if not cls.fitting and cls.watched is None:
                cls.watched = self
                threading.Thread(target=cls.watch, args=(self,), daemon=True).start()
            return apply(self, *args, **kwargs)

        keras.optimizers.Optimizer.apply = applied

    @classmethod
    @harmless
    def with_callback(cls, keras, signature, model, args, kwargs):
        """The arguments of ``fit``, with ours among the callbacks."""
        given = signature.bind(model, *args, **kwargs)
        ours = cls.callback(keras, given, model)
        callbacks = given.arguments.get("callbacks")
        if hasattr(callbacks, "append") and not isinstance(callbacks, list):
            callbacks.append(ours)
        else:
            several = isinstance(callbacks, (list, tuple))
            before = list(callbacks) if several else [callbacks] if callbacks else []
            given.arguments["callbacks"] = [*before, ours]
        return given

    @classmethod
    def watch(cls, optimizer):
        """Look at the optimizer's count of steps from time to time: in a graph no Python runs."""
        seen = 0
        while True:
            time.sleep(POLL)
            try:
                now = int(optimizer.iterations.numpy())
            except Exception:
                continue
            if now > seen and not recorder.by_steps:
                harmless(recorder.step)(lambda: cls.facts(None, optimizer), None, now - seen)
                seen = now

    @classmethod
    def callback(cls, keras, given, model):
        size_of = cls.sizes(given.arguments)

        class Steps(keras.callbacks.Callback):
            before = -1
            lock = threading.Lock()
            # Or Keras would wait for each step where it does not by itself, as with JAX.
            async_safe = True

            def on_epoch_begin(self, epoch, logs=None):
                self.before = -1

            @harmless
            def on_train_batch_end(self, batch, logs=None):
                with self.lock:
                    steps = batch - self.before
                    if steps <= 0:
                        # Another thread came with a later one first, and counted this too.
                        return
                    sizes = [size_of(number) for number in range(self.before + 1, batch + 1)]
                    self.before = batch
                    # What comes from a DataLoader of PyTorch's was counted there.
                    seen = None if pytorch.loader is None else pytorch.fetched()
                    samples = seen if None in sizes else sum(sizes)
                    # Asked for its own model, a callback makes JAX's state be written back.
                    recorder.step(lambda: cls.facts(model, None), samples, steps)

            def on_test_begin(self, logs=None):
                recorder.pause(True)

            def on_test_end(self, logs=None):
                recorder.pause(False)

        return Steps()

    @staticmethod
    def sizes(arguments):
        """A function that tells the samples of the n-th batch of an epoch, or None."""
        x = arguments.get("x")
        while isinstance(x, (list, tuple)) and len(x):
            x = x[0]
        if isinstance(x, dict) and x:
            x = next(iter(x.values()))
        spec = getattr(x, "element_spec", None)
        if spec is not None:
            while isinstance(spec, (list, tuple)) and len(spec):
                spec = spec[0]
            if isinstance(spec, dict) and spec:
                spec = next(iter(spec.values()))
            shape = getattr(spec, "shape", None)
            size = shape[0] if shape is not None and len(shape) else None
            return lambda _: int(size) if size else None
        shape = getattr(x, "shape", None)
        if shape is None or not len(shape):
            return lambda _: None
        total = int(shape[0])
        split = arguments.get("validation_split") or 0.0
        total = int(total * (1.0 - split)) if split else total
        size = arguments.get("batch_size") or 32
        return lambda number: max(min(size, total - number * size), 0) or None

    @staticmethod
    def facts(model, optimizer):
        import keras

        found = {"framework": f"keras on {keras.backend.backend()}", "connected": connected()}
        found.update(Horovod.facts())
        if keras.backend.backend() == "jax":
            found["connected"] = sys.modules["jax"].process_count()
        if model is not None:
            found["parameters"] = int(model.count_params())
            strategy = getattr(model, "distribute_strategy", None)
            replicas = int(getattr(strategy, "num_replicas_in_sync", 1))
            try:
                here = len(strategy.extended.worker_devices)
            except Exception:
                # None, or the default one.
                here = replicas
            found["replicas"] = here
            if "TF_CONFIG" in os.environ:
                found["connected"] = replicas // here
        tensorflow = sys.modules.get("tensorflow")
        if tensorflow is not None:
            found["threads"] = tensorflow.config.threading.get_intra_op_parallelism_threads()
            gpus = tensorflow.config.get_visible_devices("GPU")
            if gpus:
                detail = tensorflow.config.experimental.get_device_details(gpus[0])
                found["device"] = detail.get("device_name", "GPU")
        return found


# How it comes in

AFTER_IMPORT = {
    "torch.optim.optimizer": pytorch.optimizers,
    "torch.utils.data.dataloader": pytorch.loaders,
    "torch.nn.modules.module": pytorch.modules,
    "torch.nn.parallel.distributed": pytorch.parallel,
    "torch": pytorch.compiler,
    "torch.autograd": pytorch.gradients,
    "torch.serialization": pytorch.saving,
    "horovod.tensorflow.mpi_ops": Horovod.operations,
    "keras": Keras.models,
}


class Finder(importlib.abc.MetaPathFinder):
    """Lets others find a module, and adds ours to what is done when it is loaded."""

    def find_spec(self, name, path=None, target=None):
        ours = AFTER_IMPORT.get(name)
        if ours is None:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                break
        else:
            return None
        loader = spec.loader
        if loader is None or not hasattr(loader, "exec_module"):
            return spec
        original = loader.exec_module

        def exec_module(module):
            original(module)
            try:
                ours(module)
            except Exception as error:
                # A version of it that is made otherwise: the program runs on, uncounted.
                print(f"hpcbench probe: {name}: {error!r}", file=sys.stderr)

        loader.exec_module = exec_module
        return spec


def _give_way():
    """Let another sitecustomize, which ours stands before, be what Python would have imported."""
    here = os.path.dirname(os.path.abspath(__file__))
    places = [p for p in sys.path if os.path.abspath(p or os.getcwd()) != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", places)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


if __name__ == "sitecustomize":
    # One that stands before ours may import the next one itself, which is this one again.
    first = "hpcbench_probe" not in sys.modules
    if first:
        sys.modules["hpcbench_probe"] = sys.modules[__name__]
    if FOLDER and first:
        sys.meta_path.insert(0, Finder())
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_after_fork)
        atexit.register(recorder.end)
    _give_way()
