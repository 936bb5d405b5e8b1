"""GELU by the hyperbolic tangent, as GPT-2 has it; a saved model names it."""

from typing import Any

import keras


@keras.saving.register_keras_serializable("hpcbench")
def tanh_gelu(values: Any) -> Any:
    return keras.ops.gelu(values, approximate=True)
