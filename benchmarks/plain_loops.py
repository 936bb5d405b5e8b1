"""Training as it is written by hand in Keras, PyTorch and JAX, for ``benchmarks/peers.py``.

Each yields the seconds of one epoch after the other, without an evaluation. The networks are the
registered Keras models', told over layer by layer; images lie on the device as float32.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcbench.models import MODELS, BuildContext, ModelSpec

# What Keras' layers have unless told otherwise.
EPSILON, KEPT = 1e-3, 0.99


@dataclass(frozen=True)
class Task:
    """A model and the data, images as float32 in [0, 1], that an epoch goes through once."""

    spec: ModelSpec
    images: NDArray[np.float32]
    labels: NDArray[np.integer[Any]]
    outputs: int


def task(model: str, samples: int) -> Task:
    """Of the data set at hand."""
    from hpcbench.datasets.sources import locate

    source = locate("auto")
    data = source.read().first(samples)
    images = np.asarray(data.train_inputs).astype(np.float32) / 255
    return Task(MODELS[model], images, np.asarray(data.train_targets), source.spec.outputs)


def _keras_model(asked: Task) -> Any:
    import keras

    keras.config.set_dtype_policy("float32")
    shape = asked.images.shape[1:]
    context = BuildContext(shape, asked.outputs, 0, "float32", keras.layers.BatchNormalization)
    assert asked.spec.build
    return asked.spec.build(context)


def keras_fit(asked: Task) -> Iterator[float]:
    """``compile`` and ``fit``."""
    import keras

    spec = asked.spec
    model = keras.Sequential([_keras_model(asked), keras.layers.Softmax()])
    optimizer = {
        "adam": lambda: keras.optimizers.Adam(spec.learning_rate),
        "sgd": lambda: keras.optimizers.SGD(spec.learning_rate, spec.momentum),
        "adadelta": lambda: keras.optimizers.Adadelta(spec.learning_rate),
    }[spec.optimizer]()
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    while True:
        start = time.perf_counter()
        model.fit(asked.images, asked.labels, batch_size=spec.batch, epochs=1)
        yield time.perf_counter() - start


def _torch_model(asked: Task) -> Any:
    from torch import nn

    if "torch" in asked.spec.builders:
        return asked.spec.builder("torch")(asked.images.shape[1:], asked.outputs)
    found: list[Any] = []
    for layer in _keras_model(asked).layers:
        shape = layer.input.shape[1:]
        match type(layer).__name__:
            case "Dense":
                found.append(nn.Linear(shape[-1], layer.units))
            case "Conv2D":
                found.append(nn.Conv2d(shape[-1], layer.filters, layer.kernel_size))
            case "MaxPooling2D":
                found.append(nn.MaxPool2d(layer.pool_size))
            case "Dropout":
                found.append(nn.Dropout(layer.rate))
            case "Flatten":
                found.append(nn.Flatten())
            case "BatchNormalization":
                kind = nn.BatchNorm2d if len(shape) > 1 else nn.BatchNorm1d
                found.append(kind(shape[-1], eps=EPSILON, momentum=1 - KEPT))
            case other:
                raise NotImplementedError(other)
        if getattr(layer, "activation", None) and layer.activation.__name__ == "relu":
            found.append(nn.ReLU())
    return nn.Sequential(*found)


def torch_loop(asked: Task, loader: bool = False) -> Iterator[float]:
    """Batches from the device's memory, or from a DataLoader of two workers."""
    import torch
    from torch.nn.functional import cross_entropy
    from torch.utils.data import DataLoader, TensorDataset

    spec, samples = asked.spec, len(asked.labels)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images = torch.from_numpy(np.ascontiguousarray(asked.images.transpose(0, 3, 1, 2)))
    labels = torch.from_numpy(asked.labels.astype(np.int64))
    model = _torch_model(asked).to(device)
    optimizer = {
        "adam": lambda: torch.optim.Adam(model.parameters(), spec.learning_rate),
        "sgd": lambda: torch.optim.SGD(model.parameters(), spec.learning_rate, spec.momentum),
        "adadelta": lambda: torch.optim.Adadelta(model.parameters(), spec.learning_rate),
    }[spec.optimizer]()
    loaded = DataLoader(
        TensorDataset(images, labels),
        spec.batch,
        shuffle=True,
        num_workers=2,
        pin_memory=device.type == "cuda",
        drop_last=True,
        persistent_workers=True,
    )
    if not loader:
        images, labels = images.to(device), labels.to(device)

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        if loader:
            for some, of_some in loaded:
                yield some.to(device, non_blocking=True), of_some.to(device, non_blocking=True)
            return
        order = torch.randperm(samples, device=device)
        for chosen in order[: samples - samples % spec.batch].split(spec.batch):
            yield images[chosen], labels[chosen]

    while True:
        start = time.perf_counter()
        total = torch.zeros((), device=device)
        for inputs, targets in batches():
            loss = cross_entropy(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()
        total.item()
        yield time.perf_counter() - start


def _jax_network(asked: Task) -> tuple[list[Any], Callable[..., Any]]:
    """Weights, and a function of them, images and a random key that gives the outputs. Batch
    normalization has its batch's statistics, without the moving ones that evaluation takes."""
    import jax
    import jax.numpy as jnp
    from jax import lax

    model = _keras_model(asked)

    def applied(weights: list[Any], x: Any, key: Any) -> Any:
        left = iter(weights)
        for place, layer in enumerate(model.layers):
            match type(layer).__name__:
                case "Dense":
                    x = x @ next(left) + next(left)
                case "Conv2D":
                    order = ("NHWC", "HWIO", "NHWC")
                    x = lax.conv_general_dilated(
                        x, next(left), (1, 1), "VALID", dimension_numbers=order
                    )
                    x = x + next(left)
                case "MaxPooling2D":
                    window = (1, *layer.pool_size, 1)
                    x = lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")
                case "Dropout":
                    kept = 1 - layer.rate
                    drawn = jax.random.bernoulli(jax.random.fold_in(key, place), kept, x.shape)
                    x = jnp.where(drawn, x / kept, 0)
                case "Flatten":
                    x = x.reshape(len(x), -1)
                case "Rescaling":
                    x = x * layer.scale + layer.offset
                case "BatchNormalization":
                    axes = tuple(range(x.ndim - 1))
                    mean, variance = x.mean(axes), x.var(axes)
                    x = (x - mean) * lax.rsqrt(variance + EPSILON) * next(left) + next(left)
                case other:
                    raise NotImplementedError(other)
            if getattr(layer, "activation", None) and layer.activation.__name__ == "relu":
                x = jax.nn.relu(x)
        return x

    return [jnp.asarray(np.asarray(one.value)) for one in model.trainable_variables], applied


def jax_loop(asked: Task) -> Iterator[float]:
    """A ``lax.scan`` over the steps of an epoch, compiled as one."""
    import jax
    import jax.numpy as jnp

    spec, samples = asked.spec, len(asked.labels)
    weights, applied = _jax_network(asked)
    images, labels = jnp.asarray(asked.images), jnp.asarray(asked.labels.astype(np.int32))

    def of_batch(weights: Any, chosen: Any, key: Any) -> Any:
        outputs = jax.nn.log_softmax(applied(weights, images[chosen], key))
        return -jnp.take_along_axis(outputs, labels[chosen][:, None], 1).mean()

    def updated(number: Any, weights: Any, slots: Any, gradients: Any) -> Any:
        rate, tree = spec.learning_rate, jax.tree.map
        if spec.optimizer == "sgd":
            velocity = tree(lambda v, g: spec.momentum * v - rate * g, slots[0], gradients)
            return tree(jnp.add, weights, velocity), (velocity, slots[1])
        if spec.optimizer == "adam":
            one, two = 0.9, 0.999
            first = tree(lambda m, g: one * m + (1 - one) * g, slots[0], gradients)
            second = tree(lambda v, g: two * v + (1 - two) * g * g, slots[1], gradients)
            rate = rate * jnp.sqrt(1 - two**number) / (1 - one**number)
            step = tree(lambda m, v: rate * m / (jnp.sqrt(v) + 1e-7), first, second)
            return tree(jnp.subtract, weights, step), (first, second)
        kept, tiny = 0.95, 1e-7

        def direction(g: Any, s: Any, d: Any) -> Any:
            return g * jnp.sqrt(d + tiny) / jnp.sqrt(s + tiny)

        squares = tree(lambda s, g: kept * s + (1 - kept) * g * g, slots[0], gradients)
        step = tree(direction, gradients, squares, slots[1])
        steps = tree(lambda d, u: kept * d + (1 - kept) * u * u, slots[1], step)
        return tree(lambda w, u: w - rate * u, weights, step), (squares, steps)

    @jax.jit
    def epoch(state: Any, order: Any) -> Any:
        def step(state: Any, chosen: Any) -> Any:
            weights, slots, number = state
            key = jax.random.fold_in(jax.random.key(0), number)
            loss, gradients = jax.value_and_grad(of_batch)(weights, chosen, key)
            weights, slots = updated(number + 1.0, weights, slots, gradients)
            return (weights, slots, number + 1), loss

        return jax.lax.scan(step, state, order)

    nothing = [jnp.zeros_like(weight) for weight in weights]
    state: Any = (weights, (nothing, nothing), jnp.int32(0))
    drawn, steps = np.random.default_rng(0), samples // spec.batch
    while True:
        start = time.perf_counter()
        order = drawn.permutation(samples)[: steps * spec.batch].astype(np.int32)
        state, losses = epoch(state, order.reshape(steps, spec.batch))
        assert math.isfinite(losses.sum())
        yield time.perf_counter() - start
