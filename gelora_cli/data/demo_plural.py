"""The `plural` task: write a sentence again in the plural, with the grammar and the words of the demo task.

    The king near the lamp laughs. -> The kings near the lamp laugh.

Prompt and completion are the two acceptable sentences of a grid of agreement (see `demo.py`), the singular one first. A
small decoder can learn it in minutes, which no task of published text allows: it is a toy [ours]. The splits share no
content word, so that the plurals of the evaluated rows have to be formed, and cannot have been learned by heart.

The rows are a function of the seed alone. They have generators of their own: the draws of the demo task stay as they
are.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping
from typing import NamedTuple

from gelora_cli.data.demo import divide_vocabulary, make_new_grid
from gelora_cli.data.demo_phenomena import make_agreement_across_attractor, make_subject_verb_agreement
from gelora_cli.data.demo_words import Words

ROWS = {"train": 800, "validation": 200, "test": 200}
"""Split -> its rows, as many of each of the two phenomena."""
MAKERS = (make_subject_verb_agreement, make_agreement_across_attractor)


class PluralPair(NamedTuple):
    """A sentence in the singular, and the same in the plural."""

    singular: str
    plural: str


@functools.cache
def plural_splits(seed: int = 0) -> Mapping[str, tuple[PluralPair, ...]]:
    """Return the splits `train`, `validation` and `test`, each in a shuffled order; not to be changed by the caller.

    No sentence comes twice. The words of each split are those that the demo task of the same seed has in it.
    """
    vocabularies = divide_vocabulary(random.Random(seed))
    splits = {}
    for name, rows in ROWS.items():
        words = Words(vocabularies[name], random.Random(f"plural {name} {seed}"))
        splits[name] = _make_split(rows, words)
    return splits


def _make_split(rows: int, words: Words) -> tuple[PluralPair, ...]:
    sentences: set[str] = set()
    pairs = []
    for row in range(rows):
        # A grid holds (acceptable, not acceptable) in the singular, then in the plural.
        singular, plural = make_new_grid(MAKERS[row % len(MAKERS)], words, sentences)
        pairs.append(PluralPair(singular[0], plural[0]))
    words.rng.shuffle(pairs)
    return tuple(pairs)
