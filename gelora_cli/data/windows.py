"""Encode questions and contexts as windows of tokens.

A context that is longer than a window becomes several windows, which share `task.stride` tokens. Letters in shapes:
n windows of a split, T tokens of one window.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import quote_name
from gelora_cli.data.answer_spans import TrimmedText, find_token_span
from gelora_cli.data.encoding import EncodedSplit, measure_truncation
from gelora_cli.data.pairs import PairTemplate, window_bounds
from gelora_cli.data.spool import Spool

if TYPE_CHECKING:
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase

    from gelora_cli.data.questions import QuestionSplit

ENCODE_QUESTIONS = 500
"""Questions that are tokenized at once, which bounds the memory of the token lists."""


@dataclass(frozen=True)
class Recovery:
    """What became of the first answer of each answerable question when it was mapped to tokens and back.

    Attributes:
        same: answers that came back as the same text from every window that holds them.
        inside_a_token: answers that start or end inside a token, so that some window gives a longer text.
        in_no_window: answers that no window holds completely.
    """

    same: int
    inside_a_token: int
    in_no_window: int


@dataclass(frozen=True)
class EncodedWindows(EncodedSplit):
    """n windows one after the other, of which several may belong to one question.

    Attributes:
        source: the questions.
        question_row: which row of `source` each window belongs to, (n,).
        null: the token of each window that stands for "no answer", (n,).
        chars: the characters of the context under each token, (tokens, 2), first and the one after the last, without
            blanks at the ends; -1 for tokens outside the context.
        recovery: how many answers come back from their tokens.
    """

    source: QuestionSplit
    question_row: NDArray[np.int64]
    null: NDArray[np.int64]
    chars: NDArray[np.int32]
    recovery: Recovery

    @property
    def examples(self) -> int:
        """Return the number of examples that are scored: questions, not windows."""
        return len(self.source)

    def take(self, rows: NDArray[np.int64]) -> EncodedWindows:
        """Return the given windows in that order, without labels, for passes that don't score them."""
        base = super().take(rows)
        chars = self.chars
        if base.tokens is not self.tokens:  # else all windows in their order: the arrays are shared
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

    def texts(self) -> NDArray[np.int64]:
        """Return the number of the question that every window belongs to, counted from 0: (n,)."""
        return np.unique(self.question_row, return_inverse=True)[1]

    def describe(self) -> str:
        """Return the numbers of questions, of windows and of answers that come back from their tokens, for the log."""
        text = f"{len(self.source):,} questions in {len(self):,} windows"
        if self.labels is None:
            return text
        recovery = self.recovery
        return (
            f"{text}; answers that come back from their tokens as the same text: {recovery.same:,}, that end inside a "
            f"token: {recovery.inside_a_token:,}, whole in no window: {recovery.in_no_window:,}"
        )


def encode_windows(split: QuestionSplit, tokenizer: PreTrainedTokenizerBase, task: TaskConfig) -> EncodedWindows:
    """Return windows `question, context` of at most `task.max_length` tokens, which share `task.stride` context tokens.

    A question is cut to `task.max_question_length` tokens. The label of a window that holds the whole answer is its
    first and last token; the label of any other window is the null token, twice. The null token is the first one
    (`[CLS]`). A decoder's windows end in an end token instead, because only the last token sees the whole window.

    Raises:
        GeloraError: a context has no token in the vocabulary of the model.
    """
    encoder = _WindowEncoder(tokenizer, task, split)
    for start in range(0, len(split), ENCODE_QUESTIONS):
        encoder.add(range(start, min(start + ENCODE_QUESTIONS, len(split))))
    return encoder.windows()


def _cut_at(encoding: Encoding, limit: int) -> int:
    """Return where the beginning of a longer text ends that has at most `limit` tokens.

    A character of several tokens is not divided: where `limit` falls inside it, the text ends before it.
    """
    start, end = encoding.offsets[limit - 1]
    next_start = encoding.offsets[limit][0]
    return start if next_start < end else end


class _Context:
    """A context that was tokenized once for all of its questions.

    Attributes:
        text: the context.
        ids: its c tokens, (c,).
        chars: the characters of each token, without blanks at the ends, (c, 2).
    """

    def __init__(self, text: str, encoded: Encoding) -> None:
        self.text = text
        self.ids = np.array(encoded.ids, np.int32)
        spans = np.array(encoded.offsets, np.int64).reshape(-1, 2)
        self.chars = TrimmedText(text).trim(spans).astype(np.int32)


