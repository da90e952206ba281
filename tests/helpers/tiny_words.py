"""The sentences of the tests, and the pieces of which tiny tokenizers are made."""

from __future__ import annotations

import string
from typing import Any

from tokenizers import pre_tokenizers

SENTENCES = (
    "the cat sat on the mat",
    "a dog ran after the small bird",
    "the students who read the book are happy",
    "she said that he has never seen a better film",
    "did the author write this long story himself",
    "one of the keys to the old house is lost",
    "they think it will rain in the city today",
    "which question can you answer with these words",
)
WORDS = tuple(sorted({word for sentence in SENTENCES for word in sentence.split()}))


def byte_pieces() -> tuple[list[str], list[Any]]:
    """Return every byte, and for each word the merges that build it from its leading space, letter by letter."""
    steps = dict.fromkeys(("Ġ" + word[:end], word[end]) for word in WORDS for end in range(len(word)))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return [*alphabet, *(left + right for left, right in steps)], list(steps)


def word_pieces(special: list[str]) -> dict[str, int]:
    """Return special tokens, every character at the start and inside of a word, and every word."""
    pieces = [*special, *characters(), *("##" + character for character in characters())]
    return numbered([*pieces, *(word for word in WORDS if len(word) > 1)])


def unigram_pieces(special: list[str]) -> list[tuple[str, float]]:
    """Return special tokens, every word with its leading space, and every character, each with its score."""
    pieces = [(token, 0.0) for token in special]
    pieces += [("▁" + word, -3.0) for word in WORDS]
    return [*pieces, *((character, -10.0) for character in ("▁", *characters()))]


def characters() -> list[str]:
    """Return letters, digits and punctuation."""
    return [*string.ascii_letters, *string.digits, *string.punctuation]


def numbered(pieces: list[str]) -> dict[str, int]:
    """Return the pieces of a vocabulary, numbered from 0."""
    return {piece: index for index, piece in enumerate(pieces)}
