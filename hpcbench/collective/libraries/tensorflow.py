"""What exchanges TensorFlow's tensors: Horovod, and tf.distribute over processes.

All in compiled functions, as in training: called one by one, operations wait for each other.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcbench.collective import Floats
from hpcbench.collective.libraries import LIBRARIES, Exchange, Library
from hpcbench.strategies import Strategy, TensorFlowStrategy

if TYPE_CHECKING:
    import tensorflow as tf

Tensors = list["tf.Tensor"]


def packed(all_reduce: "Callable[[tf.Tensor], tf.Tensor]", tensors: Tensors) -> Tensors:
    """The sum of each of some vectors over all ranks, by one buffer that holds all of them."""
    import tensorflow as tf

    total = all_reduce(tf.concat(tensors, 0))
    return list(tf.split(total, [tf.size(tensor) for tensor in tensors], num=len(tensors)))


class _OfTensorFlow(Library):
    framework = "tensorflow"

    def __init__(self, ranks: Strategy) -> None:
        super().__init__(ranks)
        self._functions: dict[tuple[str, str, int], Any] = {}

    def _step(self, operation: str, form: str, tensors: Tensors) -> Tensors:
        raise NotImplementedError

    def exchange(self, operation: str, form: str, inputs: Sequence[Floats]) -> Exchange:
        import tensorflow as tf

        key = operation, form, len(inputs)
        if key not in self._functions:
            # One graph for buffers of all lengths.
            vector = tf.TensorSpec([None], tf.float32)
            self._functions[key] = tf.function(
                lambda tensors: self._step(operation, form, tensors),
                input_signature=[[vector] * len(inputs)],
                autograph=False,
            )
        function, mine = self._functions[key], [tf.constant(value) for value in inputs]
        latest: list[Tensors] = []

        def run() -> None:
            latest[:] = [function(mine)]

        def wait() -> None:
            # On CPUs a function returns when it is done.
            if tf.config.list_logical_devices("GPU"):
                tf.test.experimental.sync_devices()

        return Exchange(run, lambda: [np.asarray(value) for value in latest[0]], wait)


@LIBRARIES.register("horovod")
class Horovod(_OfTensorFlow):
    name = "horovod"
    strategy = "horovod"
    modules = ("horovod", "tensorflow")
    operations = ("all_reduce", "reduce_scatter", "all_gather", "broadcast")
    forms = ("flat", "grouped", "per-tensor")

    def _step(self, operation: str, form: str, tensors: Tensors) -> Tensors:
        import horovod.tensorflow as hvd

        if operation == "reduce_scatter":
            return [hvd.reducescatter(tensors[0], op=hvd.Sum)]
        if operation == "all_gather":
            return [hvd.allgather(tensors[0])]
        if operation == "broadcast":
            return [hvd.broadcast(tensors[0], root_rank=0)]
        if len(tensors) > 1 and form == "grouped":
            return list(hvd.grouped_allreduce(tensors, op=hvd.Sum))
        if len(tensors) > 1 and form == "flat":
            return packed(lambda flat: hvd.allreduce(flat, op=hvd.Sum), tensors)
        return [hvd.allreduce(tensor, op=hvd.Sum) for tensor in tensors]


@LIBRARIES.register("tf.distribute")
class Distribute(_OfTensorFlow):
    name = "tf.distribute"
    strategy = "multiworker"
    modules = ("tensorflow",)
    operations = ("all_reduce", "all_gather")
    forms = ("flat", "grouped")
    by_itself = True

    def _step(self, operation: str, form: str, tensors: Tensors) -> Tensors:
        import tensorflow as tf

        def step(_: int, *given: "tf.Tensor") -> tuple["tf.Tensor", ...]:
            context = tf.distribute.get_replica_context()
            # Only a tensor that was made on the replica's device is taken.
            here = [tf.identity(value) for value in given]
            if operation == "all_gather":
                return (context.all_gather(here[0], axis=0),)
            if len(here) > 1 and form == "flat":
                return tuple(packed(lambda flat: context.all_reduce("SUM", flat), here))
            return tuple(context.all_reduce("SUM", here))

        if not isinstance(self.ranks, TensorFlowStrategy):
            raise TypeError(f"strategy {self.ranks.name} is not TensorFlow's")
        return self.ranks.run(step, *tensors)
