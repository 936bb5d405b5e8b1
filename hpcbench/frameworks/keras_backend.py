"""Keras on one of its backends, which is settled when it is first imported."""

import contextlib
import os
import sys
from collections.abc import Iterator

from hpcbench.errors import EnvironmentLacks

# Keras and TensorFlow load these, where there are, for helpers that no training calls: for a second
# and more.
UNNEEDED = ("jax", "matplotlib", "pandas", "sklearn")


def choose_keras(backend: str) -> None:
    """What imports Keras next has it on ``backend``."""
    os.environ["KERAS_BACKEND"] = backend


def load_keras(backend: str) -> None:
    """Import Keras on ``backend``; EnvironmentLacks where this process has it on another."""
    choose_keras(backend)
    with _as_if_not_installed(*(name for name in UNNEEDED if name != backend)):
        import keras
    if keras.backend.backend() != backend:
        raise EnvironmentLacks(
            f"Keras is on {keras.backend.backend()} in this process already, and cannot be on "
            f"{backend} too: take a process for each"
        )


def set_random_seed(seed: int) -> None:
    """Keras' own, which would import TensorFlow too where there is one, whatever the backend."""
    import keras

    with _as_if_not_installed("tensorflow"):
        keras.utils.set_random_seed(seed)


@contextlib.contextmanager
def _as_if_not_installed(*names: str) -> Iterator[None]:
    """Within it, what of ``names`` was not imported before cannot be."""
    left_out = [name for name in names if name not in sys.modules]
    # To import what is None in here fails as if it were not installed.
    sys.modules.update(dict.fromkeys(left_out))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in left_out:
            del sys.modules[name]
