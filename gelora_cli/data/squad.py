"""SQuAD v1.1 and v2.0: questions about a context, and the token windows that a model reads them through."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import is_broken, shown, shown_name
from gelora_cli.core.runtime import LOGGER
from gelora_cli.data.json_input import parse_json
from gelora_cli.data.splits import EncodedSplit, Spool, digest_of, numbered, shortened
from gelora_cli.data.tables import read_table, read_texts

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

ENCODE_QUESTIONS = 500


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

    def unlabelled(self) -> QuestionSplit:
        """The same questions, their answers forgotten."""
        return replace(self, labels=None)

    def groups(self) -> NDArray[np.int64]:
        """What must not be parted, (n,) numbered from 0: the articles, or the contexts where titles are missing."""
        return numbered(self.titles or self.contexts)

    @property
    def group_names(self) -> Sequence[str]:
        """The title of each question's article, (n,); where titles are missing its context by number."""
        return self.titles or [f"context {number}" for number in self.groups()]

    def fingerprint(self) -> str:
        """sha256 over ids, questions, contexts and answers."""
        answers = [[(answer.text, answer.start) for answer in found] for found in self.labels or ()]
        return digest_of(*self._columns, answers)

    def encoded(self, tokenizer: PreTrainedTokenizerBase, task: TaskConfig) -> EncodedWindows:
        """Windows of at most `task.max_length` tokens over every context."""
        return encode_windows(self, tokenizer, task)

    @property
    def _columns(self) -> tuple[Sequence[str], Sequence[str], Sequence[str]]:
        return self.ids, self.questions, self.contexts


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


def load_questions(directory: Path, task: TaskConfig, split: str) -> QuestionSplit:
    """One split of a SQuAD-like task from `<directory>/<folder>/<split>-*.parquet`.

    `task.columns` are those of the question and the context. `task.unanswerable` says whether questions without an
    answer belong to the task, `task.empty_text=keep` accepts blank questions. An answer that is not at its offset is
    refused, or with `task.misplaced_answers=drop` counted: its question is then left out of training, and kept in the
    splits that are judged, which compare texts only. Of a split in `task.test_splits` no answers are read.

    Raises:
        GeloraError: a missing field, no rows, an empty question or context, an id twice, a misplaced answer, a
            question without an answer in a task that has none.
    """
    hidden = split in task.test_splits
    needed = ["id", *task.columns, *([] if hidden else ["answers"])]
    table = read_table(directory, task, split, needed, optional=["title"])
    where = f"task={task.name}, split {split} of {directory}"
    contexts: dict[str, str] = {}  # most contexts have several questions: one copy of each
    question, context = task.columns
    texts = [contexts.setdefault(text, text) for text in read_texts(table, context)]
    titles = [str(title) for title in table.values("title")] if "title" in table.columns else None
    ids = [str(value) for value in table.values("id")]
    found = QuestionSplit(split, ids, list(read_texts(table, question)), texts, None, titles)
    _check_rows(found, where, blank_questions=task.empty_text == "keep")
    if hidden:
        return found
    answers = [_answers(value, row, where) for row, value in enumerate(table.values("answers"))]
    found = replace(found, labels=answers)
    _check_unanswerable(found, task, where)
    return _placed(found, task, where)


def read_squad_json(text: str, where: str, *, answered: bool = False) -> QuestionSplit:
    """Questions of a file in SQuAD's own format: `data[].paragraphs[].{context, qas[].{id, question, answers}}`.

    With `answered` the answers are read, where every question has them or is marked by `is_impossible`. Titles of
    articles are read where every one has its own.

    Raises:
        GeloraError: not JSON, a missing field, no question, an empty text, an id twice.
    """
    content = parse_json(text, where, "a file in SQuAD's format is accepted")
    try:
        articles = content["data"]
        rows = [
            (
                _id(asked["id"]),
                asked["question"],
                paragraph["context"],
                article.get("title"),
                _json_answers(asked) if answered else None,
            )
            for article in articles
            for paragraph in article["paragraphs"]
            for asked in paragraph["qas"]
        ]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        what = f"a field {error} is missing" if isinstance(error, KeyError) else f"a field is of another type ({error})"
        raise GeloraError(f"{where} is not in SQuAD's format: {what}; accepted is {SQUAD_FORMAT}") from error
    titles = [shown_name(row[3]) if isinstance(row[3], list | dict) else str(row[3]) for row in rows]
    found = QuestionSplit(
        "input",
        ids=[row[0] for row in rows],
        questions=[row[1] for row in rows],
        contexts=[row[2] for row in rows],
        labels=None,
        titles=None if any(row[3] is None for row in rows) else titles,
    )
    _check_rows(found, where)
    answers = [row[4] for row in rows if row[4] is not None]
    return replace(found, labels=answers if len(answers) == len(rows) else None)


