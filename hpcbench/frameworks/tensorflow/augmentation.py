"""Images changed at random on the device, so that a network learns what does not matter.

Rotation, scale and translation are one affine transform an image, drawn anew for each sample and
step; noise is added after it. Draws follow from the run's seed, the device and the step alone, so a
resumed run sees the same images.
"""

import math
from collections.abc import Callable

import tensorflow as tf

# The largest turn either way in radians, shift in parts of the size, change of scale; the deviation
# of the noise in parts of white.
TURN, SHIFT, SCALE, NOISE = math.radians(15), 0.12, 0.15, 0.1

Augmentation = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def augmentation(kinds: frozenset[str]) -> Augmentation:
    """A function of images (n, height, width, channels), scaled to [0, 1], and a seed of two."""

    def augmented(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        if kinds - {"noise"}:
            images = _transformed(images, seed, kinds)
        if "noise" in kinds:
            added = tf.random.stateless_normal(tf.shape(images), seed, stddev=NOISE)
            images = tf.clip_by_value(images + tf.cast(added, images.dtype), 0, 1)
        return images

    return augmented


def _transformed(images: tf.Tensor, seed: tf.Tensor, kinds: frozenset[str]) -> tf.Tensor:
    """Each image turned, scaled and shifted about its centre; black where nothing was."""
    count, height, width = (tf.shape(images)[axis] for axis in range(3))

    def drawn(kind: str, reach: float, place: int) -> tf.Tensor:
        if kind not in kinds:
            return tf.zeros([count])
        # Each kind draws from a stream of its own.
        return tf.random.stateless_uniform([count], tf.add(seed, [0, place << 24]), -reach, reach)

    angle = drawn("rotate", TURN, 1)
    factor = 1 + drawn("scale", SCALE, 2)
    wide, high = tf.cast(width, tf.float32), tf.cast(height, tf.float32)
    across, down = drawn("shift", SHIFT, 3) * wide, drawn("shift", SHIFT, 4) * high
    cosine, sine = tf.cos(angle) / factor, tf.sin(angle) / factor
    # From where in the image each output pixel comes; the centre stays but for the shift.
    x, y = (wide - 1) / 2, (high - 1) / 2
    rows = tf.stack(
        [
            cosine,
            -sine,
            x - cosine * (x + across) + sine * (y + down),
            sine,
            cosine,
            y - sine * (x + across) - cosine * (y + down),
            tf.zeros([count]),
            tf.zeros([count]),
        ],
        axis=1,
    )
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=rows,
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
