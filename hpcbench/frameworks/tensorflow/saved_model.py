"""A trained Keras model as a run kept it, to look at what it learned."""

from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from hpcbench.config import RunConfig
from hpcbench.datasets import DatasetSpec
from hpcbench.errors import DataError
from hpcbench.frameworks import SavedModel
from hpcbench.frameworks.tensorflow.backend import MODEL_FILE
from hpcbench.layers.batch_normalization import batch_normalization
from hpcbench.models import MODELS, BuildContext
from hpcbench.strategies import STRATEGIES

IMAGES_AT_A_TIME, FIELDS_AT_A_TIME = 500, 1


class SavedKerasModel(SavedModel):
    """Of a run in ``folder``; raises DataError where its weights do not fit the data."""

    def __init__(self, folder: Path, config: RunConfig, spec: DatasetSpec) -> None:
        devices = STRATEGIES[config.strategy].devices_per_replica
        context = BuildContext(
            input_shape=spec.input_shape,
            outputs=spec.outputs,
            seed=0,
            logits_dtype="float32",
            batch_normalization=batch_normalization(config.batchnorm, list),
            words=spec.words,
            devices=("/cpu:0",) * devices if devices > 1 else ("",),
        )
        try:
            self._model: keras.Model = MODELS[config.model].builder("tensorflow")(context)
            self._model.load_weights(folder / MODEL_FILE)
        except ValueError as error:
            raise DataError(f"{folder / MODEL_FILE} does not fit the data: {error}") from error

    def guesses(self, inputs: NDArray[np.uint8 | np.float32]) -> NDArray[np.int64]:
        images = inputs.dtype == np.uint8
        values = inputs.astype(np.float32) / 255 if images else inputs
        batch = IMAGES_AT_A_TIME if images else FIELDS_AT_A_TIME
        outputs = self._model.predict(values, batch_size=batch, verbose=0)
        return np.asarray(outputs.argmax(axis=-1))

    def first_kernel(self) -> NDArray[np.float32]:
        weights = self._model.trainable_weights
        return np.asarray(next(w for w in weights if w.name == "kernel").numpy())
