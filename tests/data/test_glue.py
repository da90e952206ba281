"""Rows of every GLUE task, and what is wrong with others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.data.glue import load_split
from tests.helpers.rows import TASKS, rows, write_split

COLA = TaskConfig(name="cola", columns=["sentence"], labels=["unacceptable", "acceptable"])


@pytest.mark.parametrize("name", TASKS)
def test_rows_come_back_as_they_were_written(glue_dir: Path, name: str) -> None:
    columns, labels = TASKS[name]
    kind = "classification" if labels else "regression"
    splits = ["test_matched"] if name == "mnli" else ["test"]
    task = TaskConfig(name=name, columns=list(columns), labels=list(labels), kind=kind, test_splits=splits)
    train = load_split(glue_dir, task, "train")
    written = rows(name, 90, seed=1)
    assert [list(column) for column in train.columns] == [[row[column] for row in written] for column in columns]
    assert train.labels is not None
    assert train.labels.tolist() == [row["label"] for row in written]
    assert load_split(glue_dir, task, splits[0]).labels is None


def test_labels_are_matched_by_name_not_by_position(tmp_path: Path) -> None:
    values = [row | {"label": 0} for row in rows("cola", 5, seed=1)]
    write_split(tmp_path, "cola", "train", values, labels=("acceptable", "unacceptable"))
    labels = load_split(tmp_path, COLA, "train").labels
    assert labels is not None
    assert labels.tolist() == [1] * 5


def test_the_fingerprint_is_of_the_rows_alone(tmp_path: Path) -> None:
    values = rows("cola", 30, seed=1)
    for folder in ("a", "b"):
        write_split(tmp_path / folder, "cola", "train", values)
    first, second = (load_split(tmp_path / folder, COLA, "train") for folder in ("a", "b"))
    assert first.fingerprint() == second.fingerprint()
    changed = [*values[:-1], values[-1] | {"sentence": "the cat"}]
    write_split(tmp_path / "b", "cola", "train", changed)
    assert load_split(tmp_path / "b", COLA, "train").fingerprint() != first.fingerprint()


def refusal(directory: Path, split: str = "train", **changes: Any) -> str:
    with pytest.raises(GeloraError) as caught:
        load_split(directory, replace(COLA, **changes), split)
    return str(caught.value)


def test_wrong_directories_are_named(tmp_path: Path, glue_dir: Path) -> None:
    assert "no such directory" in refusal(tmp_path / "none")
    assert "it holds none" in refusal(tmp_path)
    assert "no task snli: it holds cola" in refusal(glue_dir, name="snli")
    assert "no split dev; it holds test, train" in refusal(glue_dir, "dev")


def test_wrong_rows_are_named(tmp_path: Path, glue_dir: Path) -> None:
    assert "no column text; it has sentence" in refusal(glue_dir, columns=["text"])
    values = rows("cola", 9, seed=1)
    write_split(tmp_path, "cola", "train", [*values[:4], values[4] | {"sentence": "  "}, *values[5:]])
    assert "1 empty texts, the first in row 4" in refusal(tmp_path)
    write_split(tmp_path, "cola", "train", [])
    assert "split train is empty" in refusal(tmp_path)
    names = ("unacceptable", "acceptable", "odd")
    write_split(tmp_path, "cola", "train", [values[0] | {"label": 2}], labels=names)
    assert "row 0: label 'odd' is not among the task's names unacceptable, acceptable" in refusal(tmp_path)
    (tmp_path / "cola" / "train-00000-of-00001.parquet").write_bytes(b"PAR1 no")
    assert "can't be read as parquet" in refusal(tmp_path)


def test_empty_texts_can_be_kept(tmp_path: Path) -> None:
    write_split(tmp_path, "cola", "train", [rows("cola", 1, seed=1)[0] | {"sentence": ""}])
    assert len(load_split(tmp_path, replace(COLA, empty_text="keep"), "train")) == 1


def test_real_cola(real_glue: Path) -> None:
    train, validation = (load_split(real_glue, COLA, split) for split in ("train", "validation"))
    assert (len(train), len(validation)) == (8_551, 1_043)
    assert train.labels is not None and validation.labels is not None
    assert (int(train.labels.sum()), int(validation.labels.sum())) == (6_023, 719)  # counted in the files