SQUAD_FORMAT = (
    '{"data": [{"title": ..., "paragraphs": [{"context": ..., "qas": [{"id": ..., "question": ..., "answers": '
    '[{"text": ..., "answer_start": ...}]}]}]}]}'
)


def _json_answers(asked: dict[str, Any]) -> tuple[Answer, ...] | None:
    """A question's answers, none where it is impossible; None where the file says nothing of them."""
    impossible = asked.get("is_impossible") is True
    if asked.get("answers") is None:
        return () if impossible else None
    found = tuple(dict.fromkeys(Answer(str(one["text"]), _start(one["answer_start"])) for one in asked["answers"]))
    if impossible and found:
        raise ValueError(f"question {shown_name(str(asked['id']))} has is_impossible and an answer")
    return found


def _start(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or abs(value) > 2**31:
        raise ValueError(f"answer_start is {shown(value)}")
    return int(value)


def _id(value: object) -> str:
    if not isinstance(value, str | int):
        raise TypeError(f"id is {shown(value)}")
    return str(value)


def checked_answers(split: QuestionSplit, task: TaskConfig, where: str) -> QuestionSplit:
    """The split, once its answers are seen to fit the task (see `load_questions`).

    Raises:
        GeloraError: no answers, a question without one in a task that has none, a misplaced answer.
    """
    if split.labels is None:
        raise GeloraError(f"{where}: some questions have no answers; to learn from, each needs them: {SQUAD_FORMAT}")
    _check_unanswerable(split, task, where)
    return _placed(split, task, where)


def one_question(question: str, context: str) -> QuestionSplit:
    """A single question, as given on the command line."""
    found = QuestionSplit("input", ["question"], [question], [context], None)
    _check_rows(found, "question=... context=...")
    return found


def _answers(value: Mapping[str, Any], row: int, where: str) -> tuple[Answer, ...]:
    try:
        pairs = zip(value["text"], value["answer_start"], strict=True)
        return tuple(dict.fromkeys(Answer(str(text), _start(start)) for text, start in pairs))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise GeloraError(
            f"{where}, row {row}: answers {shown(value)} are not {{text: [...], answer_start: [...]}}"
        ) from error


def _check_rows(split: QuestionSplit, where: str, *, blank_questions: bool = False) -> None:
    if not len(split):
        raise GeloraError(f"{where}: no questions; give at least one")
    for name, column in (("question", split.questions), ("context", split.contexts)):
        empty = [row for row, text in enumerate(column) if not isinstance(text, str) or not text.strip()]
        if empty and not (blank_questions and name == "question"):
            raise GeloraError(
                f"{where}: {len(empty)} rows have an empty {name}, the first is row {empty[0]} "
                f"(id {shown_name(split.ids[empty[0]])}); remove those rows or fill them in"
            )
    texts = {"id": split.ids, "question": split.questions, "context": split.contexts, "title": split.titles or ()}
    for name, column in texts.items():
        broken = next((row for row, text in enumerate(column) if is_broken(text)), None)
        if broken is not None:
            raise GeloraError(
                f"{where}: the {name} of row {broken} (id {shown_name(split.ids[broken])}) holds half of a character; "
                "give strings of UTF-8"
            )
    seen: set[str] = set()
    twice = [number for number in split.ids if number in seen or seen.add(number)]  # type: ignore[func-returns-value]
    if twice:
        raise GeloraError(
            f"{where}: {len(twice)} ids come twice, the first is {shown_name(twice[0])}; give each question its own"
        )


def _check_unanswerable(split: QuestionSplit, task: TaskConfig, where: str) -> None:
    assert split.labels is not None
    without = [number for number, found in zip(split.ids, split.labels, strict=True) if not found]
    if without and not task.unanswerable:
        raise GeloraError(
            f"{where}: {len(without)} questions have no answer, the first is {shown_name(without[0])}; in "
            f"task={task.name} every question has one. Is this SQuAD v2? Take task=squad_v2 with data.squad_v2=DIR"
        )


def _placed(split: QuestionSplit, task: TaskConfig, where: str) -> QuestionSplit:
    """The split, once every answer is seen to stand at its offset, or those that don't are dealt with."""
    assert split.labels is not None
    rows = range(len(split))
    wrong = [(row, answer) for row in rows for answer in split.labels[row] if not _stands(answer, split.contexts[row])]
    if not wrong:
        return split
    row, answer = wrong[0]
    there = split.contexts[row][max(0, answer.start) : max(0, answer.end)]
    found = (
        f"{where}: {len(wrong)} answers are not at their offset, the first in {shown_name(split.ids[row])}: "
        f"{shown(answer.text)} at {shown(answer.start)}, where the context has {shown(there)}"
    )
    if task.misplaced_answers == "error":
        raise GeloraError(f"{found}. Correct the data, or go on without them: task.misplaced_answers=drop")
    LOGGER.warning("%s", found)
    if split.name != "train":
        return split
    bad = {row for row, _ in wrong}
    return split.take(np.array([row for row in rows if row not in bad], dtype=np.int64))


def _stands(answer: Answer, context: str) -> bool:
    return answer.start >= 0 and answer.text.strip() != "" and context[answer.start : answer.end] == answer.text


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
        trimmed = {text: _Trimmed(text) for text in dict.fromkeys(contexts)}
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

    def _question(self, row: int, encoded: BatchEncoding, windows: list[int], trimmed: _Trimmed) -> None:
        """All windows of one question, and whether its answer comes back from one of them."""
        answers = self.split.labels[row] if self.split.labels is not None else ()
        recovered: list[bool] = []
        for window in windows:
            inside = np.array([part == 1 for part in encoded.sequence_ids(window)])
            if not inside.any():
                name = shown_name(self.split.ids[row])
                raise GeloraError(f"the context of {name} has no token in this model's vocabulary; remove it")
            low, high = _range_of(inside)
            chars = np.where(inside[:, None], trimmed.of(np.asarray(encoded["offset_mapping"][window])), -1)
            covered = (
                0 if window == windows[0] else int(chars[low, 0]),
                len(trimmed.text) if window == windows[-1] else int(chars[high - 1, 1]),
            )
            span = _token_span(answers[0], chars, (low, high), covered) if answers else None
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
            shortened=shortened(
                self.question_lengths,
                self.task.max_question_length,
                "end",
                unit="questions",
                key="task.max_question_length",
            ),
        )


