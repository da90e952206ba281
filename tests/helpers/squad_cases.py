"""Shared by the tests of several packages, first met in test_squad.py."""

from __future__ import annotations

from gelora_cli.config.schema import TaskConfig
from gelora_cli.data.questions import Answer, QuestionSplit

TASK = TaskConfig(
    name="squad",
    kind="question_answering",
    source="squad",
    folder="plain_text",
    columns=["question", "context"],
    test_splits=[],
    max_length=64,
    stride=16,
    max_question_length=12,
    max_answer_length=8,
    n_best=5,
)


V2 = TaskConfig(**(vars(TASK) | {"name": "squad_v2", "source": "squad_v2", "folder": "squad_v2", "unanswerable": True}))


def split_of(*rows: tuple[str, str, str | None]) -> QuestionSplit:
    """Make questions of (question, context, answer); the answer is found where it first stands in the context."""
    found = [() if text is None else (Answer(text, context.index(text)),) for _, context, text in rows]
    questions, contexts = [row[0] for row in rows], [row[1] for row in rows]
    return QuestionSplit("train", [f"q{row}" for row in range(len(rows))], questions, contexts, found)


LONG = " ".join(f"the cat number {number} sat on the mat," for number in range(40))