class _WindowEncoder:
    """The windows that were encoded so far, and how many answers came back from them."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, task: TaskConfig, split: QuestionSplit) -> None:
        self.tokenizer = tokenizer
        self.task = task
        self.split = split
        # A tokenizer without [CLS] is a decoder's: its windows get an end token, which is their null token.
        self.end_token = [] if tokenizer.cls_token_id is not None else [int(tokenizer.eos_token_id)]
        self.tokens = Spool(np.int32)
        self.types = Spool(np.int8)
        self.chars = Spool(np.int32, width=2)
        self.lengths: list[int] = []
        self.question_row: list[int] = []
        self.null: list[int] = []
        self.labels: list[tuple[int, int]] = []
        self.counts = {"same": 0, "inside_a_token": 0, "in_no_window": 0}
        self.question_lengths: list[int] = []  # in tokens, before a question is cut

    @cached_property
    def template(self) -> PairTemplate:
        """Return what the tokenizer puts around a question and its context."""
        return PairTemplate.of(self.tokenizer, self.split.contexts[0], self.end_token)

    def add(self, rows: range) -> None:
        """Encode the questions of these rows."""
        questions = self._encode_questions(rows)
        contexts = self._encode_contexts(rows)
        for row, question in zip(rows, questions, strict=True):
            self._add_question(row, question, contexts[self.split.contexts[row]])

    def _encode(self, texts: list[str]) -> list[Encoding]:
        """Return the tokens of each text alone, however many they are."""
        encoded = self.tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)
        return list(encoded.encodings)

    def _encode_questions(self, rows: range) -> list[NDArray[np.int32]]:
        """Return the tokens of the questions, cut to `task.max_question_length` tokens.

        Leading blanks are removed, because many of them would leave no room for the context.
        """
        texts = [self.split.questions[row].lstrip() for row in rows]
        limit = self.task.max_question_length
        encoded = self._encode(texts)
        self.question_lengths += [len(one) for one in encoded]
        # The text is cut before its tokens: a tokenizer may take the shorter text apart in another way, even into more.
        long = [index for index, one in enumerate(encoded) if len(one) > limit]
        if long:
            cut_texts = [texts[index][: _cut_at(encoded[index], limit)] for index in long]
            for index, one in zip(long, self._encode(cut_texts), strict=True):
                encoded[index] = one
        return [np.array(one.ids[:limit], np.int32) for one in encoded]

    def _encode_contexts(self, rows: range) -> dict[str, _Context]:
        """Return the contexts of these rows by their text; most have several questions."""
        first_rows: dict[str, int] = {}
        for row in rows:
            first_rows.setdefault(self.split.contexts[row], row)
        contexts = {}
        for (text, row), encoded in zip(first_rows.items(), self._encode(list(first_rows)), strict=True):
            if not len(encoded):
                name = quote_name(self.split.ids[row])
                raise GeloraError(
                    f"The context of question {name} has no token in this model's vocabulary. Remove that question"
                )
            contexts[text] = _Context(text, encoded)
        return contexts

    def _add_question(self, row: int, question: NDArray[np.int32], context: _Context) -> None:
        """Add all windows of one question, and count whether its answer comes back from them."""
        answers = self.split.labels[row] if self.split.labels is not None else ()
        room = self.task.max_length - len(self.template) - len(question)
        low = self.template.context_start(len(question))
        is_recovered: list[bool] = []  # for each window that holds the answer
        for first, end in window_bounds(len(context.ids), room, self.task.stride):
            chars = context.chars[first:end]  # (context tokens of the window, 2)
            # Blanks at the two ends of the context belong to no token, but the outer windows cover them.
            covered_from = 0 if first == 0 else int(chars[0, 0])
            covered_to = len(context.text) if end == len(context.ids) else int(chars[-1, 1])
            span = None
            if answers:
                span = find_token_span(answers[0], chars, (covered_from, covered_to))
            if span is not None:
                text = context.text[chars[span[0], 0] : chars[span[1], 1]]
                is_recovered.append(text == answers[0].text.strip())
                span = (low + span[0], low + span[1])
            self._add_window(row, question, context.ids[first:end], chars, span)
        if answers:
            self._count_recovery(is_recovered)

    def _count_recovery(self, is_recovered: list[bool]) -> None:
        if not is_recovered:
            self.counts["in_no_window"] += 1
        elif all(is_recovered):
            self.counts["same"] += 1
        else:
            self.counts["inside_a_token"] += 1

    def _add_window(
        self,
        row: int,
        question: NDArray[np.int32],
        context: NDArray[np.int32],
        context_chars: NDArray[np.int32],
        span: tuple[int, int] | None,
    ) -> None:
        tokens = self.template.join(question, context)
        low = self.template.context_start(len(question))
        chars = np.full((len(tokens), 2), -1, np.int32)  # (T, 2); tokens outside the context cover no character
        chars[low : low + len(context)] = context_chars
        null = len(tokens) - 1 if self.end_token else 0  # the added end token, or [CLS]
        self.tokens.add(tokens)
        self.chars.add(chars)
        types = self.template.join_types(len(question), len(context))
        if types is not None:
            self.types.add(types)
        self.lengths.append(len(tokens))
        self.question_row.append(row)
        self.null.append(null)
        self.labels.append(span or (null, null))

    def windows(self) -> EncodedWindows:
        """Return everything that was added."""
        has_labels = self.split.labels is not None
        truncation = measure_truncation(
            self.question_lengths,
            self.task.max_question_length,
            "end",
            unit="questions",
            key="task.max_question_length",
        )
        return EncodedWindows(
            name=self.split.name,
            ids=self.split.ids,
            labels=np.asarray(self.labels, np.int64) if has_labels else None,
            tokens=self.tokens.array(),
            offsets=np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64),
            types=self.types.array_or_none(),
            source=self.split,
            question_row=np.asarray(self.question_row, np.int64),
            null=np.asarray(self.null, np.int64),
            chars=self.chars.array(),
            group_names=self.split.group_names,
            recovery=Recovery(**self.counts),
            truncation=truncation,
        )
