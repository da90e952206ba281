"""Rows of text with labels, their encoding to token arrays, and batches of them; numpy alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ENCODE_ROWS = 10_000


@dataclass(frozen=True)
class TextSplit:
    """Rows of a split: `columns` holds one or two lists of n texts, `labels` is (n,) int64 or float32, or None."""

    name: str
    ids: NDArray[np.int64]
    columns: tuple[Sequence[str], ...]
    labels: NDArray[np.int64] | NDArray[np.float32] | None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[np.int64]) -> TextSplit:
        """The named rows, in that order."""
        columns = tuple([column[row] for row in rows] for column in self.columns)
        return TextSplit(self.name, self.ids[rows], columns, None if self.labels is None else self.labels[rows])

    def fingerprint(self) -> str:
        """sha256 over ids, texts and labels: the same rows give the same digest, wherever they were read from."""
        digest = hashlib.sha256()
        labels = [] if self.labels is None else self.labels.tolist()
        for values in (self.ids.tolist(), *self.columns, labels):
            digest.update(json.dumps(list(values)).encode())
            digest.update(b"\n")
        return digest.hexdigest()


@dataclass(frozen=True)
class EncodedSplit:
    """Token sequences end to end: sequence i is `tokens[offsets[i]:offsets[i + 1]]`, int32.

    `types` are the token type ids in the same form, int8, or None for models without them.
    """

    name: str
    ids: NDArray[np.int64]
    labels: NDArray[np.int64] | NDArray[np.float32] | None
    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]
    types: NDArray[np.int8] | None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens in each sequence, (n,)."""
        return np.diff(self.offsets)

    def sequence(self, row: int) -> NDArray[np.int32]:
        """The tokens of one row."""
        return self.tokens[self.offsets[row] : self.offsets[row + 1]]

    def distinct_rows(self) -> NDArray[np.int64]:
        """The first row of every distinct sequence (tokens and types), in order."""
        types = self.types if self.types is not None else np.zeros(0, np.int8)
        bounds = zip(self.offsets[:-1], self.offsets[1:], strict=True)
        first: dict[bytes, int] = {}
        for row, (start, end) in enumerate(bounds):
            first.setdefault(self.tokens[start:end].tobytes() + types[start:end].tobytes(), row)
        return np.fromiter(first.values(), np.int64, len(first))


def draw_rows(size: int, at_most: int | None, seed: int) -> NDArray[np.int64]:
    """Rows drawn without replacement, in ascending order; all of them where `at_most` does not bind."""
    if at_most is None or at_most >= size:
        return np.arange(size, dtype=np.int64)
    rows = np.random.default_rng([seed, size]).choice(size, size=at_most, replace=False)
    return np.sort(rows).astype(np.int64)


def encode(split: TextSplit, tokenizer: PreTrainedTokenizerBase, max_length: int) -> EncodedSplit:
    """Tokenize every row, cut to `max_length` tokens (the longer text of a pair first), unpadded."""
    token_parts: list[NDArray[np.int32]] = []
    type_parts: list[NDArray[np.int8]] = []
    lengths: list[int] = []
    for start in range(0, len(split), ENCODE_ROWS):
        texts = [list(column[start : start + ENCODE_ROWS]) for column in split.columns]
        encoded = tokenizer(*texts, truncation=True, max_length=max_length, padding=False, return_attention_mask=False)
        lengths += [len(tokens) for tokens in encoded["input_ids"]]
        token_parts += [np.concatenate([np.asarray(tokens, np.int32) for tokens in encoded["input_ids"]])]
        if "token_type_ids" in encoded:
            type_parts += [np.concatenate([np.asarray(types, np.int8) for types in encoded["token_type_ids"]])]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    types = np.concatenate(type_parts) if type_parts else None
    return EncodedSplit(split.name, split.ids, split.labels, np.concatenate(token_parts), offsets, types)


def epoch_batches(lengths: NDArray[np.int64], batch_size: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Global batches of one epoch, each row once: a function of (lengths, batch_size, seed, epoch) alone.

    Rows are shuffled, cut into pools of 50 batches, sorted by length within each pool and cut into batches, whose
    order is shuffled. So a batch holds rows of like length, and which rows meet changes from epoch to epoch.
    """
    generator = np.random.default_rng([seed, epoch, 1])
    order = generator.permutation(len(lengths))
    pool = 50 * batch_size
    pools = [order[start : start + pool] for start in range(0, len(order), pool)]
    by_length = np.concatenate([rows[np.argsort(-lengths[rows], kind="stable")] for rows in pools])
    batches = [by_length[start : start + batch_size] for start in range(0, len(by_length), batch_size)]
    return [batches[index] for index in generator.permutation(len(batches))]


def sorted_batches(lengths: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """Every row once in batches of like length, longest first: the order for passes that only look."""
    order = np.argsort(-lengths, kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
