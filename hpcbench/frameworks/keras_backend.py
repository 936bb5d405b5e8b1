"""Keras on one of its backends, which is settled when it is first imported."""

import os
import sys

from hpcbench.errors import EnvironmentLacks

# Keras and TensorFlow load these, where there are, for helpers that no training calls: for a second
# and more.
UNNEEDED = ("jax", "matplotlib", "pandas", "sklearn")


def load_keras(backend: str) -> None:
    """Import Keras on ``backend``; EnvironmentLacks where this process has it on another."""
    os.environ["KERAS_BACKEND"] = backend
    left_out = [name for name in UNNEEDED if name not in sys.modules and name != backend]
    # To import what is None in here fails as if it were not installed.
    sys.modules.update(dict.fromkeys(left_out))  # type: ignore[arg-type]
    try:
        import keras
    finally:
        for name in left_out:
            del sys.modules[name]
    if keras.backend.backend() != backend:
        raise EnvironmentLacks(
            f"Keras is on {keras.backend.backend()} in this process already, and cannot be on "
            f"{backend} too: take a process for each"
        )
