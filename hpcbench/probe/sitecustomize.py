"""Counts the steps of a training program from within, without a change to it.

Python imports a module of this name when it starts, if its folder is in PYTHONPATH. It needs
nothing but Python 3.9 or later, whose standard library is all that it knows, and does nothing until
the program imports a framework and takes a step of training. A process that does writes a file of
its own into the folder HPCBENCH_PROBE, a JSON object a line, for ``hpcbench.programs.probe_lines``.
"""

import atexit
import functools
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import json
import os
import platform
import sys
import threading
import time

FOLDER = os.environ.get("HPCBENCH_PROBE", "")
# Seconds between two lines, about; a device's queue is emptied before each.
INTERVAL = float(os.environ.get("HPCBENCH_PROBE_SECONDS", "0.5"))
# How often a counter that only a framework's graph moves is looked at.
POLL = 0.02
# Of a batch so much is looked at, to tell whether ranks train on the same samples.
HASHED_BYTES = 1 << 20
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


class Recorder:
    """What one process does, and its file; made by the first step."""

    def __init__(self):
        self.process = os.getpid()
        self.lock = threading.Lock()
        self.file = None
        self.steps = 0
        self.samples = 0
        # Whether each sample so far was seen to be fetched.
        self.counted = True
        self.waited = 0.0
        # In the model's forward pass, where that is seen.
        self.forward = 0.0
        self.paused = 0.0
        self.pause_began = None
        self.longest = 0.0
        self.last = time.perf_counter()
        self.line_at = self.last
        # Lines stand at multiples of this power of two, so that ranks have them in common.
        self.every = 1
        # Whether the program itself says where its steps are; then nothing else counts them.
        self.by_steps = False
        self.batch_digest = None
        # How many steps trained on so many samples, and came with a batch of so many.
        self.sizes = {}
        self.fetched = {}
        self.synchronize = _nothing
        # Epoch time of perf_counter's zero: ranks' clocks are compared by it.
        self.zero = time.time() - self.last

    def step(self, facts, samples=None, steps=1, of=None, fetched=None):
        """A step of training was taken, on so many ``samples``, of which the loader gives so many
        (``fetched``; default: all) at a time; ``facts`` (of ``of``, if that is given) are asked
        for once."""
        now = time.perf_counter()
        if self.file is None:
            self._open(facts if of is None else functools.partial(facts, of))
        took = now - self.last
        self.last = now
        self.steps += steps
        if samples is None:
            self.counted = False
        else:
            self.samples += samples
            a_step = samples // steps
            self.sizes[a_step] = self.sizes.get(a_step, 0) + steps
            if fetched is None:
                fetched = a_step
            self.fetched[fetched] = self.fetched.get(fetched, 0) + steps
        self.longest = max(self.longest, took)
        if self.steps % self.every == 0 or steps > 1:
            self._line(now)

    def _line(self, now):
        if now - self.line_at < INTERVAL / 2:
            if self.steps > 16 and self.steps % (2 * self.every) == 0:
                self.every *= 2
            if self.steps > 16:
                return
        self.synchronize()
        now = time.perf_counter()
        self.write(
            kind="steps",
            steps=self.steps,
            samples=self.samples if self.counted else None,
            at=self.zero + now,
            waited=round(self.waited, 6),
            forward=round(self.forward, 6),
            paused=round(self.paused, 6),
            longest=round(self.longest, 6),
            batch=_commonest(self.sizes),
            fetched=_commonest(self.fetched),
        )
        self.line_at = self.last = time.perf_counter()
        self.longest = 0.0

    def _open(self, facts):
        with self.lock:
            if self.file is not None:
                return
            name = f"{platform.node()}-{os.getpid()}.jsonl"
            # Each line is one write, so that nothing is lost where the process just ends.
            self.file = open(os.path.join(FOLDER, name), "ab", buffering=0)
        _listen(os.path.join(FOLDER, name.replace(".jsonl", ".stack")))
        known = {"kind": "facts", "batch_digest": self.batch_digest}
        known.update(_of_process())
        try:
            known.update(facts())
        except Exception as error:
            known["untold"] = repr(error)
        self.write(**known)

    def write(self, **line):
        try:
            self.file.write((json.dumps(line) + "\n").encode())
        except (OSError, ValueError):
            # The program is not to suffer for a disk that is full.
            pass

    def pause(self, begins):
        """Evaluation or a checkpoint begins or ends."""
        now = time.perf_counter()
        if begins and self.pause_began is None:
            self.pause_began = now
        elif not begins and self.pause_began is not None:
            self.paused += now - self.pause_began
            self.pause_began = None

    def end(self):
        if self.file is not None and self.process == os.getpid():
            self._final(time.perf_counter())

    def _final(self, now):
        self.write(kind="end", steps=self.steps, at=self.zero + now)


