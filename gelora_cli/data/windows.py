"""Token windows over questions and their contexts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import quote_name
from gelora_cli.data.answer_spans import TrimmedText, find_token_span
from gelora_cli.data.encoding import EncodedSplit, measure_truncation
from gelora_cli.data.spool import Spool

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

    from gelora_cli.data.questions import QuestionSplit


ENCODE_QUESTIONS = 500


@dataclass(frozen=True)
class Recovery:
    """What became of the first answer of each question that has one, when mapped to tokens and back."""

    same: int
    inside_a_token: int
    in_no_window: int


@dataclass(frozen=True)
class EncodedWindows(EncodedSplit):
    """Windows end to end; several may belong to one question.

    `question_row` (n,) is the row in `source`, `null` (n,) the token that stands for "no answer", `chars` (tokens, 2)
    each token's characters in the context, blanks at its ends left out; -1 outside the context.
    """

    source: QuestionSplit
    question_row: NDArray[np.int64]
    null: NDArray[np.int64]
    chars: NDArray[np.int32]
    recovery: Recovery

    @property
    def examples(self) -> int:
        """What is scored: questions, not windows."""
        return len(self.source)

    def take(self, rows: NDArray[np.int64]) -> EncodedWindows:
        """The named windows, in that order, without labels: to be looked at, not judged."""
        base = super().take(rows)
        chars = self.chars
        if base.tokens is not self.tokens:
            chars = np.concatenate([self.chars[self.offsets[row] : self.offsets[row + 1]] for row in rows])
        return EncodedWindows(
            base.name,
            base.ids,
            None,
            base.tokens,
            base.offsets,
            base.types,
            source=self.source,
            question_row=self.question_row[rows],
            null=self.null[rows],
            chars=chars,
            recovery=self.recovery,
        )

    def describe(self) -> str:
        """Questions, windows, and how many answers come back from their tokens as the same text."""
        text = f"{len(self.source):,} questions in {len(self):,} windows"
        if self.labels is None:
            return text
        found = self.recovery
        return (
            f"{text}; answers that come back from their tokens as the same text: {found.same:,}, that end inside a "
            f"token: {found.inside_a_token:,}, whole in no window: {found.in_no_window:,}"
        )


def encode_windows(split: QuestionSplit, tokenizer: PreTrainedTokenizerBase, task: TaskConfig) -> EncodedWindows:
    """Windows `question, context` of at most `task.max_length` tokens that share `task.stride` context tokens.

    A question is cut to `task.max_question_length` tokens. An answer is (first token, last token) in a window that
    holds it whole, and the null token twice in a window that doesn't. The null token is the first one (`[CLS]`); a
    decoder's windows end in an end token instead, the only one that sees the whole window.
    """
    builder = _Builder(tokenizer, task, split)
    for start in range(0, len(split), ENCODE_QUESTIONS):
        builder.add(range(start, min(start + ENCODE_QUESTIONS, len(split))))
    return builder.windows()


class _Builder:
    """The windows so far, and what was seen of the answers."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, task: TaskConfig, split: QuestionSplit) -> None:
        self.tokenizer, self.task, self.split = tokenizer, task, split
        self.end_token = [] if tokenizer.cls_token_id is not None else [int(tokenizer.eos_token_id)]
        self.tokens, self.types, self.chars = Spool(np.int32), Spool(np.int8), Spool(np.int32, width=2)
        self.lengths: list[int] = []
        self.question_row: list[int] = []
        self.null: list[int] = []
        self.labels: list[tuple[int, int]] = []
        self.counts = {"same": 0, "inside_a_token": 0, "in_no_window": 0}
        self.question_lengths: list[int] = []  # tokens, before a question is cut

    def add(self, rows: range) -> None:
        """Encode some questions."""
        contexts = [self.split.contexts[row] for row in rows]
        encoded = self.tokenizer(
            self._questions(rows),
            contexts,
            truncation="only_second",
            max_length=self.task.max_length - len(self.end_token),
            stride=self.task.stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_attention_mask=False,
        )
        trimmed = {text: TrimmedText(text) for text in dict.fromkeys(contexts)}
        owner = np.asarray(encoded["overflow_to_sample_mapping"])
        for index, row in enumerate(rows):
            self._question(row, encoded, np.flatnonzero(owner == index).tolist(), trimmed[contexts[index]])

    def _questions(self, rows: range) -> list[str]:
        """The questions without blanks in front (with many, nothing of the context would fit), cut to their length."""
        texts = [self.split.questions[row].lstrip() for row in rows]
        limit = self.task.max_question_length
        found = self.tokenizer(
            texts, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False
        )
        offsets: list[list[tuple[int, int]]] = found["offset_mapping"]
        self.question_lengths += [len(ends) for ends in offsets]
        return [
            text[: ends[limit - 1][1]] if len(ends) > limit else text for text, ends in zip(texts, offsets, strict=True)
        ]

    def _question(self, row: int, encoded: BatchEncoding, windows: list[int], trimmed: TrimmedText) -> None:
        """All windows of one question, and whether its answer comes back from one of them."""
        answers = self.split.labels[row] if self.split.labels is not None else ()
        recovered: list[bool] = []
        for window in windows:
            inside = np.array([part == 1 for part in encoded.sequence_ids(window)])
            if not inside.any():
                name = quote_name(self.split.ids[row])
                raise GeloraError(f"the context of {name} has no token in this model's vocabulary; remove it")
            low, high = _range_of(inside)
            chars = np.where(inside[:, None], trimmed.of(np.asarray(encoded["offset_mapping"][window])), -1)
            covered = (
                0 if window == windows[0] else int(chars[low, 0]),
                len(trimmed.text) if window == windows[-1] else int(chars[high - 1, 1]),
            )
            span = find_token_span(answers[0], chars, (low, high), covered) if answers else None
            if span is not None:
                recovered.append(trimmed.text[chars[span[0], 0] : chars[span[1], 1]] == answers[0].text.strip())
            self._append(row, encoded, window, chars, span)
        if answers:
            outcome = "in_no_window" if not recovered else "same" if all(recovered) else "inside_a_token"
            self.counts[outcome] += 1

    def _append(
        self,
        row: int,
        encoded: BatchEncoding,
        window: int,
        chars: NDArray[np.int64],
        span: tuple[int, int] | None,
    ) -> None:
        tokens = [*encoded["input_ids"][window], *self.end_token]
        null = len(tokens) - 1 if self.end_token else 0
        self.tokens.add(tokens)
        self.chars.add(np.concatenate([chars, np.full((len(self.end_token), 2), -1)]))
        if "token_type_ids" in encoded:
            types = encoded["token_type_ids"][window]
            self.types.add([*types, *types[-1:] * len(self.end_token)])
        self.lengths.append(len(tokens))
        self.question_row.append(row)
        self.null.append(null)
        self.labels.append(span or (null, null))

    def windows(self) -> EncodedWindows:
        """Everything added."""
        labelled = self.split.labels is not None
        return EncodedWindows(
            name=self.split.name,
            ids=self.split.ids,
            labels=np.asarray(self.labels, np.int64) if labelled else None,
            tokens=self.tokens.array(),
            offsets=np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64),
            types=self.types.array_or_none(),
            source=self.split,
            question_row=np.asarray(self.question_row, np.int64),
            null=np.asarray(self.null, np.int64),
            chars=self.chars.array(),
            group_names=self.split.group_names,
            recovery=Recovery(**self.counts),
            truncation=measure_truncation(
                self.question_lengths,
                self.task.max_question_length,
                "end",
                unit="questions",
                key="task.max_question_length",
            ),
        )


def _range_of(inside: NDArray[np.bool_]) -> tuple[int, int]:
    """The first true position and the one behind the last."""
    places = np.flatnonzero(inside)
    return int(places[0]), int(places[-1]) + 1
