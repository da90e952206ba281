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
from gelora_cli.data.sources import Split
from gelora_cli.data.splits import TextSplit

DELIMITERS = {".csv": ",", ".tsv": "\t"}
"""Suffix of an output file that is a table -> what stands between its cells; any other file holds JSON lines."""
PROBABILITY = "probability_"


def with_inputs(task: TaskConfig, split: Split, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to each row of `pipeline.predict` the input columns and, of labels, the probability of each by name.

    An input column with the name of another key, such as `id`, becomes `input_id`.
    """
    inputs = _input_columns(task, split)
    rows_with_inputs = []
    for number, row in enumerate(rows):
        texts = [(name, column[number]) for name, column in inputs]
        rows_with_inputs.append(_with_inputs(task, row, texts))
    return rows_with_inputs


def prediction_text(rows: Sequence[dict[str, Any]], target: Path | None) -> str:
    """Return rows as the text of a file: a table where its name ends in `.csv` or `.tsv`, else a JSON line each."""
    delimiter = DELIMITERS.get(target.suffix.lower()) if target else None
    if delimiter is None:
        return "".join(json_text(row) + "\n" for row in rows)
    flat = [_flat(row) for row in rows]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    text = io.StringIO()
    table = csv.DictWriter(text, columns, delimiter=delimiter, lineterminator="\n")
    table.writeheader()
    table.writerows(flat)
    return text.getvalue()


def _input_columns(task: TaskConfig, split: Split) -> list[tuple[str, Sequence[str]]]:
    if isinstance(split, TextSplit):
        return list(zip(task.columns, split.columns, strict=True))
    return [("question", split.questions), ("context", split.contexts)]


def _with_inputs(task: TaskConfig, row: dict[str, Any], inputs: list[tuple[str, str]]) -> dict[str, Any]:
    scores = row["scores"]
    rest = {key: value for key, value in row.items() if key not in ("id", "split", "scores")}
    reserved = {*row, "probabilities", "probability", "no_answer_probability"}
    named = {(f"input_{name}" if name in reserved else name): text for name, text in inputs}
    return {
        "id": row["id"],
        "split": row["split"],
        **named,
        **rest,
        **TASK_KINDS.get(task.kind).probabilities(task, row),
        "scores": scores,
    }


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as cells: a column for each label's probability, without the scores that it comes from."""
    cells = {key: value for key, value in row.items() if key not in ("probabilities", "scores")}
    cells |= {PROBABILITY + label: share for label, share in row.get("probabilities", {}).items()}
    return {key: json_text(value) if isinstance(value, list | dict) else value for key, value in cells.items()}
