"""Notices when the program imports a framework, and imports the probe's part of it then."""

import atexit
import importlib.abc
import os
import pkgutil
import sys

from hpcbench_probe.guard import complain
from hpcbench_probe.recording import recorder

# By a framework's module: what is called with it once it is imported, as module:function of ours,
# which is imported only then.
AFTER_IMPORT = {
    "torch.optim.optimizer": "pytorch.framework:optimizers",
    "torch.utils.data.dataloader": "pytorch.loaders:loaders",
    "torch.nn.modules.module": "pytorch.evaluation:evaluation.modules",
    "torch.nn.parallel.distributed": "pytorch.parallel:exchange.parallel",
    "torch": "pytorch.passes:passes.compiler",
    "torch.autograd": "pytorch.passes:passes.gradients",
    "torch.serialization": "pytorch.evaluation:saving",
    "horovod.tensorflow.mpi_ops": "horovod:Horovod.operations",
    "keras": "keras:Keras.models",
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
                pkgutil.resolve_name(f"hpcbench_probe.{ours}")(module)
            except Exception as error:
                # A version of it that is made otherwise: the program runs on, uncounted.
                complain(name, error)

        loader.exec_module = exec_module
        return spec


def start():
    """Be there when the program imports a framework, forks, and ends."""
    sys.meta_path.insert(0, Finder())
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=recorder.forked)
    atexit.register(recorder.end)
