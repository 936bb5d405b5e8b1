"""Packages that only some uses need: the extra that brings each, one sentence where it lacks."""

from collections.abc import Iterator
from contextlib import contextmanager

from hpcbench.errors import EnvironmentLacks
from hpcbench.resources import PACKAGED

# The name hpcbench is taken on PyPI.
DISTRIBUTION = "hpcbench-training"
# By what Python imports: the extra of pyproject.toml.
EXTRAS = {
    "tensorflow": "cpu",
    "keras": "cpu",
    "tensorboard": "cpu",
    "torch": "torch",
    "jax": "jax",
    "mpi4py": "train",
    "mlperf_logging": "train",
    "pynvml": "train",
    "h5py": "data",
    "PIL": "data",
    "mlxtend": "data",
    "shtab": "completion",
}
IN_A_CLONE = {"torch": "containers/setup.sh --torch", "jax": "containers/setup.sh --jax"}


def installation(module: str) -> str:
    """The command that brings ``module``: a clone sets itself up, a wheel has extras."""
    extra = EXTRAS[module]
    if PACKAGED.is_symlink():
        return IN_A_CLONE.get(extra, "make setup")
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def lacking(error: BaseException) -> EnvironmentLacks | None:
    """The sentence for an import that failed since one of these packages is not installed."""
    if not isinstance(error, ModuleNotFoundError) or error.name not in EXTRAS:
        return None
    return EnvironmentLacks(
        f"{error.name} is needed and not installed; run {installation(error.name)}"
    )


@contextmanager
def named() -> Iterator[None]:
    """Within it, an import that fails for want of one of these packages is EnvironmentLacks."""
    try:
        yield
    except ModuleNotFoundError as error:
        sentence = lacking(error)
        if sentence is None:
            raise
        raise sentence from error
