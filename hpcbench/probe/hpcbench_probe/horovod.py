"""Horovod under TensorFlow."""

import functools
import sys

from hpcbench_probe.process import connected


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