class _Trimmed:
    """Spans of characters as a reader sees them, whatever a tokenizer counts to a token.

    Blanks at the ends are left out; combining marks behind the end, which some tokenizers strip, are taken in.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        marks = np.array([unicodedata.combining(character) > 0 for character in text])
        solid = np.array([not character.isspace() for character in text])
        places = np.arange(len(text))
        behind = np.where(solid, places + 1, 0)
        ahead = np.where(solid, places, len(text))
        self._last = np.concatenate([[0], np.maximum.accumulate(behind)])  # [e]: behind the last solid one before e
        self._next = np.concatenate([np.minimum.accumulate(ahead[::-1])[::-1], [len(text)]])  # [s]: first solid from s
        unmarked = np.concatenate([np.where(marks, len(text), places), [len(text)]])
        self._whole = np.minimum.accumulate(unmarked[::-1])[::-1]  # [e]: first place from e that is no mark

    def of(self, spans: NDArray[np.int64]) -> NDArray[np.int64]:
        """Spans (n, 2), first character and the one behind the last; a span of blanks becomes empty."""
        spans = np.minimum(spans, len(self.text))
        start = np.minimum(self._next[spans[:, 0]], spans[:, 1])
        end = np.maximum(self._last[spans[:, 1]], start)
        return np.stack([start, np.where(end > start, self._whole[end], end)], axis=1)


def _range_of(inside: NDArray[np.bool_]) -> tuple[int, int]:
    """The first true position and the one behind the last."""
    places = np.flatnonzero(inside)
    return int(places[0]), int(places[-1]) + 1


def _token_span(
    answer: Answer, chars: NDArray[np.int64], context: tuple[int, int], covered: tuple[int, int]
) -> tuple[int, int] | None:
    """The first and last token that touch the answer, or None where the window doesn't hold it whole."""
    if answer.start < covered[0] or answer.end > covered[1]:
        return None
    low, high = context
    spans = chars[low:high]
    touching = np.flatnonzero((spans[:, 1] > answer.start) & (spans[:, 0] < answer.end) & (spans[:, 1] > spans[:, 0]))
    return (low + int(touching[0]), low + int(touching[-1])) if len(touching) else None
