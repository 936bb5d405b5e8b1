"""The models. Each module registers a family; adding a model is adding one file.

A spec can be read without loading a framework: only a builder imports one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcbench.errors import ConfigError, unknown_name
from hpcbench.references import OF_KERAS, Loaded, is_reference, load, reference_name
from hpcbench.registry import Registry

if TYPE_CHECKING:
    import keras

    from hpcbench.layers.batch_normalization import BatchNormalizationFactory

DIGITS = ("mnist", "fashion-mnist", "mnist-5k")
# Kinds of data whose samples are rows of tokens, each of which a network tells.
TOKENS, MASKED_TOKENS = "tokens", "masked tokens"
OF_TOKENS = (TOKENS, MASKED_TOKENS)
# The frameworks that Keras models are trained by.
KERAS_FRAMEWORKS = ("tensorflow", "jax")


@dataclass(frozen=True)
class BuildContext:
    """What a builder needs to know of the run.

    ``batch_normalization`` makes a batch normalization layer with the run's choice of local
    or synchronized statistics; ``seed`` seeds this process's random layers; ``logits_dtype`` is
    the type of the output, float32 unless all is float64; ``outputs`` how many numbers it has;
    ``words`` how many words a text's numbers stand for, 0 where it is no text; ``devices`` the
    names of those over which the network is split, one empty name where it is not.
    """

    input_shape: tuple[int, ...]
    outputs: int
    seed: int
    logits_dtype: str
    batch_normalization: "BatchNormalizationFactory"
    words: int = 0
    devices: tuple[str, ...] = ("",)


@dataclass(frozen=True)
class Workshop:
    """``epochs`` is the number of epochs behind ``accuracy``, the test accuracy of the workshop's
    score table; ``microseconds`` is the training time a sample that its slides print, for hardware
    that they do not name."""

    epochs: int
    accuracy: float
    microseconds: float


@dataclass(frozen=True)
class ModelSpec:
    """A model and how it is trained; every default can be overridden on the command line.

    ``build`` makes it as a Keras model, for TensorFlow and JAX; ``builders`` make the same network
    for other frameworks, by their names, each called as its framework documents it. It takes data
    sets of one ``kind``; ``datasets`` are those that ``auto`` looks for, in this order.
    ``parameters`` and ``trainable_parameters`` are counts for the first of them, None where they
    are not known. ``lr_decay`` multiplies the learning rate after each epoch; ``image_size`` is the
    pixels a side to which images of any size are brought; ``devices_per_replica`` over how many
    devices one copy of the network can be split. ``workshop`` holds what the workshop printed of
    it, if it did.
    """

    name: str
    build: "Callable[[BuildContext], keras.Model] | None" = None
    optimizer: str = "adam"
    learning_rate: float = 0.001
    momentum: float = 0.0
    batch: int = 64
    epochs: int = 5
    parameters: int | None = None
    trainable_parameters: int | None = None
    workshop: "Workshop | None" = None
    kind: str = "images"
    datasets: tuple[str, ...] = DIGITS
    lr_decay: float = 1.0
    image_size: int = 32
    devices_per_replica: tuple[int, ...] = (1,)
    builders: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    def builder(self, framework: str) -> Callable[..., Any]:
        """What makes it for ``framework``; ConfigError where it is not written for that."""
        build = self.build if framework in KERAS_FRAMEWORKS else self.builders.get(framework)
        if build is None:
            raise ConfigError(f"model {self.name} is not written for {framework}")
        return build

    @property
    def frameworks(self) -> tuple[str, ...]:
        """The frameworks that the model is written for."""
        return (*(KERAS_FRAMEWORKS if self.build else ()), *self.builders)


class ModelRegistry(Registry[ModelSpec]):
    """Also knows models by a reference, a file of a user's own or ``package.module:build``, and
    those of keras.applications as ``keras:NAME``."""

    def __init__(self) -> None:
        super().__init__("model", __name__)
        self._own: dict[str, ModelSpec] = {}
        self._families: dict[str, Callable[[str], ModelSpec]] = {}
        # What each file has registered, by its path.
        self._added: dict[Path, list[str]] = {}

    def add_family(self, prefix: str, make: Callable[[str], ModelSpec]) -> None:
        """Models too many to be listed, each made of what follows ``prefix`` in its name."""
        self._families[prefix] = make

    def __getitem__(self, name: str) -> ModelSpec:
        """The model, or a ConfigError that suggests the closest name or says what does not load."""
        if name.startswith(OF_KERAS):
            self._load()
            return self._families[OF_KERAS](name.removeprefix(OF_KERAS))
        if not is_reference(name):
            return super().__getitem__(name)
        if name not in self._own:
            # Its file may register models: what comes to be known by loading it is its own.
            before = set(self.names())
            loaded = load(name)
            added = [known for known in self.names() if known not in before]
            added = self._added.setdefault(loaded.file, added)
            self._own[name] = self._of(name, loaded, added)
        return self._own[name]

    def source(self, name: str) -> Loaded | None:
        """The file that defines a model named by a reference; None for a registered one."""
        if not is_reference(name):
            return None
        self[name]
        return load(name)

    def _of(self, reference: str, loaded: Loaded, added: list[str]) -> ModelSpec:
        if loaded.object in added:
            return super().__getitem__(loaded.object)
        if not loaded.object and len(added) == 1:
            # By the name that the file gave it, which may look like a file itself.
            return super().__getitem__(added[0])
        if not loaded.object and len(added) > 1:
            raise ConfigError(
                f"{reference} registers {len(added)} models; name one, as in "
                f"{reference}:{added[0]} (also: {', '.join(added[1:])})"
            )
        name = loaded.object or "build"
        found = getattr(loaded.module, name, None)
        if isinstance(found, ModelSpec):
            return found
        if callable(found):
            return ModelSpec(name=reference_name(reference), build=found)
        public = [
            known
            for known, value in vars(loaded.module).items()
            if getattr(value, "__module__", None) == loaded.module.__name__ and known[0] != "_"
        ]
        if not added + public:
            raise ConfigError(f"{loaded.file} defines no function and registers no model")
        raise unknown_name(f"model in {loaded.file}", name, added + public)


MODELS = ModelRegistry()
