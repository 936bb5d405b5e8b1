"""A registered network, or a user's own, as a Keras model on any of Keras' backends."""

from typing import TYPE_CHECKING

import numpy as np

from hpcbench.errors import ConfigError, first_line
from hpcbench.models import MODELS, BuildContext
from hpcbench.references import is_reference

if TYPE_CHECKING:
    import keras


def build_model(framework: str, name: str, context: BuildContext) -> "keras.Model":
    """The network called ``name`` on Keras, which ``framework`` has loaded, with its weights.

    Raises ConfigError where the network cannot be built for inputs of this shape, or is none."""
    import keras

    spec = MODELS[name]
    build = spec.builder(framework)
    try:
        model = build(context)
    except Exception as error:
        if is_reference(name):
            # A user's own function may do anything.
            raise ConfigError(
                f"build of {name} fails: {type(error).__name__}: {first_line(error)}"
            ) from error
        if not isinstance(error, ValueError):
            raise
        shape = " x ".join(map(str, context.input_shape))
        raise ConfigError(
            f"model {name} cannot be built for inputs of {shape}; choose other data, or of images "
            f"of any size another --image-size"
        ) from error
    if not isinstance(model, keras.Model):
        raise ConfigError(f"build of {name} returns no Keras model but {type(model).__name__}")
    if not model.built:
        # One without an input layer learns its shape from its first call.
        model(np.zeros((1, *context.input_shape), "int32" if spec.kind == "texts" else "float32"))
    if not hasattr(model, "output_shape"):
        return model
    found, fields = tuple(model.output_shape), spec.kind == "fields"
    if found[-1] != context.outputs or len(found) != (4 if fields else 2):
        samples = "(samples, height, width, " if fields else "(samples, "
        raise ConfigError(
            f"model {name} gives {found} where it should give {samples}{context.outputs})"
        )
    return model
