"""Read questions of SQuAD v1.1 and v2.0, from parquet files in the hub's layout or from SQuAD's own JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.messages import has_lone_surrogate, quote, quote_name
from gelora_cli.data.json_input import parse_json
from gelora_cli.data.questions import Answer, QuestionSplit
from gelora_cli.data.tables import read_table, read_texts

SQUAD_FORMAT = (
    '{"data": [{"title": ..., "paragraphs": [{"context": ..., "qas": [{"id": ..., "question": ..., "answers": '
    '[{"text": ..., "answer_start": ...}]}]}]}]}'
)


def load_questions(directory: Path, task: TaskConfig, split: str) -> QuestionSplit:
    """Return one split of a SQuAD-like task from `<directory>/<folder>/<split>-*.parquet`.

    `task.columns` names the columns of the question and of the context. `task.unanswerable` says whether questions
    without an answer belong to the task, and `task.empty_text=keep` accepts blank questions. No answers are read for a
    split in `task.test_splits`. For answers that are not at their offset see `_check_offsets`.

    Raises:
        GeloraError: a missing column, no rows, an empty question or context, an id that comes twice, an answer that is
            not at its offset, or a question without an answer in a task that has none.
    """
    is_test = split in task.test_splits
    needed = ["id", *task.columns, *([] if is_test else ["answers"])]
    table = read_table(directory, task, split, needed, optional=["title"])
    where = f"task={task.name}, split {split} of {directory}"
    question_column, context_column = task.columns
    # Most contexts have several questions. Every question holds the same string, not a copy of it.
    known_contexts: dict[str, str] = {}
    contexts = [known_contexts.setdefault(text, text) for text in read_texts(table, context_column)]
    questions = QuestionSplit(
        split,
        ids=[str(value) for value in table.values("id")],
        questions=list(read_texts(table, question_column)),
        contexts=contexts,
        labels=None,
        titles=[str(title) for title in table.values("title")] if "title" in table.columns else None,
    )
    _check_rows(questions, where, accept_blank_questions=task.empty_text == "keep")
    if is_test:
        return questions
    answers = [_parse_parquet_answers(value, row, where) for row, value in enumerate(table.values("answers"))]
    return _check_labels(replace(questions, labels=answers), task, where)


def read_squad_json(text: str, where: str, *, answered: bool = False) -> QuestionSplit:
    """Return the questions of a file in SQuAD's own format (see `SQUAD_FORMAT`).

    Args:
        text: the content of the file.
        where: the file, for messages.
        answered: whether answers are read. They are kept if every question has some or is marked by `is_impossible`.

    The titles of the articles are kept if every article has one.

    Raises:
        GeloraError: not JSON, a missing field, no question, an empty text, or an id that comes twice.
    """
    content = parse_json(text, where, "a file in SQuAD's format is accepted")
    try:
        rows = _parse_rows(content, answered=answered)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"a field is of another type ({error})"
        if isinstance(error, KeyError):
            reason = f"a field {error} is missing"
        raise GeloraError(f"{where} is not in SQuAD's format: {reason}; accepted is {SQUAD_FORMAT}") from error
    titles = None
    if all(row.title is not None for row in rows):
        # A title may be a list or an object, which can be nested so deeply that str() fails. `quote_name` does not.
        titles = [quote_name(row.title) if isinstance(row.title, list | dict) else str(row.title) for row in rows]
    questions = QuestionSplit(
        "input",
        ids=[row.id for row in rows],
        questions=[row.question for row in rows],
        contexts=[row.context for row in rows],
        labels=None,
        titles=titles,
    )
    _check_rows(questions, where)
    # Answers are kept only if every question has them or is marked as impossible.
    answers = [row.answers for row in rows if row.answers is not None]
    return replace(questions, labels=answers if len(answers) == len(rows) else None)


def single_question(question: str, context: str) -> QuestionSplit:
    """Return a single question, as given on the command line.

    Raises:
        GeloraError: the question or the context is empty.
    """
    split = QuestionSplit("input", ["question"], [question], [context], None)
    _check_rows(split, "question=... context=...")
    return split


def check_answers(split: QuestionSplit, task: TaskConfig, where: str) -> QuestionSplit:
    """Return the split if its answers fit the task (see `load_questions`).

    Raises:
        GeloraError: there are no answers, a question has none in a task where every question has one, or an answer is
            not at its offset.
    """
    if split.labels is None:
        raise GeloraError(
            f"{where}: some questions have no answers, and training needs an answer to each; accepted is {SQUAD_FORMAT}"
        )
    return _check_labels(split, task, where)


class _JsonRow(NamedTuple):
    """A question of a JSON file. What is not checked while parsing (texts, the title) is checked by the caller."""

    id: str
    question: str
    context: str
    title: object
    answers: tuple[Answer, ...] | None


def _parse_rows(content: dict[str, Any], *, answered: bool) -> list[_JsonRow]:
    """Return the questions of a file in their order, with their answers if it is `answered`."""
    rows = []
    for article in content["data"]:
        for paragraph in article["paragraphs"]:
            for entry in paragraph["qas"]:
                answers = _parse_json_answers(entry) if answered else None
                question_id = _parse_id(entry["id"])
                rows.append(
                    _JsonRow(question_id, entry["question"], paragraph["context"], article.get("title"), answers)
                )
    return rows


def _parse_id(value: object) -> str:
    if not isinstance(value, str | int):
        raise TypeError(f"id is {quote(value)}")
    return str(value)


def _parse_json_answers(entry: dict[str, Any]) -> tuple[Answer, ...] | None:
    """Return the different answers of a question, none if it is impossible; None if the file says nothing of them."""
    is_impossible = entry.get("is_impossible") is True
    if entry.get("answers") is None:
        return () if is_impossible else None
    answers = [Answer(str(answer["text"]), _parse_start(answer["answer_start"])) for answer in entry["answers"]]
    if is_impossible and answers:
        raise ValueError(f"question {quote_name(str(entry['id']))} has is_impossible and an answer")
    return tuple(dict.fromkeys(answers))


def _parse_parquet_answers(value: Mapping[str, Any], row: int, where: str) -> tuple[Answer, ...]:
    """Return the different answers of a question, which parquet files hold as a list of texts and one of starts."""
    try:
        pairs = zip(value["text"], value["answer_start"], strict=True)
        return tuple(dict.fromkeys(Answer(str(text), _parse_start(start)) for text, start in pairs))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise GeloraError(
            f"{where}, row {row}: the answers are {quote(value)}, but {{text: [...], answer_start: [...]}} is accepted"
        ) from error


def _parse_start(value: object) -> int:
    # Some exporters write offsets as floats. The bound is that of the int32 arrays that hold character positions.
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or abs(value) > 2**31:
        raise ValueError(f"answer_start is {quote(value)}")
    return int(value)


def _check_rows(split: QuestionSplit, where: str, *, accept_blank_questions: bool = False) -> None:
    """Refuse a split without questions, with empty or broken texts, or with an id that comes twice."""
    if not len(split):
        raise GeloraError(f"{where}: no questions; give at least one")
    for name, column in (("question", split.questions), ("context", split.contexts)):
        if name == "question" and accept_blank_questions:
            continue
        empty = [row for row, text in enumerate(column) if not isinstance(text, str) or not text.strip()]
        if empty:
            raise GeloraError(
                f"{where}: {len(empty)} rows have an empty {name}, the first is row {empty[0]} "
                f"(id {quote_name(split.ids[empty[0]])}); remove those rows or fill them in"
            )
    texts = {"id": split.ids, "question": split.questions, "context": split.contexts, "title": split.titles or ()}
    for name, column in texts.items():
        broken = next((row for row, text in enumerate(column) if has_lone_surrogate(text)), None)
        if broken is not None:
            raise GeloraError(
                f"{where}: the {name} of row {broken} (id {quote_name(split.ids[broken])}) holds half of a character "
                "(a lone surrogate). Replace it: all texts must be valid Unicode"
            )
    # Predictions are matched to questions by id, so each id may come only once.
    seen: set[str] = set()
    repeated = []
    for question_id in split.ids:
        if question_id in seen:
            repeated.append(question_id)
        seen.add(question_id)
    if repeated:
        raise GeloraError(
            f"{where}: {len(repeated)} ids come twice, the first is {quote_name(repeated[0])}; give each question an "
            "id of its own"
        )


def _check_labels(split: QuestionSplit, task: TaskConfig, where: str) -> QuestionSplit:
    """Return the split if its answers fit the task: whether a question may have none, and where answers are."""
    assert split.labels is not None
    unanswered = [question for question, answers in zip(split.ids, split.labels, strict=True) if not answers]
    if unanswered and not task.unanswerable:
        raise GeloraError(
            f"{where}: {len(unanswered)} questions have no answer, the first is {quote_name(unanswered[0])}; in "
            f"task={task.name} every question has one. Is this SQuAD v2? Then use task=squad_v2 data.squad_v2=DIR"
        )
    return _check_offsets(split, task, where)


def _check_offsets(split: QuestionSplit, task: TaskConfig, where: str) -> QuestionSplit:
    """Return the split if every answer is in the context at its offset.

    With `task.misplaced_answers=drop` a warning names the other answers. Their questions are left out of the training
    rows. They stay in the rows that are scored, because scores compare texts and use no offsets.
    """
    assert split.labels is not None
    misplaced = []
    for row, answers in enumerate(split.labels):
        context = split.contexts[row]
        for answer in answers:
            # A negative offset would count from the end, and a blank answer has no token.
            is_at_offset = answer.start >= 0 and context[answer.start : answer.end] == answer.text
            if not is_at_offset or not answer.text.strip():
                misplaced.append((row, answer))
    if not misplaced:
        return split
    row, answer = misplaced[0]
    text_at_offset = split.contexts[row][max(0, answer.start) : max(0, answer.end)]
    problem = (
        f"{where}: {len(misplaced)} answers are not at their offset, the first in {quote_name(split.ids[row])}: "
        f"{quote(answer.text)} at {quote(answer.start)}, where the context has {quote(text_at_offset)}"
    )
    if task.misplaced_answers == "error":
        raise GeloraError(f"{problem}. Correct the data, or train without them: task.misplaced_answers=drop")
    LOGGER.warning("%s", problem)
    if split.name != "train":
        return split
    dropped = {row for row, _ in misplaced}
    return split.take(np.array([row for row in range(len(split)) if row not in dropped], dtype=np.int64))
