"""Initial weights as TensorFlow draws them, so that training starts from the same under both.

TensorFlow's generator without a state, for CPUs and GPUs, is Philox 4x32-10 (Salmon et al.,
"Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 3.3). A seed is made into a key and
the upper half of a counter; each block of four words that the counter's lower half numbers becomes
numbers of the distribution. Logarithms and sines are NumPy's, whose last bit may differ.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Floats = NDArray[np.floating[Any]]

# Salmon et al., table 2 and section 3.3.
MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
KEY_INCREMENTS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
# From here on names and numbers of tensorflow/core: kernels/stateless_random_ops.cc for seeds,
# lib/random/random_distributions.h and kernels/random_op_cpu.h for what is made of words.
SEED_KEY = (0x3EC8F720, 0x02461E29)
LARGEST_SEED = 2**31 - 2
SMALLEST_UNIFORM = 1e-7
TRUNCATED_AT = 2.0
# Where numbers are rejected, so many blocks are kept for the numbers that else one block gives.
RESERVED_BLOCKS = {np.float32: 256, np.float64: 128}
# How many of them are looked at where the first has too few, and where these have.
LOOKED_AT = (2, 16)
# Blocks at a time, which stay in a core's cache.
CHUNK = 1 << 13


def philox(low: Words, high: int, key: tuple[int, int]) -> list[Words]:
    """The four words, each of 32 bits, of every block that ``low`` numbers."""
    a, b = low & LOW, low >> HALF
    c, d = np.full_like(low, high & 0xFFFFFFFF), np.full_like(low, high >> 32)
    one, two = key
    for _ in range(ROUNDS):
        first, second = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        a, b = (second >> HALF) ^ b ^ np.uint64(one), second & LOW
        c, d = (first >> HALF) ^ d ^ np.uint64(two), first & LOW
        one, two = (one + KEY_INCREMENTS[0]) & 0xFFFFFFFF, (two + KEY_INCREMENTS[1]) & 0xFFFFFFFF
    return [a, b, c, d]


def uniforms(words: list[Words], dtype: type[np.floating[Any]]) -> list[Floats]:
    """In [0, 1): a word each in float32, two each in float64, as the bits of a number from 1 to
    2."""
    if dtype is np.float32:
        bits = ((word & np.uint64(0x7FFFFF) | np.uint64(127 << 23)) for word in words)
        return [part.astype(np.uint32).view(np.float32) - np.float32(1) for part in bits]
    pairs = zip(words[::2], words[1::2], strict=True)
    bits = ((upper & np.uint64(0xFFFFF)) << HALF | lower for upper, lower in pairs)
    return [(part | np.uint64(1023 << 52)).view(np.float64) - 1 for part in bits]


def normals(words: list[Words], dtype: type[np.floating[Any]]) -> list[Floats]:
    """By Box and Muller: of each two uniform numbers two."""
    drawn = uniforms(words, dtype)
    found = []
    for one, other in zip(drawn[::2], drawn[1::2], strict=True):
        radius = np.sqrt(dtype(-2) * np.log(np.maximum(one, dtype(SMALLEST_UNIFORM))))
        angle = dtype(2 * np.pi) * other
        found += [np.sin(angle) * radius, np.cos(angle) * radius]
    return found


class Draw:
    """Numbers of one seed, of no unit, in the order in which TensorFlow gives them."""

    def __init__(
        self, seed: Sequence[int] | NDArray[np.integer[Any]], dtype: type[np.floating[Any]]
    ) -> None:
        first, second = (np.uint64(int(part) % LARGEST_SEED) for part in seed)
        words = philox(np.array([first]), int(second), SEED_KEY)
        one, two, low, high = (int(word[0]) for word in words)
        self._key, self._high, self._dtype = (one, two), low | high << 32, dtype

    def uniform(self, n: int) -> Floats:
        return self._blockwise(n, lambda blocks: self._numbers(uniforms, blocks))

    def normal(self, n: int) -> Floats:
        return self._blockwise(n, lambda blocks: self._numbers(normals, blocks))

    def truncated_normal(self, n: int) -> Floats:
        return self._blockwise(n, self._truncated)

    def _numbers(self, kind: Callable[..., list[Floats]], blocks: Words) -> Floats:
        words = philox(blocks, self._high, self._key)
        return np.stack(kind(words, self._dtype), axis=1)

    def _blockwise(self, n: int, numbers: Callable[[Words], Floats]) -> Floats:
        blocks = np.arange(-(-n // self._in_block), dtype=np.uint64)
        found = np.empty((len(blocks), self._in_block), self._dtype)
        for start in range(0, len(blocks), CHUNK):
            found[start : start + CHUNK] = numbers(blocks[start : start + CHUNK])
        return found.ravel()[:n]

    @property
    def _in_block(self) -> int:
        return 4 if self._dtype is np.float32 else 2

    def _truncated(self, groups: Words) -> Floats:
        first = groups * np.uint64(RESERVED_BLOCKS[self._dtype])
        found = self._numbers(normals, first)
        for looked_at in LOOKED_AT:
            short = np.flatnonzero((np.abs(found) >= TRUNCATED_AT).any(axis=1))
            blocks = first[short, None] + np.arange(looked_at, dtype=np.uint64)
            candidates = self._numbers(normals, blocks.ravel())
            candidates = candidates.reshape(len(short), looked_at * self._in_block)
            rejected = np.abs(candidates) >= TRUNCATED_AT
            kept = np.argsort(rejected, axis=1, kind="stable")[:, : self._in_block]
            found[short] = np.take_along_axis(candidates, kept, axis=1)
        return found


@contextmanager
def drawn_as_by_tensorflow() -> Iterator[None]:
    """Within it the weights that Keras draws on JAX are those that it would draw on TensorFlow."""
    import keras

    module = keras.src.backend.random
    originals = {name: getattr(module, name) for name in NUMBERS}
    for name, original in originals.items():
        setattr(module, name, _in_place_of(original, NUMBERS[name]))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(module, name, original)


NUMBERS = {
    "uniform": Draw.uniform,
    "normal": Draw.normal,
    "truncated_normal": Draw.truncated_normal,
}


def _in_place_of(original: Callable[..., Any], numbers: Callable[[Draw, int], Floats]) -> Any:
    """Keras' function of that name on JAX, with other random numbers in it."""
    signature = inspect.signature(original)

    def drawn(*args: Any, **options: Any) -> jax.Array:
        import keras

        call = signature.bind(*args, **options)
        call.apply_defaults()
        # The bounds, or mean and standard deviation, between the two.
        shape, *interval, dtype, seed = call.arguments.values()
        seed = keras.src.backend.random.draw_seed(seed)
        if isinstance(seed, jax.core.Tracer):
            # No weights, but what a layer of a model that is being traced draws.
            return original(shape, *interval, dtype=dtype, seed=seed)
        dtype = np.dtype(dtype or keras.config.floatx())
        kind = np.float64 if dtype == np.float64 else np.float32
        offset, width = (kind(number) for number in interval)
        if "minval" in call.arguments:
            # To TensorFlow the bounds come by way of float32.
            offset, end = (kind(np.float32(number)) for number in interval)
            width = end - offset
        found = numbers(Draw(np.asarray(seed), kind), math.prod(shape)) * width + offset
        return jnp.asarray(found.reshape(shape), dtype)

    return drawn
