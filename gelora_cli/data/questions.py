"""Questions about contexts, with their gold answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gelora_cli.config.schema import TaskConfig
from gelora_cli.data.splits import number_groups, sha256_of
from gelora_cli.data.windows import EncodedWindows, encode_windows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Answer:
    """A gold answer: its text, and where that starts in the context, in characters."""

    text: str
    start: int

    @property
    def end(self) -> int:
        """The character behind the last one."""
        return self.start + len(self.text)


@dataclass(frozen=True)
class QuestionSplit:
    """n questions, each about a context; `labels[i]` is empty where nothing answers, `labels` None where not known.

    `titles` are those of the articles, where the data has them. `note` says what a user should know of how the rows
    were chosen.
    """

    name: str
    ids: Sequence[str]
    questions: Sequence[str]
    contexts: Sequence[str]
    labels: Sequence[tuple[Answer, ...]] | None
    titles: Sequence[str] | None = None
    note: str = ""

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[np.int64]) -> QuestionSplit:
        """The named rows, in that order."""
        ids, questions, contexts = ([column[row] for row in rows] for column in self._columns)
        labels = None if self.labels is None else [self.labels[row] for row in rows]
        titles = None if self.titles is None else [self.titles[row] for row in rows]
        return QuestionSplit(self.name, ids, questions, contexts, labels, titles)

    def without_labels(self) -> QuestionSplit:
        """The same questions, their answers forgotten."""
        return replace(self, labels=None)

    def groups(self) -> NDArray[np.int64]:
        """What must not be parted, (n,) numbered from 0: the articles, or the contexts where titles are missing."""
        return number_groups(self.titles or self.contexts)

    @property
    def group_names(self) -> Sequence[str]:
        """The title of each question's article, (n,); where titles are missing its context by number."""
        return self.titles or [f"context {number}" for number in self.groups()]

    def fingerprint(self) -> str:
        """sha256 over ids, questions, contexts and answers."""
        answers = [[(answer.text, answer.start) for answer in found] for found in self.labels or ()]
        return sha256_of(*self._columns, answers)

    def encode(self, tokenizer: PreTrainedTokenizerBase, task: TaskConfig) -> EncodedWindows:
        """Windows of at most `task.max_length` tokens over every context."""
        return encode_windows(self, tokenizer, task)

    @property
    def _columns(self) -> tuple[Sequence[str], Sequence[str], Sequence[str]]:
        return self.ids, self.questions, self.contexts
