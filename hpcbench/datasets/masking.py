"""Masks of masked language modelling: Devlin et al., NAACL 2019, section 3.1.

Of each sample 15 % of the positions are to be told, as many of each, as in Google's
create_pretraining_data.py; so the mean over samples is that over all of these positions. Of them
80 % are masked, 10 % are another word, and 10 % stay as they were.

Masks are static: a sample has the same ones in every epoch. They follow from the run's seed and the
sample's place in the set, whatever the number of ranks and the framework.
"""

import numpy as np
from numpy.typing import NDArray

from hpcbench.datasets import NOT_ASKED

# What stands for a mask in the vocabulary of BERT-Base, uncased.
MASK = 103
TOLD, MASKED, RANDOM = 0.15, 0.8, 0.1
# The parts of a set, of which each has draws of its own.
TRAIN, TEST = 0, 1

Tokens = NDArray[np.int32]


def masked(tokens: Tokens, words: int, key: tuple[int, int, int]) -> tuple[Tokens, Tokens]:
    """A sample of ``tokens`` (length,) as the network sees it, and its targets: the tokens of the
    positions to be told, NOT_ASKED elsewhere. Draws follow from ``key``: part, seed and place."""
    generator = np.random.default_rng(key)
    places = generator.permutation(len(tokens))[: max(1, round(TOLD * len(tokens)))]
    kind = generator.random(len(places))
    others = generator.integers(0, words, len(places), np.int32)
    told = tokens[places]
    inputs, targets = tokens.copy(), np.full_like(tokens, NOT_ASKED)
    inputs[places] = np.select([kind < MASKED, kind < MASKED + RANDOM], [MASK, others], told)
    targets[places] = told
    return inputs, targets


def masked_rows(rows: Tokens, words: int, seed: int, part: int) -> tuple[Tokens, Tokens]:
    """:func:`masked` for each of ``rows`` (n, length)."""
    pairs = [masked(row, words, (part, seed, place)) for place, row in enumerate(rows)]
    inputs, targets = (np.stack(kind) for kind in zip(*pairs, strict=True))
    return inputs, targets
