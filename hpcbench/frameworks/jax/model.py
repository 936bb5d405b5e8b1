"""The network and the optimizer of a run in JAX: Keras' own, and how they calculate."""

import jax
import keras
import numpy as np
from jax.sharding import Mesh

from hpcbench.errors import ConfigError, first_line
from hpcbench.frameworks.backend import check_tf32
from hpcbench.models import MODELS, BuildContext

# How products of float32 are rounded on GPUs, where JAX's default is TF32.
PRODUCTS = {"tf32": "tensorfloat32"}


def set_arithmetic(precision: str, mesh: Mesh) -> None:
    """Keras' policy, and how a GPU rounds the factors of float32 products; raises EnvironmentLacks
    where TF32 is asked for and not there."""
    if precision == "tf32":
        device = mesh.local_devices[0]
        gpu = device.platform == "gpu"
        major, _, minor = str(getattr(device, "compute_capability", "0.0")).partition(".")
        check_tf32((int(major), int(minor or 0)) if gpu else None)
    jax.config.update("jax_enable_x64", precision == "float64")
    jax.config.update("jax_default_matmul_precision", PRODUCTS.get(precision, "highest"))
    keras.config.set_floatx("float64" if precision == "float64" else "float32")
    keras.config.set_dtype_policy("float32" if precision == "tf32" else precision)


def build_model(name: str, context: BuildContext) -> keras.Model:
    """The network called ``name``, with its weights; ConfigError where it cannot be built."""
    try:
        model = MODELS[name].builder("jax")(context)
    except ConfigError:
        raise
    except Exception as error:
        shape = " x ".join(map(str, context.input_shape))
        raise ConfigError(
            f"model {name} cannot be built in JAX for inputs of {shape}: {first_line(error)}"
        ) from error
    if not isinstance(model, keras.Model):
        raise ConfigError(f"build of {name} returns no Keras model but {type(model).__name__}")
    if not model.built:
        texts = MODELS[name].kind == "texts"
        model(np.zeros((1, *context.input_shape), "int32" if texts else "float32"))
    if tuple(model.output_shape) != (None, context.outputs):
        raise ConfigError(
            f"model {name} gives {tuple(model.output_shape)} where it should give (samples, "
            f"{context.outputs})"
        )
    return model


def optimizer(name: str, momentum: float) -> keras.optimizers.Optimizer:
    """Keras' own, which is given its learning rate at each step."""
    if name == "sgd":
        return keras.optimizers.SGD(0.0, momentum=momentum)
    if name == "adam":
        return keras.optimizers.Adam(0.0)
    return keras.optimizers.Adadelta(0.0)
