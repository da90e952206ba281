"""Draws among the tokens of a text that follow from a seed and the text alone: which are points, or their new order.

Batches, processes and the other texts don't matter to them, and equal texts get equal draws.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gelora_cli.data.encoding import EncodedSplit

# Each kind of draw has a stream of its own, so that one does not foretell the other. They can't change: saved profiles
# depend on them.
POINTS, ORDER = 1, 2


def draw_tokens(
    split: EncodedSplit, count: int, *, seed: int, special_ids: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw `count` tokens of every text without replacement; a shorter text gives all of its own.

    Tokens that the tokenizer adds around a text are never drawn [ours]: every text has them, at the same place, so
    they would be near copies of each other. A text of nothing else gives no token.

    Args:
        split: the texts.
        count: tokens of each text.
        seed: of the draw.
        special_ids: tokens that are left out, see `models.tokenizer.special_ids`.

    Returns:
        The positions of the drawn tokens in their texts, text by text and ascending in each, (points,); and where each
        text begins in them, and the last one ends, (n + 1,).
    """
    positions = []
    for row in range(len(split)):
        ordinary = np.flatnonzero(~np.isin(split.sequence(row), special_ids))
        if len(ordinary) > count:
            ordinary = np.sort(_generator(split, row, seed, POINTS).choice(ordinary, count, replace=False))
        positions.append(ordinary)
    offsets = np.cumsum([0, *map(len, positions)])
    return np.concatenate([np.zeros(0, np.int64), *positions]), offsets


def shuffle_tokens(split: EncodedSplit, *, seed: int, special_ids: Sequence[int]) -> EncodedSplit:
    """Return the texts with their tokens in a random order: the same words, without their grammar.

    Special tokens stay where they are, and the tokens between two of them stay between them [ours], so that the two
    texts of a pair don't mix.
    """
    tokens = split.tokens.copy()
    for row, start in enumerate(split.offsets[:-1]):
        sequence = split.sequence(row)
        special = np.isin(sequence, special_ids)
        generator = _generator(split, row, seed, ORDER)
        part = np.cumsum(special)  # (T,): the tokens after each special token have one number
        for number in np.unique(part[~special]):
            places = np.flatnonzero((part == number) & ~special)
            tokens[start + places] = sequence[generator.permutation(places)]
    return replace(split, tokens=tokens)


def _generator(split: EncodedSplit, row: int, seed: int, stream: int) -> np.random.Generator:
    """Return the generator of one text, which depends on nothing but its tokens, the seed and the kind of draw."""
    digest = hashlib.blake2b(split.sequence(row).tobytes(), digest_size=8).digest()
    return np.random.default_rng([stream, seed, int.from_bytes(digest, "little")])
