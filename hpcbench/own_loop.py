"""Two lines for a training loop of one's own, which ``hpcbench scale`` then measures by them.

Without it they do nothing, so they may stay in the program.
"""

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from hpcbench.errors import ConfigError

Batch = TypeVar("Batch")
# What is not training, by what it is called.
INPUT, PAUSES = "input", ("evaluation", "checkpoint")


def steps(batches: Iterable[Batch], samples: int | None = None) -> Iterator[Batch]:
    """Each of ``batches``; what is done with one is a step of training on so many ``samples``.

    Without ``samples`` the first dimension of a batch's first array counts, unless that may be the
    number of this process's devices, as for JAX's ``pmap``, or of what several processes train on.
    Waiting for the next batch is waiting for data. A step that only hands work to a device has to
    wait for it: JAX's ``block_until_ready`` on a result, every step or now and then.
    """
    probe = _probe()
    if probe is None:
        yield from batches
        return
    recorder = probe.recorder
    recorder.by_steps, recorder.thread = True, threading.get_ident()
    since = recorder.waiting()
    source = iter(batches)
    while True:
        try:
            batch = next(source)
        except StopIteration:
            return
        finally:
            recorder.waited_since(*since)
        yield batch
        recorder.step(_facts, samples if samples is not None else _samples(batch, probe))
        since = recorder.waiting()


@contextmanager
def phase(name: str) -> Iterator[None]:
    """What is done within it is no training: "input" is waiting for data, "evaluation" and
    "checkpoint" are taken out. Where another thread than the one that trains is in "input", it is
    not known for how long training waits. Raises ConfigError for another name."""
    if name not in (INPUT, *PAUSES):
        raise ConfigError(f"no phase {name!r}: choose from {', '.join((INPUT, *PAUSES))}")
    probe = _probe()
    if probe is None:
        yield
        return
    recorder = probe.recorder
    since = recorder.waiting()
    if name in PAUSES:
        recorder.pause(True)
    try:
        yield
    finally:
        if name in PAUSES:
            recorder.pause(False)
        else:
            recorder.waited_since(*since)


def _probe() -> Any:
    """The probe, in a program that hpcbench scale runs."""
    return sys.modules.get("hpcbench_probe")


def _samples(batch: Any, probe: Any) -> int | None:
    """Of ``batch``; None where its first dimension need not tell."""
    array, size = probe.first_array(batch)
    jax = _jax()
    of_devices = jax is not None and size == jax.local_device_count()
    return size if getattr(array, "is_fully_addressable", True) and not of_devices else None


def _jax() -> Any:
    """JAX, where the program computes with it. Others import it too, TensorFlow for one, and to ask
    it for devices would take their memory."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    return sys.modules["jax"] if bridge is not None and bridge.backends_are_initialized() else None


def _facts() -> dict[str, Any]:
    jax = _jax()
    if jax is None:
        return {"framework": "own loop"}
    device = jax.devices()[0]
    found = {"framework": "own loop, jax", "replicas": jax.local_device_count()}
    found["connected"] = jax.process_count()
    return found | ({"device": device.device_kind} if device.platform != "cpu" else {})
