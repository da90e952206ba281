"""Questions of SQuAD v1.1 and v2.0, from parquet files in the hub's layout or from SQuAD's own JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.messages import has_lone_surrogate, quote, quote_name
from gelora_cli.data.json_input import parse_json
from gelora_cli.data.questions import Answer, QuestionSplit
from gelora_cli.data.tables import read_table, read_texts


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
    titles = [quote_name(row[3]) if isinstance(row[3], list | dict) else str(row[3]) for row in rows]
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
        raise ValueError(f"question {quote_name(str(asked['id']))} has is_impossible and an answer")
    return found


def _start(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or abs(value) > 2**31:
        raise ValueError(f"answer_start is {quote(value)}")
    return int(value)


def _id(value: object) -> str:
    if not isinstance(value, str | int):
        raise TypeError(f"id is {quote(value)}")
    return str(value)


def check_answers(split: QuestionSplit, task: TaskConfig, where: str) -> QuestionSplit:
    """The split, once its answers are seen to fit the task (see `load_questions`).

    Raises:
        GeloraError: no answers, a question without one in a task that has none, a misplaced answer.
    """
    if split.labels is None:
        raise GeloraError(f"{where}: some questions have no answers; to learn from, each needs them: {SQUAD_FORMAT}")
    _check_unanswerable(split, task, where)
    return _placed(split, task, where)


def single_question(question: str, context: str) -> QuestionSplit:
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
            f"{where}, row {row}: answers {quote(value)} are not {{text: [...], answer_start: [...]}}"
        ) from error


def _check_rows(split: QuestionSplit, where: str, *, blank_questions: bool = False) -> None:
    if not len(split):
        raise GeloraError(f"{where}: no questions; give at least one")
    for name, column in (("question", split.questions), ("context", split.contexts)):
        empty = [row for row, text in enumerate(column) if not isinstance(text, str) or not text.strip()]
        if empty and not (blank_questions and name == "question"):
            raise GeloraError(
                f"{where}: {len(empty)} rows have an empty {name}, the first is row {empty[0]} "
                f"(id {quote_name(split.ids[empty[0]])}); remove those rows or fill them in"
            )
    texts = {"id": split.ids, "question": split.questions, "context": split.contexts, "title": split.titles or ()}
    for name, column in texts.items():
        broken = next((row for row, text in enumerate(column) if has_lone_surrogate(text)), None)
        if broken is not None:
            raise GeloraError(
                f"{where}: the {name} of row {broken} (id {quote_name(split.ids[broken])}) holds half of a character; "
                "give strings of UTF-8"
            )
    seen: set[str] = set()
    twice = [number for number in split.ids if number in seen or seen.add(number)]  # type: ignore[func-returns-value]
    if twice:
        raise GeloraError(
            f"{where}: {len(twice)} ids come twice, the first is {quote_name(twice[0])}; give each question its own"
        )


def _check_unanswerable(split: QuestionSplit, task: TaskConfig, where: str) -> None:
    assert split.labels is not None
    without = [number for number, found in zip(split.ids, split.labels, strict=True) if not found]
    if without and not task.unanswerable:
        raise GeloraError(
            f"{where}: {len(without)} questions have no answer, the first is {quote_name(without[0])}; in "
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
        f"{where}: {len(wrong)} answers are not at their offset, the first in {quote_name(split.ids[row])}: "
        f"{quote(answer.text)} at {quote(answer.start)}, where the context has {quote(there)}"
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
