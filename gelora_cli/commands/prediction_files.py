"""Predictions in the form that `gelora predict` writes: input columns, prediction, probabilities; JSON lines or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.files import json_text
from gelora_cli.core.registries import TASK_KINDS
from gelora_cli.data.questions import QuestionSplit
from gelora_cli.data.sources import Split
from gelora_cli.data.splits import TextSplit

DELIMITERS = {".csv": ",", ".tsv": "\t"}
"""Suffix of an output file that is a table -> what stands between its cells; others hold JSON lines."""
ENDINGS = (*DELIMITERS, ".jsonl", ".ndjson")
"""Suffixes that an output file may have."""
PROBABILITY = "probability_"


def with_inputs(task: TaskConfig, split: Split, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to each row of `pipeline.predict` the input columns and what its kind says of its scores.

    Of labels that is the probability of each by name.

    An input column with the name of another key, such as `id`, becomes `input_id`.
    """
    inputs = _input_columns(task, split)
    kind = TASK_KINDS.get(task.kind)
    rows_with_inputs = []
    for number, row in enumerate(rows):
        reserved = {*row, "probabilities", "probability", "no_answer_probability"}
        texts = {(f"input_{name}" if name in reserved else name): column[number] for name, column in inputs}
        predicted = {key: value for key, value in row.items() if key not in ("id", "split", "scores")}
        # The order of the keys is that of the columns in a table.
        columns = {"id": row["id"], "split": row["split"]} | texts | predicted
        rows_with_inputs.append(columns | kind.probabilities(task, row) | {"scores": row["scores"]})
    return rows_with_inputs


def _input_columns(task: TaskConfig, split: Split) -> list[tuple[str, Sequence[str]]]:
    """Return the name and the texts of each input of a split."""
    if isinstance(split, TextSplit):
        return list(zip(task.columns, split.columns, strict=True))
    if isinstance(split, QuestionSplit):
        return [("question", split.questions), ("context", split.contexts)]
    return [("prompt", split.prompts)]


def prediction_text(rows: Sequence[dict[str, Any]], target: Path | None) -> str:
    """Return rows as the text of a file: a table where its name ends in `.csv` or `.tsv`, else a JSON line each."""
    delimiter = DELIMITERS.get(target.suffix.lower()) if target else None
    if delimiter is None:
        return "".join(json_text(row) + "\n" for row in rows)
    table_rows = []
    for row in rows:
        # A column for each label's probability, without the scores that it comes from.
        cells = {key: value for key, value in row.items() if key not in ("probabilities", "scores")}
        cells |= {PROBABILITY + label: share for label, share in row.get("probabilities", {}).items()}
        table_rows.append(
            {key: json_text(cell) if isinstance(cell, list | dict) else cell for key, cell in cells.items()}
        )
    columns = list(dict.fromkeys(name for row in table_rows for name in row))  # rows may differ, such as by an answer
    text = io.StringIO()
    table = csv.DictWriter(text, columns, delimiter=delimiter, lineterminator="\n")
    table.writeheader()
    table.writerows(table_rows)
    return text.getvalue()
