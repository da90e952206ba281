"""Prompts with the completions that a model learns to write.

Letters in shapes: n rows of a split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gelora_cli.config.schema import TaskConfig
from gelora_cli.data.chat import Conversation
from gelora_cli.data.encoded_completions import EncodedCompletions, encode_completions
from gelora_cli.data.splits import number_groups, sha256_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class CompletionSplit:
    """n prompts, each with the completion that a model learns to write.

    Attributes:
        name: name of the split.
        ids: an id for each row, (n,).
        prompts: the prompts, (n,); of a conversation all turns before the completion, a line each.
        completions: what follows each prompt, (n,); None if it is not known. Of a conversation it is the last turn.
        conversations: the turns of each row, (n,), which the chat template of the tokenizer writes as one text; None
            where prompts and completions are plain texts.
        note: what a user should know about how the rows were chosen.
        group_names: a group for each row, (n,). Rows of one group are never separated. None if every row is
            independent.
    """

    name: str
    ids: NDArray[np.int64]
    prompts: Sequence[str]
    completions: Sequence[str] | None
    conversations: Sequence[Conversation] | None = None
    note: str = ""
    group_names: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labels(self) -> Sequence[str] | None:
        """Return the completions, which are what a model learns; None if they are not known."""
        return self.completions

    def take(self, rows: NDArray[np.int64]) -> CompletionSplit:
        """Return the given rows in that order, without the note."""
        return CompletionSplit(
            self.name,
            self.ids[rows],
            prompts=[self.prompts[row] for row in rows],
            completions=None if self.completions is None else [self.completions[row] for row in rows],
            conversations=None if self.conversations is None else [self.conversations[row] for row in rows],
            group_names=None if self.group_names is None else [self.group_names[row] for row in rows],
        )

    def without_labels(self) -> CompletionSplit:
        """Return the same prompts without their completions."""
        if self.completions is None:
            return self
        conversations = None
        if self.conversations is not None:
            conversations = [turns[:-1] for turns in self.conversations]
        return replace(self, completions=None, conversations=conversations)

    def groups(self) -> NDArray[np.int64]:
        """Return the group of each row as a number from 0, (n,); without groups every row is its own group."""
        if self.group_names is None:
            return np.arange(len(self), dtype=np.int64)
        return number_groups(self.group_names)

    @property
    def columns(self) -> tuple[Sequence[str], ...]:
        """Return the texts that a model is given, as of `TextSplit`: rows of equal prompts are held out together."""
        return (self.prompts,)

    def distinct_texts(self) -> set[tuple[str, ...]]:
        """Return the different prompts, with their completions where they are known."""
        columns = (self.prompts,) if self.completions is None else (self.prompts, self.completions)
        return set(zip(*columns, strict=True))

    def count_rows_in(self, other: CompletionSplit) -> int:
        """Return how many rows have the same prompt as a row of `other`."""
        prompts = set(other.prompts)
        return sum(prompt in prompts for prompt in self.prompts)

    def fingerprint(self) -> str:
        """Return the sha256 of ids, prompts and completions, which is the same wherever the rows were read from."""
        if self.conversations is not None:
            return sha256_of(self.ids.tolist(), self.conversations)
        return sha256_of(self.ids.tolist(), self.prompts, self.completions or [])

    def encode(self, tokenizer: PreTrainedTokenizerBase, task: TaskConfig) -> EncodedCompletions:
        """Return every prompt with its completion as one token sequence of at most `task.max_length` tokens."""
        return encode_completions(self, tokenizer, task.max_length)
