"""Rows of text with labels, their encoding to token arrays, and batches of them; numpy alone."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import listed, shown_name
from gelora_cli.core.rundir import writing

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ENCODE_ROWS = 10_000
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

    def unlabelled(self) -> TextSplit:
        """The same rows, their labels forgotten."""
        return replace(self, labels=None)

    def groups(self) -> NDArray[np.int64]:
        """What must not be parted, (n,) numbered from 0: the rows of a group, or every row alone."""
        return np.arange(len(self), dtype=np.int64) if self.group_names is None else numbered(self.group_names)

    def fingerprint(self) -> str:
        """sha256 over ids, texts and labels: the same rows give the same digest, wherever they were read from."""
        return digest_of(self.ids.tolist(), *self.columns, [] if self.labels is None else self.labels.tolist())

    def label_counts(self, names: Sequence[str]) -> str:
        """Return how many rows have each label, in the order of the label `names`, as `labels bad 72, good 68`."""
        counts = np.bincount(np.asarray(self.labels, np.int64), minlength=len(names))
        return "labels " + listed(f"{shown_name(name)} {count:,}" for name, count in zip(names, counts, strict=True))

    def distinct_texts(self) -> set[tuple[str, ...]]:
        """The texts of its rows, each once."""
        return set(zip(*self.columns, strict=True))

    def rows_also_in(self, other: TextSplit) -> int:
        """How many rows have the texts of a row of `other`."""
        known = other.distinct_texts()
        return sum(texts in known for texts in zip(*self.columns, strict=True))

    def encoded(self, tokenizer: PreTrainedTokenizerBase, task: TaskConfig) -> EncodedSplit:
        """Every row as one token sequence of at most `task.max_length`."""
        return encode(self, tokenizer, task.max_length)


def numbered(names: Sequence[Hashable]) -> NDArray[np.int64]:
    """Names as numbers from 0, in the order in which they first come, (n,)."""
    number = {name: index for index, name in enumerate(dict.fromkeys(names))}
    return np.array([number[name] for name in names], dtype=np.int64)


def digest_of(*columns: Sequence[Any]) -> str:
    """sha256 over columns of values that JSON can hold."""
    digest = hashlib.sha256()
    for values in columns:
        digest.update(json.dumps(list(values)).encode())
        digest.update(b"\n")
    return digest.hexdigest()


@dataclass(frozen=True)
class Shortened:
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


def shortened(lengths: Sequence[int], limit: int, side: str, **what: str) -> Shortened:
    """What is lost of texts of these lengths, in tokens before anything is cut."""
    whole = np.asarray(lengths, np.int64)  # (n,)
    excess = np.maximum(whole - limit, 0)
    needed = int(np.quantile(whole, 0.99, method="higher")) if len(whole) else 0
    cut, tokens, lost = (int(value) for value in ((excess > 0).sum(), whole.sum(), excess.sum()))
    return Shortened(len(whole), cut, tokens, lost, needed, limit, side, **what)


@dataclass(frozen=True)
class EncodedSplit:
    """Token sequences end to end: sequence i is `tokens[offsets[i]:offsets[i + 1]]`, int32.

    `types` are the token type ids in the same form, int8, or None for models without them. `labels` holds a row per
    sequence: (n,) classes or scores, or (n, 2) first and last token of an answer. `group_names` has one name per
    example, or is None (see `TextSplit`). `shortened` is what was cut to make the sequences, of a split that was
    encoded here.
    """

    name: str
    ids: Sequence[Any] | NDArray[np.int64]
    labels: NDArray[np.int64] | NDArray[np.float32] | None
    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]
    types: NDArray[np.int8] | None
    group_names: Sequence[str] | None = field(default=None, kw_only=True)
    shortened: Shortened | None = field(default=None, kw_only=True)

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


def _temporary() -> AbstractContextManager[None]:
    return writing(Path(tempfile.gettempdir()), fix="free space there, or name another place by the variable TMPDIR")


def draw_rows(size: int, at_most: int | None, seed: int) -> NDArray[np.int64]:
    """Rows drawn without replacement, in ascending order; all of them where `at_most` does not bind."""
    if at_most is None or at_most >= size:
        return np.arange(size, dtype=np.int64)
    rows = np.random.default_rng([seed, size]).choice(size, size=at_most, replace=False)
    return np.sort(rows).astype(np.int64)


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
    lost = shortened(whole_lengths, max_length, side)
    arrays = split.labels, tokens.array(), offsets, types.array_or_none()
    return EncodedSplit(split.name, split.ids, *arrays, group_names=split.group_names, shortened=lost)


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


class Spool:
    """Rows of numbers, appended to an unlinked temporary file and read back through a memory map.

    So the numbers of a large data set are never whole in memory; the system drops their pages when it needs them.
    """

    def __init__(self, dtype: type[np.generic], *, width: int | None = None) -> None:
        self._dtype, self._shape = np.dtype(dtype), () if width is None else (width,)
        with _temporary():
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - the array lives on after this
        self._rows = 0

    def add(self, values: ArrayLike) -> None:
        """Append rows: (n,), or (n, width).

        Raises:
            GeloraError: the disk of temporary files (`TMPDIR`) is full.
        """
        block = np.ascontiguousarray(values, self._dtype).reshape(-1, *self._shape)
        with _temporary():
            self._file.write(block.tobytes())
        self._rows += len(block)

    def array(self) -> NDArray[Any]:
        """All rows, read-only."""
        with _temporary():
            self._file.flush()
        shape = (self._rows, *self._shape)
        return np.memmap(self._file, self._dtype, "r", shape=shape) if self._rows else np.zeros(shape, self._dtype)

    def array_or_none(self) -> NDArray[Any] | None:
        """All rows, or None where none were added."""
        return self.array() if self._rows else None


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
