"""JAX's side of training: a Keras model in one compiled loop over steps, on every device alike."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from numpy.typing import NDArray

from hpcbench.frameworks.backend import (
    DEVICE_STRIDE,
    Backend,
    Exchange,
    Sums,
    Workload,
    evaluation_batch,
)
from hpcbench.frameworks.jax import placement
from hpcbench.frameworks.jax.arithmetic import set_arithmetic
from hpcbench.frameworks.jax.exchanging import GradientExchange
from hpcbench.frameworks.jax.feeding import Feed, Resident, Streamed, filled
from hpcbench.frameworks.jax.flops import training_flops
from hpcbench.frameworks.jax.initial_weights import drawn_as_by_tensorflow
from hpcbench.frameworks.jax.normalization import (
    batch_normalization,
    moving_statistics,
    over_devices,
)
from hpcbench.frameworks.jax.objectives import objective
from hpcbench.frameworks.jax.optimizers import make_optimizer
from hpcbench.frameworks.jax.state import State, TrainState
from hpcbench.frameworks.jax.updating import update
from hpcbench.frameworks.keras_backend import set_random_seed
from hpcbench.frameworks.keras_model import (
    build_model,
    generator_states,
    refuse_other_normalization,
)
from hpcbench.frameworks.statistics import StatisticsExchange
from hpcbench.models import BuildContext
from hpcbench.strategies import JaxStrategy

MODEL_FILE = "model.keras"
# So many calls are under way, at most, while the host makes the next.
AHEAD = 2
# More random numbers than a layer draws in a step.
DRAWS_OF_STEP = 1 << 10


class JaxBackend(Backend):
    """Every device has its own copy of the weights, which the exchange keeps the same."""

    def __init__(self, workload: Workload) -> None:
        config, schedule, spec = workload.config, workload.schedule, workload.spec
        strategy = workload.strategy
        if not isinstance(strategy, JaxStrategy):
            raise TypeError(f"strategy {strategy.name} is not JAX's")
        self._strategy, self._data = strategy, workload.data
        self._batch, self._parts = schedule.batch_per_device, config.accumulate
        self._mesh, self._local_mesh = strategy.mesh, strategy.local_mesh
        self._objective = objective(spec)
        self.metric, self.metric_sums = self._objective.metric, self._objective.sums
        set_arithmetic(config.precision, self._mesh)
        set_random_seed(workload.seed)
        self._statistics = StatisticsExchange(over_devices)
        normalization = batch_normalization(config.batchnorm, self._statistics)
        with drawn_as_by_tensorflow():
            self.model = build_model(
                config.framework,
                config.model,
                BuildContext(
                    input_shape=spec.input_shape,
                    outputs=spec.outputs,
                    words=spec.words,
                    # Devices' own seeds are made of this one in the loop.
                    seed=workload.seed,
                    logits_dtype="float64" if config.precision == "float64" else "float32",
                    batch_normalization=normalization,
                ),
            )
        if config.batchnorm == "sync":
            refuse_other_normalization(self.model, config.model, normalization)
        self._dtype = self.model.compute_dtype
        self._exchange = GradientExchange(strategy, config.compression)
        self._float = np.float64 if config.precision == "float64" else np.float32
        self._update = update(
            strategy,
            make_optimizer(schedule.optimizer, schedule.momentum),
            self._exchange,
            self.model.trainable_variables,
        )
        states = {id(state) for state in generator_states(self.model)}
        self._generators = [
            place
            for place, variable in enumerate(self.model.non_trainable_variables)
            if id(variable) in states
        ]
        self._batch_norm = moving_statistics(self.model)
        kinds = self.model.trainable_variables, self.model.non_trainable_variables
        weights, others = ([variable.value for variable in kind] for kind in kinds)
        self._state = State(strategy, weights, others, self._update, self._generators)
        self.parameters = self.model.count_params()
        self.trainable_parameters = sum(
            math.prod(variable.shape) for variable in self.model.trainable_variables
        )
        of_step = len(self._local_mesh.devices) * self._batch
        self._feed: Feed = (
            Streamed(self._data, schedule.full_steps, of_step)
            if config.input == "stream"
            else Resident(self._mesh, self._data, schedule.full_steps)
        )
        self._evaluation_batch = evaluation_batch(spec.largest_shape)
        self._evaluate = jax.jit(self._evaluated)
        self._programs: dict[tuple[str, Exchange], Callable[..., Any]] = {}
        self.broadcast_state()

    def metric_value(self, sums: Sums, samples: int) -> float:
        return self._objective.value(sums, samples)

    def steps(
        self,
        order: NDArray[np.int32],
        rates: NDArray[np.float64],
        first_step: int = 0,
        exchange: Exchange = Exchange.GRADIENTS,
        held: Any = None,
    ) -> Sums:
        weights = np.full(order.shape, 1 / self._batch)
        return self._train(order, weights, rates, first_step, exchange, held)

    def hold(self, rows: NDArray[np.int32]) -> Any:
        return self._feed.hold(rows)

    def partial_step(
        self,
        shares: Sequence[NDArray[np.int32]],
        rates: NDArray[np.float64],
        total: int,
        step: int = 0,
    ) -> Sums:
        """As :meth:`Backend.partial_step`; shares are filled up with samples of weight zero, since
        all devices run one program. Batch normalization sees those."""
        world, parts = self._strategy.world_size, self._parts
        order = np.zeros((1, len(shares), -(-total // (world * parts)) * parts), np.int32)
        weights = np.zeros(order.shape)
        for replica, share in enumerate(shares):
            order[0, replica, : len(share)] = share
            weights[0, replica, : len(share)] = world / total
        return self._train(order, weights, rates, step, Exchange.GRADIENTS)

    def _train(
        self,
        order: NDArray[np.int32],
        weights: NDArray[np.float64],
        rates: NDArray[np.float64],
        first_step: int,
        exchange: Exchange,
        held: Any = None,
    ) -> Sums:
        mesh = self._mesh_of(exchange)
        state, resident = self._state.on(mesh), placement.on(mesh, self._feed.resident)
        places = self._state.places
        specs = places, P(), P(None, "devices")
        program = self._program("train", exchange, self._run, specs, (places, P("devices")))
        # Each number of steps would be a program of its own: there is room for most, filled up.
        room = self._feed.steps if order.shape[-1] == self._batch else 1
        total: list[jax.Array] = []
        for first in range(0, len(order), room):
            rows = slice(first, first + room)
            scalars = np.int32(first_step + first), np.int32(len(order[rows]))
            brought = self._feed.of_call(order[rows], room, held)
            if len(total) >= AHEAD:
                total[-AHEAD].block_until_ready()
            by, of_steps = (
                filled(part[rows].astype(self._float), room) for part in (weights, rates)
            )
            common = placement.whole(mesh, (*scalars, of_steps))
            mine = placement.split(mesh, (*brought, by))
            with self._statistics.of_step(exchange):
                state, sums = program(state, (*resident, *common), mine)
            total.append(sums)
        self._state.now = state
        return sum((placement.local_sum(sums) for sums in total), np.zeros(1 + self.metric_sums))

    def exchanges(self, count: int, exchange: Exchange) -> None:
        mesh = self._mesh_of(exchange)
        run, out = self._exchange.repeated, P("devices")
        program = self._program("exchange", exchange, run, (P(), P()), out)
        weights, _, _ = self._state.on(mesh)
        placement.local_sum(program(weights, placement.whole(mesh, np.int32(count))))

    def evaluate(self, start: int, stop: int) -> Sums:
        weights, others, _ = self._state.mine()
        total = np.zeros(1 + self.metric_sums)
        for first in range(start, stop, self._evaluation_batch):
            last = min(first + self._evaluation_batch, stop)
            # One shape, so one compilation.
            chosen = np.minimum(np.arange(first, first + self._evaluation_batch), last - 1)
            counted = (np.arange(self._evaluation_batch) < last - first).astype(np.float32)
            inputs = np.asarray(self._data.test_inputs[chosen])
            targets = np.asarray(self._data.test_targets[chosen])
            total += np.asarray(
                self._evaluate(weights, others, inputs, targets, counted), np.float64
            )
        return total

    def average_batch_norm_state(self) -> None:
        if not self._batch_norm or self._strategy.world_size == 1:
            return
        specs, out = (P(), P()), (P(), P("devices"))
        program = self._program("average", Exchange.GRADIENTS, self._averaged, specs, out)
        weights, others, slots = self._state.on(self._mesh)
        moving = program([others[place] for place in self._batch_norm], ())[0]
        for place, value in zip(self._batch_norm, moving, strict=True):
            others[place] = value
        self._state.now = weights, others, slots

    def gather(self) -> None:
        self._state.gather()

    def state(self) -> list[NDArray[Any]]:
        return self._state.kept()

    def restore(self, state: Sequence[NDArray[Any]]) -> None:
        self._state.restore(state)

    @contextmanager
    def put_back(self) -> Iterator[None]:
        # JAX's arrays never change.
        before = self._state.now
        yield
        self._state.now = before

    def broadcast_state(self) -> None:
        self._state.share()

    def flops_per_sample(self) -> int:
        others = [variable.value for variable in self.model.non_trainable_variables]
        inputs = self._prepared(jnp.asarray(self._data.test_inputs[:1]))
        return training_flops(
            lambda weights, inputs: self.model.stateless_call(
                weights, others, inputs, training=False
            )[0],
            [variable.value for variable in self.model.trainable_variables],
            inputs,
        )

    def save_model(self, folder: Path) -> None:
        weights, others, _ = self._state.mine()
        for variable, value in (
            *zip(self.model.trainable_variables, weights, strict=True),
            *zip(self.model.non_trainable_variables, others, strict=True),
        ):
            variable.assign(np.asarray(value))
        self.model.save(folder / MODEL_FILE)

    def _prepared(self, inputs: jax.Array) -> jax.Array:
        """Bytes are pixels, to be scaled to [0, 1]; whole numbers stand for words, as they are."""
        if inputs.dtype == jnp.uint8:
            return inputs.astype(self._dtype) * jnp.asarray(1 / 255, self._dtype)
        return inputs if jnp.issubdtype(inputs.dtype, jnp.integer) else inputs.astype(self._dtype)

    def _sums(self, targets: jax.Array, outputs: jax.Array, counted: jax.Array) -> jax.Array:
        """Of the losses and of what the metric is made of, over samples that are ``counted``."""
        losses = self._objective.losses(targets, outputs)
        tally = self._objective.tally(targets, outputs).reshape(len(losses), self.metric_sums)
        both = jnp.concatenate([losses[:, None], tally.astype(losses.dtype)], axis=1)
        return counted.astype(losses.dtype) @ both

    def _evaluated(
        self,
        weights: list[jax.Array],
        others: list[jax.Array],
        inputs: jax.Array,
        targets: jax.Array,
        counted: jax.Array,
    ) -> jax.Array:
        prepared = self._prepared(inputs)
        outputs, _ = self.model.stateless_call(weights, others, prepared, training=False)
        return self._sums(targets, outputs, counted)

    def _run(self, exchange: Exchange, state: TrainState, common: Any, mine: Any) -> Any:
        """All steps on one device; ``mine`` are its samples, or which of those that are resident,
        and their weights, a row a step."""
        *resident, number_of_first, count, rates = common
        weights, others, slots = state
        device = jax.lax.axis_index("devices") + self._offset(exchange)

        def loss(
            weights: list[jax.Array], others: list[jax.Array], inputs: Any, targets: Any, by: Any
        ) -> Any:
            outputs, others = self.model.stateless_call(
                weights, others, self._prepared(inputs), training=True
            )
            losses = self._objective.losses(targets, outputs)
            sums = self._sums(targets, outputs, by > 0)
            return losses @ by.astype(losses.dtype), (others, sums)

        *brought, samples_by = mine

        def step(row: jax.Array, carried: Any) -> Any:
            weights, others, slots, total = carried
            batch = (*self._feed.sample(resident, brought, row), samples_by[row, 0])
            of_step = [number_of_first + row, rates[row]]
            others = self._with_random_numbers(others, of_step[0], device)
            gradients, others, sums = self._over_parts(loss, weights, others, batch)
            weights, slots = self._update(of_step, weights, slots, gradients, exchange)
            return weights, others, slots, total + sums.astype(total.dtype)

        first = (weights, others, slots, jnp.zeros(1 + self.metric_sums, self._float))
        *state_after, total = jax.lax.fori_loop(0, count, step, first)
        return tuple(state_after), total[None]

    def _with_random_numbers(
        self, others: list[jax.Array], step: jax.Array, device: jax.Array
    ) -> list[jax.Array]:
        """Keras' generators, a seed and a count each, as they stand where ``step`` begins."""
        others = list(others)
        for place in self._generators:
            seed = self.model.non_trainable_variables[place].value[0]
            both = seed + device * DEVICE_STRIDE, step * DRAWS_OF_STEP
            others[place] = jnp.stack([number.astype(jnp.uint32) for number in both])
        return others

    def _over_parts(
        self, loss: Callable[..., Any], weights: list[jax.Array], others: Any, batch: Any
    ) -> Any:
        """Gradients, other variables and sums of one part of ``batch`` after the other."""
        gradients_of = jax.grad(loss, has_aux=True)
        if self._parts == 1:
            gradients, (others, sums) = gradients_of(weights, others, *batch)
            return gradients, others, sums

        def add(before: Any, part: Any) -> Any:
            gradients, others, sums = before
            more, (others, of_part) = gradients_of(weights, others, *part)
            gradients = [a + b for a, b in zip(gradients, more, strict=True)]
            return (gradients, others, sums + of_part.astype(sums.dtype)), None

        def parted(whole: jax.Array) -> jax.Array:
            return whole.reshape(self._parts, -1, *whole.shape[1:])

        nothing = jnp.zeros(1 + self.metric_sums, self._float)
        first = ([jnp.zeros_like(weight) for weight in weights], others, nothing)
        return jax.lax.scan(add, first, jax.tree.map(parted, batch))[0]

    def _offset(self, exchange: Exchange) -> int:
        """The first device of the mesh that a program for ``exchange`` runs on."""
        return self._strategy.first_device if exchange is Exchange.NONE else 0

    def _averaged(self, _: Exchange, values: Any, __: Any) -> Any:
        return jax.lax.pmean(values, "devices"), jnp.zeros(1)

    def _program(
        self,
        name: str,
        exchange: Exchange,
        run: Callable[..., Any],
        specs: tuple[Any, ...],
        out: Any,
    ) -> Callable[..., Any]:
        """``run``, compiled for all devices of its mesh, on which what it is given lies as
        ``specs`` say and what it returns as ``out``."""
        key = name, exchange
        if key not in self._programs:
            sharded = jax.shard_map(
                partial(run, exchange),
                mesh=self._mesh_of(exchange),
                in_specs=specs,
                out_specs=out,
                # Without an exchange, the same array differs from device to device.
                check_vma=False,
            )
            self._programs[key] = jax.jit(sharded)
        return self._programs[key]

    def _mesh_of(self, exchange: Exchange) -> Mesh:
        """Where nothing is exchanged, a process runs by itself: others may not even run."""
        return self._local_mesh if exchange is Exchange.NONE else self._mesh
