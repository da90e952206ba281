"""Shared by the tests of several packages, first met in test_user_questions.py."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def write_questions(path: Path, rows: Sequence[dict[str, Any]], *, articles: int, **more: Any) -> Path:
    """Return the rows as SQuAD's own JSON, spread over so many articles; `more` replaces fields of the questions."""
    data: list[dict[str, Any]] = [{"title": f"article {number}", "paragraphs": []} for number in range(articles)]
    for number, row in enumerate(rows):
        texts, starts = row["answers"]["text"], row["answers"]["answer_start"]
        answers = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
        asked = {"id": row["id"], "question": row["question"], "answers": answers, "is_impossible": not answers} | more
        paragraph = {"context": row["context"], "qas": [{key: value for key, value in asked.items() if value != ...}]}
        data[number % articles]["paragraphs"].append(paragraph)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"version": "mine", "data": [article for article in data if article["paragraphs"]]}))
    return path
