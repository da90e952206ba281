"""Prompts and completions as token sequences, and which of their tokens a model learns.

Letters in shapes: n rows of a split, B rows of a batch, T tokens of its longest row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import join_names
from gelora_cli.data.chat import special_names
from gelora_cli.data.completion_rows import RowWriter
from gelora_cli.data.encoding import ENCODE_ROWS, EncodedSplit, measure_truncation
from gelora_cli.data.spool import Spool

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from gelora_cli.data.completions import CompletionSplit

NOT_LEARNED = -100
"""The label of a token that is not learned: those of prompts, and padding."""


@dataclass(frozen=True)
class EncodedCompletions(EncodedSplit):
    """Prompts and completions one after the other: row i is `tokens[offsets[i]:offsets[i + 1]]`, prompt first.

    `labels` is the number of tokens that are learned of each row, (n,), or None where completions are not known. The
    first token of a row is never learned, since nothing predicts it.

    Attributes:
        source: the prompts and completions as texts, row by row.
        prompt_lengths: how many tokens at the beginning of each row are its prompt, (n,).
        tokenizer: what made the tokens, and makes texts of generated ones.
        end_ids: the tokens that end a completion: the tokenizer's, and the one that ends a turn of its chat template.
        rejoined: how many prompts are tokenized in another way where the completion follows them.
        other_prompts: by row, the tokens of a prompt alone where the row does not begin with them.
    """

    source: CompletionSplit
    prompt_lengths: NDArray[np.int64]
    tokenizer: PreTrainedTokenizerBase
    end_ids: tuple[int, ...]
    rejoined: int = 0
    other_prompts: Mapping[int, NDArray[np.int32]] = field(default_factory=dict)

    @property
    def _first_learned(self) -> NDArray[np.int64]:
        """Return the place in each row of the first token that is learned, (n,)."""
        return np.maximum(self.prompt_lengths, 1)

    @cached_property
    def references(self) -> Sequence[str] | None:
        """Return the completions as generated texts can give them, (n,): without names of special tokens in them.

        Some files write the name of the end token behind each completion. Those of conversations are as their template
        writes them, which may put an empty block of thoughts before the text.
        """
        if self.source.completions is None:
            return None
        _, completions = RowWriter(self.source, self.tokenizer).texts(slice(None))
        names = special_names(self.tokenizer)
        texts = [names.sub("", text) for text in completions or ()]
        # A template may write a newline behind the end of the turn.
        return [text.rstrip() for text in texts] if self.source.conversations else texts

    def refuse_useless(self) -> None:
        """Refuse rows with completions of which nothing is left.

        Raises:
            GeloraError: no row has a token of its completion.
        """
        if self.labels is not None and not self.labels.any():
            limit = int(self.lengths.max(initial=0))
            raise GeloraError(
                f"{self.name}: the prompts fill task.max_length={limit} in all {len(self):,} rows, so that no token of "
                "a completion is left to learn or to score; raise task.max_length"
            )

    def warnings(self) -> list[str]:
        """Add prompts whose tokens change before their completion, and completions of which nothing is left."""
        texts = super().warnings()
        if self.rejoined:
            fix = "let a space stand before a completion, not behind its prompt"
            if self.source.conversations:
                fix = "the chat template ends a prompt with what is one token with the start of an answer"
            texts.append(
                f"the tokens of {self.rejoined:,} of {len(self):,} prompts change where the completion follows, which "
                f"begins at the first other token, while texts are generated from the prompt's own; {fix}"
            )
        without = [] if self.labels is None else np.flatnonzero(self.labels == 0).tolist()
        if without:
            names = join_names(self.ids[row] for row in without)
            texts.append(
                f"of {len(without):,} of {len(self):,} examples the prompt fills task.max_length, so that nothing of "
                "the completion is learned, its likelihood does not count, and texts are generated from a prompt "
                f"without its end: rows {names}; raise task.max_length"
            )
        if self.labels is None and self.truncation is not None and self.truncation.cut:
            texts.append("what is generated from a prompt without its end does not answer it; shorten these prompts")
        if self.source.conversations and (rows := self._rows_with_special_names()):
            texts.append(
                f"the messages of {len(rows):,} of {len(self):,} examples hold names of special tokens, which become "
                f"these tokens, so that a message may end its turn and begin others: rows {join_names(rows)}; remove "
                "the names if that is not meant"
            )
        return texts

    def _rows_with_special_names(self) -> list[int]:
        """Return the ids of conversations in whose messages stands the name of a special token."""
        names = special_names(self.tokenizer)
        ids = []
        for number, turns in zip(self.ids, self.source.conversations or (), strict=True):
            if any(names.search(turn.content) for turn in turns):
                ids.append(int(number))
        return ids

    def batch_labels(self, rows: NDArray[np.int64], width: int | None = None) -> NDArray[np.int64] | None:
        """Return the tokens of a batch of rows (B,) where they are learned, -100 elsewhere: (B, T).

        The token at place t is predicted by the output at place t - 1.
        """
        if self.labels is None:
            return None
        labels = np.full((len(rows), width or self.lengths[rows].max()), NOT_LEARNED, np.int64)
        for line, row in enumerate(rows):
            sequence, first = self.sequence(row), self._first_learned[row]
            labels[line, first : len(sequence)] = sequence[first:]
        return labels

    def first_label(self, rows: NDArray[np.int64]) -> int:
        """Return the first place that is learned in any row of a batch (B,); 0 where completions are not known."""
        return 0 if self.labels is None else int(self._first_learned[rows].min())

    def loss_divisor(self, rows: NDArray[np.int64]) -> int:
        """Return how many tokens of these rows are learned, which divides the sum of their losses; 1 if none is."""
        assert self.labels is not None
        return max(1, int(self.labels[rows].sum()))

    def prompt(self, row: int) -> NDArray[np.int32]:
        """Return the tokens from which a row's completion is generated: those that its prompt has by itself.

        A user who prompts the model has no completion by which they could change.
        """
        if row in self.other_prompts:
            return self.other_prompts[row]
        start = self.offsets[row]
        return self.tokens[start : start + self.prompt_lengths[row]]

    def take(self, rows: NDArray[np.int64]) -> EncodedCompletions:
        """Return the given rows in that order, without labels and groups, for passes that don't score them."""
        base = super().take(rows)
        return EncodedCompletions(
            base.name,
            base.ids,
            None,
            base.tokens,
            base.offsets,
            base.types,
            source=self.source.take(rows),
            prompt_lengths=self.prompt_lengths[rows],
            tokenizer=self.tokenizer,
            end_ids=self.end_ids,
            other_prompts=self._other_prompts_of(rows),
        )

    def _other_prompts_of(self, rows: NDArray[np.int64]) -> dict[int, NDArray[np.int32]]:
        """Return `other_prompts` of a split of the given rows."""
        if not self.other_prompts:
            return {}
        numbered = enumerate(rows.tolist())
        return {place: self.other_prompts[row] for place, row in numbered if row in self.other_prompts}

    def select(self, rows: NDArray[np.int64]) -> EncodedCompletions:
        """Return the given rows in that order with what is learned of them, but without groups."""
        return replace(self.take(rows), labels=None if self.labels is None else self.labels[rows])


