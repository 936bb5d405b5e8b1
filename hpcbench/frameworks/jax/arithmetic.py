"""How Keras calculates on JAX."""

import jax
import keras
from jax.sharding import Mesh

from hpcbench.frameworks.backend import check_tf32

# How products of float32 are rounded on GPUs, where JAX's default is TF32.
PRODUCTS = {"tf32": "tensorfloat32"}


def set_arithmetic(precision: str, mesh: Mesh) -> None:
    """Keras' policy, and how a GPU rounds the factors of float32 products; raises EnvironmentLacks
    where TF32 is asked for and not there."""
    set_products(precision, mesh.local_devices[0])
    keras.config.set_floatx("float64" if precision == "float64" else "float32")
    keras.config.set_dtype_policy("float32" if precision == "tf32" else precision)


def set_products(precision: str, device: jax.Device) -> None:
    """JAX's own part of :func:`set_arithmetic`, without Keras."""
    if precision == "tf32":
        gpu = device.platform == "gpu"
        major, _, minor = str(getattr(device, "compute_capability", "0.0")).partition(".")
        check_tf32((int(major), int(minor or 0)) if gpu else None)
    jax.config.update("jax_enable_x64", precision == "float64")
    jax.config.update("jax_default_matmul_precision", PRODUCTS.get(precision, "highest"))