def _nothing():
    return None


def _commonest(counts):
    return max(counts, key=counts.get) if counts else None


recorder = Recorder()


def _after_fork():
    # A child that trains is a process of its own; one that loads data takes no step.
    recorder.__init__()


def _listen(path):
    """Let SIGUSR2 write where each thread is, if the program has no use for it itself."""
    import faulthandler
    import signal

    try:
        if signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL:
            faulthandler.register(signal.SIGUSR2, file=open(path, "w"), all_threads=True)
    except (OSError, ValueError):
        pass


def _of_process():
    facts = {
        "host": platform.node(),
        "pid": os.getpid(),
        "python": platform.python_version(),
        "command": sys.argv,
        "folder": os.getcwd(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "replicas": 1,
        "packages": {},
    }
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
    """Steps by the first optimizer that takes one; samples by the loader that was asked last."""

    optimizer = None
    pending = {}
    loader = None
    size = None
    evaluating = None
    before = None
    depth = 0
    # The module whose forward pass is a rank's own work; when one of it began.
    own = None
    by_ddp = False
    began = None
    watching = ()
    compiled = False

    @classmethod
    def optimizers(cls, module):
        if hasattr(module, "register_optimizer_step_post_hook"):
            module.register_optimizer_step_post_hook(cls.stepped)

    @classmethod
    def stepped(cls, optimizer, *_):
        if recorder.by_steps:
            return
        if cls.optimizer is None:
            cls.optimizer = id(optimizer)
        elif cls.optimizer != id(optimizer):
            return
        if cls.evaluating is not None:
            # It trains on without having left evaluation, so that was none.
            cls.evaluating = recorder.pause_began = None
        # Some fetch a batch ahead, so that at the end of an epoch nothing is fetched for a step.
        samples = None if cls.loader is None else cls.pending.pop(cls.loader, 0)
        recorder.step(cls.facts, samples, 1, optimizer, cls.size)
        if recorder.steps == 1:
            try:
                cls.watch(optimizer)
            except Exception:
                # The program runs on, its forward pass unseen.
                pass

    @staticmethod
    def facts(optimizer):
        import torch

        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        found = {
            "framework": "torch",
            "parameters": sum(p.numel() for p in parameters),
            "dtypes": sorted({str(p.dtype).replace("torch.", "") for p in parameters}),
            "threads": torch.get_num_threads(),
            "connected": connected(),
        }
        on_gpu = any(p.is_cuda for p in parameters)
        if on_gpu:
            recorder.synchronize = torch.cuda.synchronize
            device = torch.cuda.get_device_properties(torch.cuda.current_device())
            found["device"] = device.name
            found["gpu"] = str(getattr(device, "uuid", torch.cuda.current_device()))
        distributed = torch.distributed
        if distributed.is_available() and distributed.is_initialized():
            found["rank"], found["size"] = distributed.get_rank(), distributed.get_world_size()
            found["backend"] = distributed.get_backend()
        return found

    @classmethod
    def loaders(cls, module):
        original = module._BaseDataLoaderIter.__next__

        @functools.wraps(original)
        def __next__(self):
            began = time.perf_counter()
            batch = original(self)
            if not recorder.by_steps:
                recorder.waited += time.perf_counter() - began
            size = batch_size(batch)
            if size is not None:
                # Of loaders beside this one nothing was trained on.
                loader = id(self)
                if cls.loader != loader:
                    cls.loader = loader
                    cls.pending.clear()
                cls.pending[loader] = cls.pending.get(loader, 0) + size
                cls.size = size
            if recorder.batch_digest is None:
                recorder.batch_digest = digest(batch)
            return batch

        module._BaseDataLoaderIter.__next__ = __next__

    @classmethod
    def modules(cls, module):
        original = module.Module.train

        @functools.wraps(original)
        def train(self, mode=True):
            # A module tells those within it; the outermost one is what the program asked.
            cls.depth += 1
            try:
                return original(self, mode)
            finally:
                cls.depth -= 1
                if cls.depth == 0:
                    if mode and cls.own is None:
                        cls.own = self
                    cls.switched(self, mode)

        module.Module.train = train

    @classmethod
    def parallel(cls, module):
        original = module.DistributedDataParallel.__init__

        @functools.wraps(original)
        def __init__(self, *args, **kwargs):
            original(self, *args, **kwargs)
            # What ranks exchange in a forward pass, the wrapper exchanges around this one's.
            cls.own, cls.by_ddp = self.module, True

        module.DistributedDataParallel.__init__ = __init__

    @classmethod
    def compiler(cls, module):
        if not hasattr(module, "compile"):
            return
        original = module.compile

        @functools.wraps(original)
        def compile(*args, **kwargs):
            # Python within a forward pass would break its graph.
            cls.compiled = True
            for hook in cls.watching:
                hook.remove()
            return original(*args, **kwargs)

        module.compile = compile

    @classmethod
    def watch(cls, optimizer):
        """Time the forward pass from the second step on, where it is nobody's but this rank's, and
        over when it returns: not on a GPU, which works on."""
        own = cls.own
        if own is None or cls.compiled or getattr(own, "_compiled_call_impl", None) is not None:
            return
        # Of several that are not connected by DDP, what ranks exchange in it is not known.
        if not cls.by_ddp and connected() != 1:
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if any(p.is_cuda or type(p).__name__ == "DTensor" for p in parameters):
            return
        kinds = [type(part).__name__ for part in own.modules()]
        if any(kind.startswith(("SyncBatchNorm", "FullySharded", "FSDP")) for kind in kinds):
            return
        cls.watching = (
            own.register_forward_pre_hook(cls.entered),
            own.register_forward_hook(cls.left),
        )

    @classmethod
    def entered(cls, module, _):
        cls.began = time.perf_counter() if module.training else None

    @classmethod
    def left(cls, module, *_):
        if cls.began is not None:
            recorder.forward += time.perf_counter() - cls.began
            cls.began = None

    @classmethod
    def switched(cls, module, mode):
        if not mode and cls.evaluating is None and cls.optimizer is not None:
            # A part that is kept frozen is switched so too: then the next step shows that what
            # was fetched meanwhile was trained on.
            cls.evaluating = id(module)
            cls.before = cls.loader, dict(cls.pending), cls.size
            recorder.pause(True)
        elif mode and cls.evaluating == id(module):
            cls.evaluating = None
            cls.loader, cls.pending, cls.size = cls.before
            recorder.pause(False)

    @staticmethod
    def saving(module):
        original = module.save

        @functools.wraps(original)
        def save(*args, **kwargs):
            recorder.pause(True)
            try:
                return original(*args, **kwargs)
            finally:
                recorder.pause(False)

        module.save = save


def batch_size(batch):
    """The first dimension of the first array of a batch, in whatever it is wrapped; else None."""
    if isinstance(batch, dict):
        batch = list(batch.values())
    if isinstance(batch, (list, tuple)):
        found = (batch_size(part) for part in batch)
        return next((size for size in found if size is not None), None)
    shape = getattr(batch, "shape", None)
    return int(shape[0]) if shape is not None and len(shape) > 0 else None


def digest(batch):
    """Of the first array's first bytes; None where that is not on the host."""
    if isinstance(batch, dict):
        batch = list(batch.values())
    if isinstance(batch, (list, tuple)):
        return digest(batch[0]) if batch else None
    try:
        content = batch.numpy().tobytes()[:HASHED_BYTES]
    except Exception:
        return None
    return hashlib.sha256(content).hexdigest()[:16]


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
                given = signature.bind(self, *args, **kwargs)
                ours = cls.callback(keras, given, self)
                callbacks = given.arguments.get("callbacks")
                if hasattr(callbacks, "append") and not isinstance(callbacks, list):
                    callbacks.append(ours)
                else:
                    several = isinstance(callbacks, (list, tuple))
                    before = list(callbacks) if several else [callbacks] if callbacks else []
                    given.arguments["callbacks"] = [*before, ours]
                return original(*given.args, **given.kwargs)
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
                recorder.step(lambda: cls.facts(None, optimizer), None, now - seen)
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

            def on_train_batch_end(self, batch, logs=None):
                with self.lock:
                    steps = batch - self.before
                    if steps <= 0:
                        # Another thread came with a later one first, and counted this too.
                        return
                    sizes = [size_of(number) for number in range(self.before + 1, batch + 1)]
                    self.before = batch
                    # What comes from a DataLoader of PyTorch's was counted there.
                    seen = Torch.pending.pop(Torch.loader, None)
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
        if keras.backend.backend() == "jax":
            found["connected"] = sys.modules["jax"].process_count()
        if model is not None:
            found["parameters"] = int(model.count_params())
            strategy = getattr(model, "distribute_strategy", None)
            found["replicas"] = int(getattr(strategy, "num_replicas_in_sync", 1))
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
    "torch.optim.optimizer": Torch.optimizers,
    "torch.utils.data.dataloader": Torch.loaders,
    "torch.nn.modules.module": Torch.modules,
    "torch.nn.parallel.distributed": Torch.parallel,
    "torch": Torch.compiler,
    "torch.serialization": Torch.saving,
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
    sys.modules["hpcbench_probe"] = sys.modules.get(__name__)
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", places)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


if __name__ == "sitecustomize":
    if FOLDER:
        sys.meta_path.insert(0, Finder())
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_after_fork)
        atexit.register(recorder.end)
    _give_way()
