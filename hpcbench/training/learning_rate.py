"""The learning rate of each step."""

import numpy as np
from numpy.typing import NDArray


def rates(
    base: float,
    scaled: float,
    warmup_steps: float,
    first_step: int,
    steps: int,
    decay: float = 1.0,
    steps_per_epoch: int = 1,
) -> NDArray[np.float64]:
    """Learning rates of ``steps`` steps from ``first_step``.

    Rises linearly from ``base`` to ``scaled`` over ``warmup_steps`` steps, then stays: the
    gradual warm-up of Goyal et al., arXiv 1706.02677, section 2.2. After each epoch of
    ``steps_per_epoch`` steps it is multiplied by ``decay``.
    """
    step = np.arange(first_step, first_step + steps, dtype=np.float64)
    decayed = decay ** (step // steps_per_epoch)
    if warmup_steps <= 0:
        return scaled * decayed
    return (base + (scaled - base) * (np.minimum(step, warmup_steps) / warmup_steps)) * decayed
