"""Keras, with any backend."""

import functools
import inspect
import os
import sys
import threading
import time

from hpcbench_probe.guard import harmless
from hpcbench_probe.horovod import Horovod
from hpcbench_probe.process import connected
from hpcbench_probe.recording import recorder

# How often a counter that only a framework's graph moves is looked at.
POLL = 0.02


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
            # Its callbacks run in others.
            cls.fitting, recorder.thread = True, threading.get_ident()
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
                cls.watched, recorder.thread = self, threading.main_thread().ident
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
                if recorder.by_steps:
                    return
                with self.lock:
                    steps = batch - self.before
                    if steps <= 0:
                        # Another thread came with a later one first, and counted this too.
                        return
                    sizes = [size_of(number) for number in range(self.before + 1, batch + 1)]
                    self.before = batch
                    # What comes from a DataLoader of PyTorch's was counted there.
                    seen = recorder.framework.for_step()
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
        # What was made in a strategy's scope keeps it.
        made_in = getattr(model, "distribute_strategy", None)
        strategy = made_in or getattr(optimizer, "_distribution_strategy", None)
        if strategy is not None:
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
