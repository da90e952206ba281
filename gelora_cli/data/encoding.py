"""Rows of text as token sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gelora_cli.core.errors import GeloraError
from gelora_cli.data.spool import Spool

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from gelora_cli.data.splits import TextSplit


ENCODE_ROWS = 10_000


@dataclass(frozen=True)
class Truncation:
    """What cutting a split's texts to a length has lost; `unit` and `key` say what was cut and by which setting.

    `cut` of `texts` are longer than `limit` tokens; `lost` of all their `tokens` are gone, from the `side` `end` or
    `start`. `needed` tokens hold 99 % of the texts whole.
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
        """A sentence for the log, empty where nothing was cut."""
        if not self.cut:
            return ""
        share = 100 * self.lost / self.tokens
        return (
            f"{self.cut:,} of {self.texts:,} {self.unit} are longer than {self.key}={self.limit} tokens: "
            f"their {self.side} is cut off, {share:.2g} % of all tokens; 99 % of the {self.unit} need "
            f"{self.needed:,} tokens or fewer"
        )


def measure_truncation(lengths: Sequence[int], limit: int, side: str, **what: str) -> Truncation:
    """What is lost of texts of these lengths, in tokens before anything is cut."""
    whole = np.asarray(lengths, np.int64)  # (n,)
    excess = np.maximum(whole - limit, 0)
    needed = int(np.quantile(whole, 0.99, method="higher")) if len(whole) else 0
    cut, tokens, lost = (int(value) for value in ((excess > 0).sum(), whole.sum(), excess.sum()))
    return Truncation(len(whole), cut, tokens, lost, needed, limit, side, **what)


@dataclass(frozen=True)
class EncodedSplit:
    """Token sequences end to end: sequence i is `tokens[offsets[i]:offsets[i + 1]]`, int32.

    `types` are the token type ids in the same form, int8, or None for models without them. `labels` holds a row per
    sequence: (n,) classes or scores, or (n, 2) first and last token of an answer. `group_names` has one name per
    example, or is None (see `TextSplit`). `truncation` is what was cut to make the sequences, of a split that was
    encoded here.
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
        """What is scored: here every sequence is an example."""
        return len(self)

    def describe(self) -> str:
        """What is in it, for the log."""
        return f"{len(self):,} examples"

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens in each sequence, (n,)."""
        return np.diff(self.offsets)

    def sequence(self, row: int) -> NDArray[np.int32]:
        """The tokens of one row."""
        return self.tokens[self.offsets[row] : self.offsets[row + 1]]

    def take(self, rows: NDArray[np.int64]) -> EncodedSplit:
        """The named sequences, in that order, without labels or anything else: to be looked at, not judged."""
        if np.array_equal(rows, np.arange(len(self))):
            return EncodedSplit(self.name, rows, None, self.tokens, self.offsets, self.types)
        tokens = [self.sequence(row) for row in rows]
        types = None if self.types is None else [self.types[self.offsets[row] : self.offsets[row + 1]] for row in rows]
        offsets = np.concatenate([[0], np.cumsum([len(sequence) for sequence in tokens])]).astype(np.int64)
        joined = None if types is None else np.concatenate(types)
        return EncodedSplit(self.name, rows, None, np.concatenate(tokens), offsets, joined)

    def distinct_rows(self) -> NDArray[np.int64]:
        """The first row of every distinct sequence (tokens and types), in order."""
        types = self.types if self.types is not None else np.zeros(0, np.int8)
        bounds = zip(self.offsets[:-1], self.offsets[1:], strict=True)
        first: dict[bytes, int] = {}
        for row, (start, end) in enumerate(bounds):
            first.setdefault(self.tokens[start:end].tobytes() + types[start:end].tobytes(), row)
        return np.fromiter(first.values(), np.int64, len(first))


def encode(split: TextSplit, tokenizer: PreTrainedTokenizerBase, max_length: int) -> EncodedSplit:
    """Tokenize every row, cut to `max_length` tokens (the longer text of a pair first), unpadded.

    A text of no tokens, for which some tokenizers add none of their own either, becomes one end token.

    Raises:
        GeloraError: such a text, and a tokenizer without end token.
    """
    tokens, types = Spool(np.int32), Spool(np.int8)
    lengths: list[int] = []
    whole_lengths: list[int] = []  # before anything is cut
    for start in range(0, len(split), ENCODE_ROWS):
        texts = [list(column[start : start + ENCODE_ROWS]) for column in split.columns]
        encoded = tokenizer(*texts, truncation=True, max_length=max_length, padding=False, return_attention_mask=False)
        sequences: list[list[int]] = encoded["input_ids"]
        empty = [row for row, sequence in enumerate(sequences) if not sequence]
        if empty:
            end = _end_token(tokenizer, f"{split.name}, row {split.ids[start + empty[0]]}")
            sequences = [sequence or [end] for sequence in sequences]
        lengths += [len(sequence) for sequence in sequences]
        whole_lengths += _whole_lengths(texts, sequences, tokenizer, max_length)
        tokens.add(np.concatenate(sequences))
        if "token_type_ids" in encoded:
            types.add(np.concatenate([row or [0] for row in encoded["token_type_ids"]]))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    side = "end" if tokenizer.truncation_side == "right" else "start"
    lost = measure_truncation(whole_lengths, max_length, side)
    arrays = split.labels, tokens.array(), offsets, types.array_or_none()
    return EncodedSplit(split.name, split.ids, *arrays, group_names=split.group_names, truncation=lost)


def _end_token(tokenizer: PreTrainedTokenizerBase, where: str) -> int:
    for number in (tokenizer.eos_token_id, tokenizer.sep_token_id):
        if number is not None:
            return int(number)
    raise GeloraError(f"{where}: the text has no token, and the tokenizer no end token to put there; remove the row")


def _whole_lengths(
    texts: list[list[str]], sequences: list[list[int]], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[int]:
    """Tokens of each row before it was cut; only rows that fill the length are tokenized again."""
    lengths = [len(sequence) for sequence in sequences]
    full = [row for row, length in enumerate(lengths) if length >= max_length]
    if full:
        again = [[column[row] for row in full] for column in texts]
        whole = tokenizer(*again, truncation=False, padding=False, return_attention_mask=False, verbose=False)
        for row, sequence in zip(full, whole["input_ids"], strict=True):
            lengths[row] = len(sequence)
    return lengths
