"""The compiled training loop: many steps in one call, the data already on the device.

A step gathers its samples (images as bytes, scaled to [0, 1] here), runs the model forward and
backward, exchanges gradients through the strategy, and updates the weights. Nothing goes back
to Python between the steps of a call.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from hpcbench.datasets import Arrays
from hpcbench.errors import DataError
from hpcbench.frameworks.backend import DEVICE_STRIDE, Exchange, Sums
from hpcbench.frameworks.statistics import StatisticsExchange
from hpcbench.frameworks.tensorflow.augmentation import Augmentation
from hpcbench.frameworks.tensorflow.exchanging import GradientExchange, Mean
from hpcbench.frameworks.tensorflow.functions import compiled, over
from hpcbench.frameworks.tensorflow.objectives import Objective
from hpcbench.frameworks.tensorflow.optimizers import Optimizer
from hpcbench.strategies import TensorFlowStrategy

# A replica of this process, and the number of the step.
Place = tuple[Any, tf.Tensor]


class TrainingLoop:
    """Compiled functions over a model, an optimizer, a strategy and a way to feed data.

    ``batch`` is per device, computed in so many equal ``parts``; ``evaluation_batch`` of one, too.
    What comes back from steps and evaluation are sums over the samples of this process' replicas:
    of the losses, then those of the objective's tally.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: Optimizer,
        strategy: TensorFlowStrategy,
        exchange: GradientExchange,
        statistics: StatisticsExchange,
        data: Arrays,
        objective: Objective,
        batch: int,
        parts: int,
        xla: bool,
        streamed: bool,
        evaluation_batch: int,
        augment: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._strategy = strategy
        self._data = data
        self._objective = objective
        self._augment = augment
        self._seed = seed
        self._batch, self._parts = batch, parts
        self._shares_shape = (strategy.replicas, batch)
        self._evaluation_batch = evaluation_batch
        self._dtype = model.compute_dtype
        self._gradients = (
            compiled(self._forward_backward, jit_compile=True) if xla else self._forward_backward
        )
        self.batch_norm_state = [
            variable.value
            for layer in model._flatten_layers()
            if isinstance(layer, keras.layers.BatchNormalization)
            for variable in layer.non_trainable_variables
        ]
        self._streamed = streamed
        self._unread: DataError | None = None
        if not streamed:
            inputs = np.asarray(data.train_inputs)
            self._inputs = strategy.place(lambda _: tf.constant(inputs))
            targets = np.asarray(data.train_targets)
            self._targets = strategy.place(lambda _: tf.constant(targets))
        # One trace each, whatever the number of steps or samples.
        self._trace = self._trace_streamed if streamed else self._trace_resident
        self._exchange, self._statistics = exchange, statistics
        self._runs = {Exchange.GRADIENTS: self._trace(exchange.mean)}
        self._exchanges: dict[Exchange, Any] = {}
        self._partial_step = compiled(self._run_partial_step)
        self._average = compiled(self._run_average)
        test = (data.test_inputs, data.test_targets)
        self._evaluate = compiled(self._run_evaluation).get_concrete_function(
            *(tf.TensorSpec((None, *part.shape[1:]), part.dtype) for part in test),
        )

    @property
    def graph(self) -> Any:
        """The graph of the loop over steps."""
        return self._runs[Exchange.GRADIENTS].graph

    def steps(
        self,
        order: NDArray[np.int32],
        scalars: NDArray[np.float32],
        first_step: int = 0,
        exchange: Exchange = Exchange.GRADIENTS,
        held: Any = None,
    ) -> Sums:
        """Train on whole batches.

        ``order`` holds sample indices, shape (steps, replicas, batch); ``scalars`` the
        optimizer's rows; ``first_step`` is the number of steps behind. With another ``exchange``
        than that of gradients each replica updates with its own; all steps take what :meth:`hold`
        gave, if that is ``held``.
        """
        if exchange not in self._runs:
            with self._statistics.of_step(exchange):
                self._runs[exchange] = self._trace(self._exchange.of_step(exchange))
        run = self._runs[exchange]
        if self._streamed:
            batches = self._stream(order) if held is None else held.repeat(len(order))
            return self._call(run, iter(batches), scalars, first_step)
        rows = order if held is None else np.broadcast_to(held, order.shape)
        return self._call(run, tf.constant(rows), scalars, first_step, self._inputs, self._targets)

    def hold(self, rows: NDArray[np.int32]) -> Any:
        """The samples ``rows``, of shape (replicas, batch), for :meth:`steps` to take."""
        if not self._streamed:
            return rows
        return tf.data.Dataset.from_tensors(next(iter(self._stream(rows[np.newaxis]))))

    def exchanges(self, count: int, exchange: Exchange) -> None:
        """``count`` times what a step exchanges, one after the other."""
        if exchange not in self._exchanges:
            self._exchanges[exchange] = self._exchange.trace(exchange)
        self._exchanges[exchange](tf.constant(count))[0].numpy()

    def _call(
        self, run: Any, batches: Any, scalars: NDArray[np.float32], first_step: int, *data: Any
    ) -> Sums:
        try:
            return _numbers(run(batches, tf.constant(scalars), tf.constant(first_step), *data))
        except tf.errors.OpError as error:
            # TensorFlow passes on what a thread of its input raised as text alone.
            raise self._unread or error from None

    def partial_step(
        self,
        shares: Sequence[NDArray[np.int32]],
        scalars: NDArray[np.float32],
        total: int,
        step: int = 0,
    ) -> Sums:
        """Train one shorter step on ``total`` samples over all devices.

        ``shares`` are the indices of this process' replicas. An empty part of one is a sample of
        weight zero, since all devices have to meet in the exchange.
        """
        of_parts = [np.array_split(share, self._parts) for share in shares]
        counts = np.array([[len(part) for part in parts] for parts in of_parts], np.int32)
        padded = np.zeros((*counts.shape, max(1, counts.max())), np.int32)
        for place, count in np.ndenumerate(counts):
            replica, part = place
            padded[replica, part, :count] = of_parts[replica][part]
        sums = self._partial_step(
            tf.constant(self._data.train_inputs[padded]),
            tf.constant(self._data.train_targets[padded]),
            tf.constant(counts),
            tf.constant(total / self._strategy.world_size, tf.float32),
            tf.constant(scalars[0]),
            tf.constant(step),
        )
        return _numbers(sums)

    def evaluate(self, start: int, stop: int) -> Sums:
        """The sums over test samples [start, stop)."""
        total = np.zeros(1 + self._objective.sums)
        for first in range(start, stop, self._evaluation_batch):
            last = min(first + self._evaluation_batch, stop)
            total += _numbers(
                [
                    self._evaluate(
                        tf.constant(np.asarray(self._data.test_inputs[first:last])),
                        tf.constant(np.asarray(self._data.test_targets[first:last])),
                    )
                ]
            )
        return total

    def average_batch_norm_state(self) -> None:
        """Make the moving statistics of local batch normalization the same on all devices."""
        if self.batch_norm_state:
            self._average()

    def _prepared(self, inputs: tf.Tensor) -> tf.Tensor:
        """Bytes are pixels, to be scaled to [0, 1]; whole numbers stand for words, as they are."""
        if inputs.dtype == tf.uint8:
            return tf.cast(inputs, self._dtype) * tf.constant(1 / 255, self._dtype)
        return inputs if inputs.dtype.is_integer else tf.cast(inputs, self._dtype)

    def _sums(self, losses: tf.Tensor, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        loss = tf.cast(tf.reduce_sum(losses), tf.float32)
        return tf.concat([loss[tf.newaxis], self._objective.tally(targets, outputs)], 0)

    def _forward_backward(
        self, inputs: tf.Tensor, targets: tf.Tensor, per_sample: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Gradients of sum(losses * per_sample), as the optimizer scales it, and the sums."""
        weights = self._optimizer.variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            outputs = self._model(self._prepared(inputs), training=True)
            losses = self._objective.losses(targets, outputs)
            mean = tf.reduce_sum(losses) * tf.cast(per_sample, losses.dtype)
            total = self._optimizer.scaled(mean)
        # An embedding's gradient is sparse, which not every way to exchange can take.
        gradients = [tf.convert_to_tensor(part) for part in tape.gradient(total, weights)]
        for gradient, weight in zip(gradients, weights, strict=True):
            # What TensorFlow loses of it where the number of samples is not known.
            gradient.set_shape(weight.shape)
        return gradients, self._sums(losses, targets, outputs)

    def _train(
        self, place: Place, inputs: tf.Tensor, targets: tf.Tensor, scalars: tf.Tensor, mean: Mean
    ) -> tuple[tf.Tensor]:
        inputs = self._augmented(inputs, *place)

        def of_part(part: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
            chosen = [inputs, targets]
            if self._parts > 1:
                chosen = [
                    tf.reshape(whole, (self._parts, -1, *whole.shape[1:]))[part] for whole in chosen
                ]
            return self._gradients(chosen[0], chosen[1], 1 / self._batch)

        gradients, sums = self._over_parts(of_part)
        self._optimizer.update(scalars, mean(gradients))
        return (sums,)

    def _over_parts(
        self, of_part: Callable[[tf.Tensor], tuple[list[tf.Tensor], tf.Tensor]]
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Gradients and sums of a batch, from those of each of its parts."""
        if self._parts == 1:
            return of_part(tf.constant(0))

        def add(part: tf.Tensor, before: Any) -> Any:
            # Not before the last one is done, or several were in memory at once.
            with tf.control_dependencies(tf.nest.flatten(before)):
                now = of_part(tf.identity(part))
            return tf.nest.map_structure(tf.add, before, now)

        nothing = [tf.zeros(weight.shape, weight.dtype) for weight in self._optimizer.variables]
        gradients, sums = over(tf.constant(self._parts), add, (nothing, self._no_sums()))
        return gradients, sums

    def _augmented(
        self, inputs: tf.Tensor, replica: Any, step: tf.Tensor, part: tf.Tensor | int = 0
    ) -> tf.Tensor:
        if not self._augment:
            return inputs
        device = self._strategy.first_device + replica
        number = step * self._parts + part
        return self._augment(
            self._prepared(inputs), tf.stack([self._seed + DEVICE_STRIDE * device, number])
        )

    def _no_sums(self) -> tf.Tensor:
        return tf.zeros(1 + self._objective.sums)

    def _trace_resident(self, mean: Mean) -> Any:
        def step(
            replica: Any,
            number: tf.Tensor,
            order: tf.Tensor,
            row: tf.Tensor,
            inputs: tf.Tensor,
            targets: tf.Tensor,
        ) -> Any:
            chosen = order[replica]
            inputs, targets = tf.gather(inputs, chosen), tf.gather(targets, chosen)
            return self._train((replica, number), inputs, targets, row, mean)

        def run(
            order: tf.Tensor, scalars: tf.Tensor, first: tf.Tensor, inputs: Any, targets: Any
        ) -> Any:
            def add(i: tf.Tensor, total: tf.Tensor) -> tf.Tensor:
                of_step = (first + i, order[i], scalars[i], inputs, targets)
                return total + self._strategy.run(step, *of_step)[0]

            return [over(tf.shape(order)[0], add, self._no_sums())]

        return compiled(run).get_concrete_function(
            tf.TensorSpec((None, *self._shares_shape), tf.int32),
            tf.TensorSpec((None, self._optimizer.scalar_count), tf.float32),
            tf.TensorSpec((), tf.int32),
            self._inputs,
            self._targets,
        )

    def _stream(self, order: NDArray[np.int32]) -> tf.data.Dataset:
        """Batches gathered on the host while the device computes."""
        inputs, targets = self._data.train_inputs, self._data.train_targets

        def fetch(chosen: NDArray[np.int32]) -> Any:
            try:
                return inputs[chosen], targets[chosen]
            except DataError as error:
                self._unread = error
                raise

        shape = order.shape[1:]

        def load(chosen: tf.Tensor) -> Any:
            batch = tf.numpy_function(fetch, [chosen], (inputs.dtype, targets.dtype))
            return tuple(
                tf.ensure_shape(part, (*shape, *whole.shape[1:]))
                for part, whole in zip(batch, (inputs, targets), strict=True)
            )

        rows = tf.data.Dataset.from_tensor_slices(order)
        return rows.map(load, num_parallel_calls=1).prefetch(tf.data.AUTOTUNE)

    def _trace_streamed(self, mean: Mean) -> Any:
        def step(
            replica: Any, number: tf.Tensor, inputs: tf.Tensor, targets: tf.Tensor, row: tf.Tensor
        ) -> Any:
            return self._train((replica, number), inputs[replica], targets[replica], row, mean)

        def run(batches: Any, scalars: tf.Tensor, first: tf.Tensor) -> Any:
            def add(i: tf.Tensor, total: tf.Tensor) -> tf.Tensor:
                inputs, targets = batches.get_next()
                of_step = (first + i, inputs, targets, scalars[i])
                return total + self._strategy.run(step, *of_step)[0]

            return [over(tf.shape(scalars)[0], add, self._no_sums())]

        return compiled(run).get_concrete_function(
            iter(self._stream(np.zeros((1, *self._shares_shape), np.int32))),
            tf.TensorSpec((None, self._optimizer.scalar_count), tf.float32),
            tf.TensorSpec((), tf.int32),
        )

    def _run_partial_step(
        self,
        inputs: tf.Tensor,
        targets: tf.Tensor,
        counts: tf.Tensor,
        mean_share: tf.Tensor,
        scalars: tf.Tensor,
        number: tf.Tensor,
    ) -> Any:
        def step(replica: Any) -> Any:
            def of_part(part: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
                taken = tf.maximum(counts[replica, part], 1)
                counted = tf.cast(tf.minimum(counts[replica, part], 1), tf.float32)
                # Never XLA: the number of samples differs between devices.
                chosen = self._augmented(inputs[replica, part, :taken], replica, number, part)
                gradients, sums = self._forward_backward(
                    chosen, targets[replica, part, :taken], counted / mean_share
                )
                return gradients, sums * counted

            gradients, sums = self._over_parts(of_part)
            self._optimizer.update(scalars, self._exchange.mean(gradients))
            return (sums,)

        return self._strategy.run(step)

    def _run_average(self) -> None:
        def step(replica: Any) -> Any:
            for variable, value in zip(
                self.batch_norm_state,
                self._strategy.all_reduce_mean(self.batch_norm_state),
                strict=True,
            ):
                variable.assign(value)
            return (tf.constant(0.0),)

        self._strategy.run(step)

    def _run_evaluation(self, inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        outputs = self._model(self._prepared(inputs), training=False)
        return self._sums(self._objective.losses(targets, outputs), targets, outputs)


def _numbers(sums: Sequence[tf.Tensor]) -> Sums:
    return np.asarray(sums[0].numpy(), np.float64)
