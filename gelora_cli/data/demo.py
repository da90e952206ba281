"""The `demo` task: acceptability of generated English sentences, in the manner of CoLA and BLiMP.

A phenomenon is a two-by-two grid: two contexts and two fillers, of which each context accepts one. So a grid gives two
minimal pairs in which every word stands equally often in an acceptable and in an unacceptable sentence: only the
combination tells which is which, and counting words tells nothing. (In the word order phenomena the two pairs are
independent, and the members of a pair have the same words.) This module needs the standard library only.

The manner is that of Warstadt et al., "BLiMP: The Benchmark of Linguistic Minimal Pairs for English" (TACL 2020) and
"Neural Network Acceptability Judgments" (TACL 2019, CoLA); no sentence comes from them.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gelora_cli.data.demo_phenomena import PHENOMENA, Grid
from gelora_cli.data.demo_vocabulary import VOCABULARY
from gelora_cli.data.demo_words import Words

GRIDS = {"train": 58, "validation": 12, "test": 12}

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}


@dataclass(frozen=True)
class DemoExample:
    """One sentence; `label` is 1 when it is acceptable, 0 when it is not.

    `id` counts from 0 in its split; `pair` is shared by the two members of a minimal pair and by no other sentence of
    any split.
    """

    id: int
    sentence: str
    label: int
    phenomenon: str
    pair: int


def demo_splits(seed: int = 0) -> dict[str, tuple[DemoExample, ...]]:
    """The splits `train`, `validation` and `test`, each in a shuffled order: a function of `seed` alone.

    A split has `4 * GRIDS[split]` sentences of each phenomenon, half of them acceptable. No sentence comes twice, both
    members of a minimal pair are in one split, and no noun, verb, adjective or name of one split is in another in any
    of its forms: the splits share function words only.
    """
    rng = random.Random(seed)
    vocabularies = _vocabularies(rng)
    pairs, seen = itertools.count(), set[str]()
    return {name: _split(grids, Words(vocabularies[name], rng), pairs, seen) for name, grids in GRIDS.items()}


def _vocabularies(rng: random.Random) -> dict[str, dict[str, list[str]]]:
    """Every list of `VOCABULARY` cut into disjoint parts, one for each split."""
    parts: dict[str, dict[str, list[str]]] = {name: {} for name in SHARES}
    for kind, text in VOCABULARY.items():
        words = text.split()
        rng.shuffle(words)
        start = 0.0
        for name, share in SHARES.items():
            parts[name][kind] = words[round(start * len(words)) : round((start + share) * len(words))]
            start += share
    return parts


def _split(grids: int, words: Words, pairs: Iterator[int], seen: set[str]) -> tuple[DemoExample, ...]:
    """The same number of grids of each phenomenon, shuffled."""
    members = [
        (phenomenon, next(pairs), sentences)
        for phenomenon, make in PHENOMENA.items()
        for _ in range(grids)
        for sentences in _new_grid(make, words, seen)
    ]
    rows = [
        (s, label, phenomenon, pair) for phenomenon, pair, (good, bad) in members for s, label in ((good, 1), (bad, 0))
    ]
    words.rng.shuffle(rows)
    return tuple(DemoExample(index, *row) for index, row in enumerate(rows))


def _new_grid(make: Callable[[Words], Grid], words: Words, seen: set[str]) -> Grid:
    """A grid of four sentences not `seen` before, in which no content word was drawn twice."""
    while True:
        words.drawn.clear()
        grid = make(words)
        sentences = {sentence for pair in grid for sentence in pair}
        if not sentences & seen and len(sentences) == 4 and len(set(words.drawn)) == len(words.drawn):
            seen |= sentences
            return grid
