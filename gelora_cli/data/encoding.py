"""Tokenize rows of text into one flat array of tokens, and measure what cutting them to a length has lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gelora_cli.core.errors import GeloraError
from gelora_cli.data.spool import Spool

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from gelora_cli.data.splits import TextSplit

ENCODE_ROWS = 10_000
"""Rows that are tokenized at once, which bounds the memory of the token lists."""


@dataclass(frozen=True)
class Truncation:
    """What was lost when the texts of a split were cut to a length.

    Attributes:
        texts: number of texts.
        cut: number of texts that were longer than `limit`.
        tokens: tokens of all texts before the cut.
        lost: tokens that were cut off.
        needed: the length in tokens at which 99 % of the texts would stay complete.
        limit: the greatest length, in tokens.
        side: which side was cut off, `end` or `start`.
        unit: what the texts are, in plural.
        key: the key of the configuration that sets `limit`.
    """

    texts: int
    cut: int
    tokens: int
    lost: int
    needed: int
    limit: int
    side: str
    unit: str = "texts"
    key: str = "task.max_length"

    def describe(self) -> str:
        """Return a sentence for the log, empty if nothing was cut."""
        if not self.cut:
            return ""
        percent = 100 * self.lost / self.tokens
        share = f"{percent:.2g}" if percent < 10 else f"{percent:.0f}"  # .2g writes 99.5 and more as 1e+02
        return (
            f"{self.cut:,} of {self.texts:,} {self.unit} are longer than {self.key}={self.limit} tokens: "
            f"their {self.side} is cut off, {share} % of all tokens; 99 % of the {self.unit} need "
            f"{self.needed:,} tokens or fewer"
        )


def measure_truncation(lengths: Sequence[int], limit: int, side: str, **names: str) -> Truncation:
    """Return what is lost if texts of these lengths are cut to `limit` tokens.

    Args:
        lengths: tokens of each text before it is cut, (n,).
        limit: the greatest length, in tokens.
        side: which side is cut off, `end` or `start`.
        **names: `unit` and `key` of the `Truncation`.
    """
    full_lengths = np.asarray(lengths, np.int64)  # (n,)
    excess = np.maximum(full_lengths - limit, 0)  # (n,)
    # "higher" gives a length that occurs; an interpolated one could be too short.
    needed = int(np.quantile(full_lengths, 0.99, method="higher")) if len(full_lengths) else 0
    return Truncation(
        texts=len(full_lengths),
        cut=int((excess > 0).sum()),
        tokens=int(full_lengths.sum()),
        lost=int(excess.sum()),
        needed=needed,
        limit=limit,
        side=side,
        **names,
    )


@dataclass(frozen=True)
class EncodedSplit:
    """Token sequences one after the other: sequence i is `tokens[offsets[i]:offsets[i + 1]]`.

    Attributes:
        name: name of the split.
        ids: an id for each sequence, (n,).
        labels: (n,) classes or scores, (n, C) 0 and 1 of sets of labels, (n, 2) first and last token of an
            answer, or None.
        tokens: the tokens of all sequences, (tokens,) int32.
        offsets: where each sequence starts, and where the last one ends, (n + 1,).
        types: token type ids, (tokens,) int8, or None for models without them.
        group_names: a name for each example, or None (see `TextSplit`).
        truncation: what was cut to make the sequences; None for rows that were taken out of an encoded split.
    """

    name: str
    ids: Sequence[Any] | NDArray[np.int64]
    labels: NDArray[np.int64] | NDArray[np.float32] | None
    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]
    types: NDArray[np.int8] | None
    group_names: Sequence[str] | None = field(default=None, kw_only=True)
    truncation: Truncation | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def examples(self) -> int:
        """Return the number of examples that are scored; here every sequence is one."""
        return len(self)

    def describe(self) -> str:
        """Return the number of examples in words, for the log."""
        return f"{len(self):,} examples"

    def refuse_useless(self) -> None:
        """Refuse rows that can neither be trained on nor be scored; there are none by default.

        Raises:
            GeloraError: there is nothing in any row.
        """

    def warnings(self) -> list[str]:
        """Return what a user should know about how the rows were tokenized, a sentence each, for the log."""
        text = self.truncation.describe() if self.truncation else ""
        return [text] if text else []

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Return the number of tokens of each sequence, (n,)."""
        return np.diff(self.offsets)

    def sequence(self, row: int) -> NDArray[np.int32]:
        """Return the tokens of one sequence."""
        return self.tokens[self.offsets[row] : self.offsets[row + 1]]

    @property
    def has_labels(self) -> bool:
        """Return whether the rows can be learned from and scored."""
        return self.labels is not None

    def batch_labels(self, rows: NDArray[np.int64], width: int | None = None) -> NDArray[Any] | None:
        """Return the labels of a batch of rows (B,), as the task's loss takes them: (B, ...); None without labels.

        Args:
            rows: the rows of the batch.
            width: T, for labels of tokens; None for the longest of the rows.
        """
        return None if self.labels is None else self.labels[rows]

    def first_label(self, rows: NDArray[np.int64]) -> int:
        """Return the first place T that has a label in a batch of rows (B,); 0 where labels are not of tokens."""
        return 0

    def loss_divisor(self, rows: NDArray[np.int64]) -> int:
        """Return what the sum of the losses of these rows is divided by: how many rows they are.

        It is above 0. That of several batches is the sum of theirs.
        """
        return len(rows)

    def select(self, rows: NDArray[np.int64]) -> EncodedSplit:
        """Return the given sequences in that order with their labels, but without groups."""
        return replace(self.take(rows), labels=None if self.labels is None else self.labels[rows])

    def take(self, rows: NDArray[np.int64]) -> EncodedSplit:
        """Return the given sequences in that order, without labels and groups, for passes that don't score them."""
        if np.array_equal(rows, np.arange(len(self))):
            # All sequences in their order: the arrays are shared, since a copy could fill the memory.
            return EncodedSplit(self.name, rows, None, self.tokens, self.offsets, self.types)
        tokens = [self.sequence(row) for row in rows]
        offsets = np.concatenate([[0], np.cumsum([len(sequence) for sequence in tokens])]).astype(np.int64)
        types = None
        if self.types is not None:
            types = np.concatenate([self.types[self.offsets[row] : self.offsets[row + 1]] for row in rows])
        return EncodedSplit(self.name, rows, None, np.concatenate(tokens), offsets, types)

    def first_rows(self) -> NDArray[np.int64]:
        """Return for every sequence the first row with the same tokens and types, (n,)."""
        types = self.types if self.types is not None else np.zeros(0, np.int8)
        first_rows: dict[bytes, int] = {}
        same: list[int] = []
        for row, (start, end) in enumerate(zip(self.offsets[:-1], self.offsets[1:], strict=True)):
            # The bytes of tokens and types have fixed widths, so different sequences have different keys.
            same.append(first_rows.setdefault(self.tokens[start:end].tobytes() + types[start:end].tobytes(), row))
        return np.array(same, np.int64)

    def distinct_rows(self) -> NDArray[np.int64]:
        """Return the first row of every distinct sequence (tokens and types), in ascending order."""
        return np.unique(self.first_rows())

    def texts(self) -> NDArray[np.int64]:
        """Return the number of the text that every sequence belongs to, counted from 0: (n,). Copies are one text."""
        return np.unique(self.first_rows(), return_inverse=True)[1]


