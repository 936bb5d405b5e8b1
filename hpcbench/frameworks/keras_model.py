"""A registered network, or a user's own, as a Keras model on any of Keras' backends."""

from typing import TYPE_CHECKING

import numpy as np

from hpcbench.errors import ConfigError, first_line
from hpcbench.models import MODELS, OF_TOKENS, BuildContext
from hpcbench.references import is_reference
from hpcbench.words import count

if TYPE_CHECKING:
    import keras

    from hpcbench.layers.batch_normalization import BatchNormalizationFactory


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
        words = spec.kind in ("texts", *OF_TOKENS)
        model(np.zeros((1, *context.input_shape), "int32" if words else "float32"))
    if not hasattr(model, "output_shape"):
        return model
    found = tuple(model.output_shape)
    inner = {"fields": "height, width, "} | dict.fromkeys(OF_TOKENS, "length, ")
    within = inner.get(spec.kind, "")
    if found[-1] != context.outputs or len(found) != 2 + within.count(","):
        samples = f"(samples, {within}"
        raise ConfigError(
            f"model {name} gives {found} where it should give {samples}{context.outputs})"
        )
    return model


def generator_states(model: "keras.Model") -> "list[keras.Variable]":
    """The states, (seed, counter), of the generators of random numbers that layers have, such as
    dropout's: what is a model's and no weight of it. Their type is each backend's own."""
    weights = {id(weight) for weight in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


def refuse_other_normalization(
    model: "keras.Model", name: str, normalization: "BatchNormalizationFactory"
) -> None:
    """Raise ConfigError where ``model`` normalizes by layers that are not ``normalization``'s: such
    take statistics over one device's samples alone."""
    import keras

    layers = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization) and type(layer) is not normalization
    ]
    if layers:
        raise ConfigError(
            f"--batchnorm sync: model {name} brings {count(len(layers), 'batch normalization')} of "
            f"its own, which know one device alone; they have to come from "
            f"context.batch_normalization"
        )
