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
    """A gold answer: its text, and the character of the context at which it starts."""

    text: str
    start: int

    @property
    def end(self) -> int:
        """Return the position after the last character."""
        return self.start + len(self.text)


@dataclass(frozen=True)
class QuestionSplit:
    """n questions, each about a context.

    Attributes:
        name: name of the split.
        ids: an id for each question, (n,).
        questions: the questions, (n,).
        contexts: the context of each question, (n,).
        labels: the gold answers of each question, (n,). A question without an answer has an empty tuple. None if the
            answers are not known.
        titles: the title of the article of each question, (n,), or None if the data has no titles.
        note: what a user should know about how the rows were chosen.
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
        """Return the given rows in that order, without the note."""
        return QuestionSplit(
            self.name,
            ids=[self.ids[row] for row in rows],
            questions=[self.questions[row] for row in rows],
            contexts=[self.contexts[row] for row in rows],
            labels=None if self.labels is None else [self.labels[row] for row in rows],
            titles=None if self.titles is None else [self.titles[row] for row in rows],
        )

    def without_labels(self) -> QuestionSplit:
        """Return the same questions without their answers."""
        return replace(self, labels=None)

    def groups(self) -> NDArray[np.int64]:
        """Return the article of each question as a number from 0, (n,), or its context if there are no titles.

        Questions of one group are never separated.
        """
        return number_groups(self.titles or self.contexts)

    @property
    def group_names(self) -> Sequence[str]:
        """Return the title of each question's article, (n,), or the number of its context if there are no titles."""
        return self.titles or [f"context {number}" for number in self.groups()]

    def fingerprint(self) -> str:
        """Return the sha256 of ids, questions, contexts and answers, wherever they were read from."""
        answers = []
        for gold_answers in self.labels or ():
            answers.append([(answer.text, answer.start) for answer in gold_answers])
        return sha256_of(self.ids, self.questions, self.contexts, answers)

    def encode(self, tokenizer: PreTrainedTokenizerBase, task: TaskConfig) -> EncodedWindows:
        """Return windows of at most `task.max_length` tokens over every context."""
        return encode_windows(self, tokenizer, task)