def encode(split: TextSplit, tokenizer: PreTrainedTokenizerBase, max_length: int) -> EncodedSplit:
    """Tokenize every row into one unpadded sequence of at most `max_length` tokens.

    Of a pair of texts the longer one is cut first. If the tokenizer gives no token at all for a row, the row becomes
    one end token, because a model needs at least one.

    Raises:
        GeloraError: a row has no token, and the tokenizer has no end token.
    """
    tokens = Spool(np.int32)
    types = Spool(np.int8)
    lengths: list[int] = []
    full_lengths: list[int] = []
    for start in range(0, len(split), ENCODE_ROWS):
        texts = [list(column[start : start + ENCODE_ROWS]) for column in split.columns]
        encoded = tokenizer(*texts, truncation=True, max_length=max_length, padding=False, return_attention_mask=False)
        sequences: list[list[int]] = encoded["input_ids"]
        empty = [row for row, sequence in enumerate(sequences) if not sequence]
        if empty:
            end = _end_token(tokenizer, f"{split.name}, row {split.ids[start + empty[0]]}")
            sequences = [sequence or [end] for sequence in sequences]
        lengths += [len(sequence) for sequence in sequences]
        full_lengths += _measure_full_lengths(texts, sequences, tokenizer, max_length)
        tokens.add(np.concatenate(sequences))
        if "token_type_ids" in encoded:
            types.add(np.concatenate([row_types or [0] for row_types in encoded["token_type_ids"]]))
    side = "end" if tokenizer.truncation_side == "right" else "start"
    return EncodedSplit(
        split.name,
        split.ids,
        split.labels,
        tokens.array(),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        types.array_or_none(),
        group_names=split.group_names,
        truncation=measure_truncation(full_lengths, max_length, side),
    )


def _end_token(tokenizer: PreTrainedTokenizerBase, where: str) -> int:
    for token_id in (tokenizer.eos_token_id, tokenizer.sep_token_id):
        if token_id is not None:
            return int(token_id)
    raise GeloraError(
        f"{where}: the tokenizer makes no token of this text, and has no end token that could stand for it. Remove the "
        "row"
    )


def _measure_full_lengths(
    texts: list[list[str]], sequences: list[list[int]], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[int]:
    """Return the tokens that each row had before it was cut, (n,)."""
    lengths = [len(sequence) for sequence in sequences]
    # Only a row that fills the length can have been cut, so only such rows are tokenized a second time.
    full_rows = [row for row, length in enumerate(lengths) if length >= max_length]
    if not full_rows:
        return lengths
    full_texts: list[list[str]] = []
    for column in texts:
        full_texts.append([column[row] for row in full_rows])
    uncut = tokenizer(*full_texts, truncation=False, padding=False, return_attention_mask=False, verbose=False)
    for row, sequence in zip(full_rows, uncut["input_ids"], strict=True):
        lengths[row] = len(sequence)
    return lengths
