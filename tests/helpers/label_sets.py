"""Texts with several labels each, which follow from their words, written in each form that is read."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from tests.helpers.rows import rows

LABELS = ["asked", "glad", "sad"]
WORD_OF_LABEL = {"asked": "did ", "glad": "happy ", "sad": "lost "}


def labelled_texts(count: int, seed: int = 1) -> list[tuple[str, list[str]]]:
    """Return texts that begin with the words of their labels; an eighth has none, as many have all three."""
    texts = []
    for number, row in enumerate(rows("cola", count, seed)):
        labels = [label for place, label in enumerate(LABELS) if number >> place & 1]
        words = "".join(5 * WORD_OF_LABEL[label] for label in labels)
        texts.append((words + row["sentence"], labels))
    return texts


def write_label_sets(path: Path, texts: list[tuple[str, list[str]]], form: str = "") -> Path:
    """Write texts and labels in the form that the suffix names; of CSV `text`, `list` or `columns`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        lines = [json.dumps({"review": text, "labels": labels}) + "\n" for text, labels in texts]
        path.write_text("".join(lines), encoding="utf-8")
    elif path.suffix == ".parquet":
        from datasets import ClassLabel, Dataset, Features, Sequence, Value

        names = [*reversed(LABELS), "unused"]  # another order than that of the alphabet
        features = Features({"review": Value("string"), "labels": Sequence(ClassLabel(names=names))})
        columns = {"review": [text for text, _ in texts], "labels": [labels for _, labels in texts]}
        Dataset.from_dict(columns, features=features).to_parquet(path)
    else:
        _write_csv(path, texts, form)
    return path


def _write_csv(path: Path, texts: list[tuple[str, list[str]]], form: str) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writerow(["review", *(LABELS if form == "columns" else ["labels"])])
        for text, labels in texts:
            cells: list[Any] = ["|".join(labels)]
            if form == "columns":
                cells = [int(label in labels) for label in LABELS]
            elif form == "list":
                cells = [labels]  # as pandas writes it: ['animal', 'the']
            writer.writerow([text, *cells])
