"""Rows of text with labels, and rows drawn from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.messages import join_texts, quote_name
from gelora_cli.data.encoding import EncodedSplit, encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LARGEST_SCORE = float(np.finfo(np.float32).max)
"""The largest label of a regression task: labels are float32."""


@dataclass(frozen=True)
class TextSplit:
    """n rows of a split.

    Attributes:
        name: name of the split.
        ids: an id for each row, (n,).
        columns: one list of n texts, or two for pairs of texts.
        labels: classes (n,) int64, scores (n,) float32, sets of labels (n, C) float32 of 0 and 1, or None.
        note: what a user should know about how the rows were chosen.
        group_names: a group for each row, (n,), such as the article it comes from. Rows of one group are never
            separated. None if every row is independent.
    """

    name: str
    ids: NDArray[np.int64]
    columns: tuple[Sequence[str], ...]
    labels: NDArray[np.int64] | NDArray[np.float32] | None
    note: str = ""
    group_names: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[np.int64]) -> TextSplit:
        """Return the given rows in that order, without the note."""
        columns: list[list[str]] = []
        for column in self.columns:
            columns.append([column[row] for row in rows])
        labels = None if self.labels is None else self.labels[rows]
        group_names = None if self.group_names is None else [self.group_names[row] for row in rows]
        return TextSplit(self.name, self.ids[rows], tuple(columns), labels, group_names=group_names)

    def without_labels(self) -> TextSplit:
        """Return the same rows without their labels."""
        return replace(self, labels=None)

    def groups(self) -> NDArray[np.int64]:
        """Return the group of each row as a number from 0, (n,); without groups every row is its own group."""
        if self.group_names is None:
            return np.arange(len(self), dtype=np.int64)
        return number_groups(self.group_names)

    def fingerprint(self) -> str:
        """Return the sha256 of ids, texts and labels, which is the same wherever the same rows were read from."""
        labels = [] if self.labels is None else self.labels.tolist()
        return sha256_of(self.ids.tolist(), *self.columns, labels)

    def label_counts(self, names: Sequence[str]) -> str:
        """Return how many rows have each label, in the order of the label `names`, as `labels bad 72, good 68`.

        Of sets of labels it also says how many rows have none of them.
        """
        labels = np.asarray(self.labels, np.int64)  # (n,) or (n, C)
        without = ""
        if labels.ndim == 2:
            counts = labels.sum(0)
            without = f"; without any {int((labels.sum(1) == 0).sum()):,}"
        else:
            counts = np.bincount(labels, minlength=len(names))
        by_name = join_texts(f"{quote_name(name)} {count:,}" for name, count in zip(names, counts, strict=True))
        return f"labels {by_name}{without}"

    def distinct_texts(self) -> set[tuple[str, ...]]:
        """Return the different texts, or pairs of texts, of the rows."""
        return set(zip(*self.columns, strict=True))

    def count_rows_in(self, other: TextSplit) -> int:
        """Return how many rows have the same texts as a row of `other`."""
        # A pair counts only if both of its texts are the same.
        other_texts = other.distinct_texts()
        return sum(texts in other_texts for texts in zip(*self.columns, strict=True))

    def encode(self, tokenizer: PreTrainedTokenizerBase, task: TaskConfig) -> EncodedSplit:
        """Return every row as one token sequence of at most `task.max_length` tokens."""
        return encode(self, tokenizer, task.max_length)


def count_distinct(labels: NDArray[np.int64] | NDArray[np.float32]) -> int:
    """Return how many different labels, or sets of labels, the rows (n,) or (n, C) have."""
    return len(np.unique(labels, axis=0))


def number_groups(names: Sequence[Hashable]) -> NDArray[np.int64]:
    """Return the names as numbers, (n,): 0 for the first name, and so on in the order in which they first occur."""
    number = {name: index for index, name in enumerate(dict.fromkeys(names))}
    return np.array([number[name] for name in names], dtype=np.int64)


def sha256_of(*columns: Sequence[Any]) -> str:
    """Return the sha256 of columns of values that JSON can hold."""
    # A line of JSON a column. The format is part of every fingerprint that a run stores.
    digest = hashlib.sha256()
    for values in columns:
        digest.update(json.dumps(list(values)).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def draw_rows(size: int, at_most: int | None, seed: int) -> NDArray[np.int64]:
    """Return rows drawn without replacement, in ascending order; all rows if there are no more than `at_most`."""
    if at_most is None or at_most >= size:
        return np.arange(size, dtype=np.int64)
    # The size is part of the seed, so that two splits of one run draw independently of each other.
    rows = np.random.default_rng([seed, size]).choice(size, size=at_most, replace=False)
    return np.sort(rows).astype(np.int64)
