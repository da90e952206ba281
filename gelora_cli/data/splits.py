"""Rows of text with labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.messages import join_names, quote_name
from gelora_cli.data.encoding import EncodedSplit, encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


LARGEST_SCORE = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class TextSplit:
    """Rows of a split: `columns` holds one or two lists of n texts, `labels` is (n,) int64 or float32, or None.

    `group_names` (n,) say which rows belong together, such as an article's; None where every row stands alone. `note`
    says what a user should know of how the rows were chosen.
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
        """The named rows, in that order."""
        columns = tuple([column[row] for row in rows] for column in self.columns)
        labels = None if self.labels is None else self.labels[rows]
        group_names = None if self.group_names is None else [self.group_names[row] for row in rows]
        return TextSplit(self.name, self.ids[rows], columns, labels, group_names=group_names)

    def without_labels(self) -> TextSplit:
        """The same rows, their labels forgotten."""
        return replace(self, labels=None)

    def groups(self) -> NDArray[np.int64]:
        """What must not be parted, (n,) numbered from 0: the rows of a group, or every row alone."""
        return np.arange(len(self), dtype=np.int64) if self.group_names is None else number_groups(self.group_names)

    def fingerprint(self) -> str:
        """sha256 over ids, texts and labels: the same rows give the same digest, wherever they were read from."""
        return sha256_of(self.ids.tolist(), *self.columns, [] if self.labels is None else self.labels.tolist())

    def label_counts(self, names: Sequence[str]) -> str:
        """Return how many rows have each label, in the order of the label `names`, as `labels bad 72, good 68`."""
        counts = np.bincount(np.asarray(self.labels, np.int64), minlength=len(names))
        return "labels " + join_names(
            f"{quote_name(name)} {count:,}" for name, count in zip(names, counts, strict=True)
        )

    def distinct_texts(self) -> set[tuple[str, ...]]:
        """The texts of its rows, each once."""
        return set(zip(*self.columns, strict=True))

    def count_rows_in(self, other: TextSplit) -> int:
        """How many rows have the texts of a row of `other`."""
        known = other.distinct_texts()
        return sum(texts in known for texts in zip(*self.columns, strict=True))

    def encode(self, tokenizer: PreTrainedTokenizerBase, task: TaskConfig) -> EncodedSplit:
        """Every row as one token sequence of at most `task.max_length`."""
        return encode(self, tokenizer, task.max_length)


def number_groups(names: Sequence[Hashable]) -> NDArray[np.int64]:
    """Names as numbers from 0, in the order in which they first come, (n,)."""
    number = {name: index for index, name in enumerate(dict.fromkeys(names))}
    return np.array([number[name] for name in names], dtype=np.int64)


def sha256_of(*columns: Sequence[Any]) -> str:
    """sha256 over columns of values that JSON can hold."""
    digest = hashlib.sha256()
    for values in columns:
        digest.update(json.dumps(list(values)).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def draw_rows(size: int, at_most: int | None, seed: int) -> NDArray[np.int64]:
    """Rows drawn without replacement, in ascending order; all of them where `at_most` does not bind."""
    if at_most is None or at_most >= size:
        return np.arange(size, dtype=np.int64)
    rows = np.random.default_rng([seed, size]).choice(size, size=at_most, replace=False)
    return np.sort(rows).astype(np.int64)