def encode_completions(
    split: CompletionSplit, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> EncodedCompletions:
    """Tokenize prompt and completion of every row as one text, and cut it at its end to `max_length` tokens.

    The end token follows a completion, unless a chat template has ended the turn. As in TRL's SFTTrainer, the
    completion that is learned begins at the first token in which the tokens of the prompt and those of prompt and
    completion differ. What is generated goes on from the tokens of the prompt alone. A prompt whose completion is not
    known has no end token, so that a model goes on with it.

    Raises:
        GeloraError: the tokenizer has no end token, or what `write_completions` refuses.
    """
    writer = RowWriter(split, tokenizer)
    tokens = Spool(np.int32)
    full_lengths: list[int] = []
    prompt_lengths: list[int] = []
    rejoined = 0
    other_prompts: dict[int, NDArray[np.int32]] = {}
    for start in range(0, len(split), ENCODE_ROWS):
        for prompt, full in writer.encode(slice(start, start + ENCODE_ROWS)):
            length = _common_prefix(prompt, full)
            rejoined += length < len(prompt)
            # A model needs a token to go on from.
            alone = (prompt or [writer.end])[:max_length]
            if alone != full[: min(length, max_length)]:
                other_prompts[len(full_lengths)] = np.array(alone, np.int32)
            tokens.add(np.array(full[:max_length], np.int32))
            full_lengths.append(len(full))
            prompt_lengths.append(min(length, max_length))
    lengths = np.minimum(np.array(full_lengths, np.int64), max_length)  # (n,)
    before = np.array(prompt_lengths, np.int64)  # (n,)
    return EncodedCompletions(
        split.name,
        split.ids,
        None if split.completions is None else lengths - np.minimum(np.maximum(before, 1), lengths),
        tokens.array(),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        None,
        group_names=split.group_names,
        truncation=measure_truncation(full_lengths, max_length, "end", unit="examples"),
        source=split,
        prompt_lengths=before,
        tokenizer=tokenizer,
        end_ids=writer.end_ids,
        rejoined=rejoined,
        other_prompts=other_prompts,
    )


def _common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """Return the number of tokens with which both begin."""
    for place, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return place
    return min(len(first), len(second))
