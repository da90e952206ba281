"""The `demo` task: acceptability of generated English sentences, in the manner of CoLA and BLiMP.

A phenomenon is a two-by-two grid of two contexts and two fillers, in which each context accepts one filler. So a grid
gives two minimal pairs, and every word stands equally often in an acceptable and in an unacceptable sentence. Only the
combination of words tells which sentence is acceptable; counting words tells nothing. (In the word order phenomena the
two pairs are independent, and the members of a pair have the same words.)

The manner is that of Warstadt et al., "BLiMP: The Benchmark of Linguistic Minimal Pairs for English" (TACL 2020) and
"Neural Network Acceptability Judgments" (TACL 2019, CoLA). No sentence comes from them.

The sentences are a function of the seed alone. Every call of the random generator counts: an added, removed or moved
one changes all sentences after it. This task needs the standard library only.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from gelora_cli.data.demo_phenomena import PHENOMENA, Grid
from gelora_cli.data.demo_vocabulary import VOCABULARY
from gelora_cli.data.demo_words import Words

GRIDS = {"train": 58, "validation": 12, "test": 12}
"""Split -> grids of each phenomenon, of four sentences each."""
SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}
"""Split -> its share of every list of words."""


@dataclass(frozen=True)
class DemoExample:
    """One sentence.

    Attributes:
        id: number of the sentence in its split, from 0.
        sentence: the text.
        label: 1 if the sentence is acceptable, 0 if not.
        phenomenon: name of the phenomenon.
        pair: number that the two members of a minimal pair share, and no other sentence of any split.
    """

    id: int
    sentence: str
    label: int
    phenomenon: str
    pair: int


@functools.cache
def demo_splits(seed: int = 0) -> Mapping[str, tuple[DemoExample, ...]]:
    """Return the splits `train`, `validation` and `test`, each in a shuffled order; not to be changed by the caller.

    A split has `4 * GRIDS[split]` sentences of each phenomenon, half of them acceptable. No sentence comes twice, and
    both members of a minimal pair are in one split. No noun, verb, adjective or name of one split is in another split
    in any of its forms: the splits share function words only.
    """
    rng = random.Random(seed)
    vocabularies = divide_vocabulary(rng)
    pair_numbers = itertools.count()
    sentences: set[str] = set()  # of all splits
    splits = {}
    for name, grids in GRIDS.items():
        splits[name] = _make_split(grids, Words(vocabularies[name], rng), pair_numbers, sentences)
    return splits


def divide_vocabulary(rng: random.Random) -> dict[str, dict[str, list[str]]]:
    """Return split -> kind -> words: each list of `VOCABULARY` shuffled and cut into one part for each split."""
    parts: dict[str, dict[str, list[str]]] = {name: {} for name in SHARES}
    for kind, text in VOCABULARY.items():
        words = text.split()
        rng.shuffle(words)  # one draw a list: the order of VOCABULARY is part of the result
        start = 0.0
        for name, share in SHARES.items():
            parts[name][kind] = words[round(start * len(words)) : round((start + share) * len(words))]
            start += share
    return parts


def _make_split(grids: int, words: Words, pair_numbers: Iterator[int], sentences: set[str]) -> tuple[DemoExample, ...]:
    """Return the sentences of `grids` grids of each phenomenon, shuffled."""
    rows: list[tuple[str, int, str, int]] = []
    for phenomenon, make_grid in PHENOMENA.items():
        for _ in range(grids):
            for acceptable, unacceptable in make_new_grid(make_grid, words, sentences):
                pair = next(pair_numbers)
                rows.append((acceptable, 1, phenomenon, pair))
                rows.append((unacceptable, 0, phenomenon, pair))
    words.rng.shuffle(rows)  # else the two members of a pair would stand side by side
    return tuple(DemoExample(index, *row) for index, row in enumerate(rows))


def make_new_grid(make_grid: Callable[[Words], Grid], words: Words, sentences: set[str]) -> Grid:
    """Return a grid of four new sentences, in which no content word was drawn twice, and add them to `sentences`."""
    while True:
        words.drawn.clear()
        grid = make_grid(words)
        candidates = {sentence for pair in grid for sentence in pair}
        are_new = not candidates & sentences and len(candidates) == 4
        words_differ = len(set(words.drawn)) == len(words.drawn)
        if are_new and words_differ:
            sentences |= candidates
            return grid
