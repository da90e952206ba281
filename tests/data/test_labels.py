"""Labels as people write them: numbers in two spellings, marks of missing values, variants of one word."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.config.schema import DataConfig, TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.data.splits import TextSplit
from gelora_cli.data.user_data import complete_user_task, load_user_split

TASK = TaskConfig(name="films", source="text", columns=["plot"], label="verdict", metric="accuracy")


def read(path: Path, values: list[Any], **task: Any) -> tuple[list[str], TextSplit]:
    """Return the label names of 60 rows of JSON lines that have these labels in turn, and the rows."""
    rows = [{"plot": f"plot {i}", "verdict": values[i % len(values)]} for i in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = DataConfig(text=str(path), text_validation=str(path))
    completed = complete_user_task(replace(TASK, **task), data)
    return completed.labels, load_user_split(completed, data, "train")


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["1", "1.0", "0"], ["0", "1"]),
        ([1, 1.0, 0, "0"], ["0", "1"]),
        (["+1", "1", "-1"], ["-1", "1"]),
        (["10", "9", "9.00"], ["9", "10"]),
        (["1.0", "0.0"], ["0.0", "1.0"]),
        (["1" * 150, "2"], ["2", "1" * 150]),
        (["1", "1.0", "one"], ["1", "one"]),
    ],
)
def test_equal_numbers_are_one_label(tmp_path: Path, values: list[Any], names: list[str]) -> None:
    found, split = read(tmp_path / "a.jsonl", values)
    assert found == names
    assert split.labels is not None
    expected = [float(value) if value != "one" else None for value in values]
    number = [float(name) if name != "one" else None for name in names]
    assert split.labels.tolist()[: len(values)] == [number.index(value) for value in expected]
    several = len({str(value) for value in values}) > len(names)
    assert ("equal numbers are one label" in split.note) is several


def test_a_given_name_stands_for_its_number(tmp_path: Path) -> None:
    found, split = read(tmp_path / "a.jsonl", [1.0, 0.0], labels=["0", "1"])
    assert split.labels is not None
    assert (found, split.labels.tolist()[:2]) == (["0", "1"], [1, 0])
    found, _ = read(tmp_path / "a.jsonl", ["1", "1.0"], labels=["1", "1.0"])
    assert found == ["1", "1.0"]  # the user says that they are two


@pytest.mark.parametrize("mark", ["nan", "NaN", "N/A", "NULL", "None", "<NA>", "#N/A", " na "])
def test_marks_of_missing_values_are_no_labels(tmp_path: Path, mark: str) -> None:
    with pytest.raises(GeloraError, match=r"line 3: no label in verdict.* 20 .*task.labels"):
        read(tmp_path / "a.jsonl", ["good", "bad", mark])
    found, _ = read(tmp_path / "a.jsonl", ["good", "bad", mark], labels=["bad", "good", mark.strip()])
    assert len(found) == 3


@pytest.mark.parametrize(
    "variants",
    [("good", "Good"), ("good", "GOOD"), ("caf\u00e9", "cafe\u0301"), ("good", "good\u200b"), ("so so", "so  so")],
)
def test_variants_of_one_word_are_refused_with_a_line(tmp_path: Path, variants: tuple[str, str]) -> None:
    common, rare = variants
    values = ["bad", common, common, rare]
    with pytest.raises(GeloraError, match=r"line 4: label .*\(15 rows\).*\(30 rows\)"):
        read(tmp_path / "a.jsonl", values)
    found, _ = read(tmp_path / "a.jsonl", values, labels=["bad", common, rare])
    assert found == ["bad", common, rare]


@pytest.mark.parametrize("value", ["\ud800", ["a"], {"a": 1}, 10**400, "x" * 300])
def test_what_is_no_label_is_named_with_its_line(tmp_path: Path, value: Any) -> None:
    with pytest.raises(GeloraError, match=r"a\.jsonl, line 2: .*label in verdict") as caught:
        read(tmp_path / "a.jsonl", ["good", value])
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


def test_labels_are_shown_with_their_counts(tmp_path: Path) -> None:
    found, split = read(tmp_path / "a.jsonl", ["good", "bad", "bad"])
    assert split.label_counts(found) == "labels bad 40, good 20"
    found, split = read(tmp_path / "a.jsonl", ["a\x1b[31m", "b"])
    assert split.label_counts(found) == r"labels 'a\x1b[31m' 30, b 30"
    many = [f"label {i}" for i in range(1000)]
    assert len(split.label_counts(many)) < 300
    # A long name is cut and quoted once, its count stays outside.
    assert split.label_counts(["x" * 100, "b"]).endswith("xx' 30, b 30")


@pytest.mark.parametrize("values", [[True, 1, False, 0], ["TRUE", "FALSE", "1"], [True, 1.0]])
def test_truths_beside_numbers_are_refused_with_a_line(tmp_path: Path, values: list[Any]) -> None:
    with pytest.raises(GeloraError, match=r"a.jsonl, line \d: label .*task.labels="):
        read(tmp_path / "a.jsonl", values)
    names = list(dict.fromkeys(str(value) for value in values))
    assert read(tmp_path / "a.jsonl", values, labels=names)[0] == names  # the user says that they are different


def test_truths_alone_are_labels(tmp_path: Path) -> None:
    assert read(tmp_path / "a.jsonl", [True, False])[0] == ["False", "True"]
    assert read(tmp_path / "a.jsonl", ["true", "2"])[0] == ["2", "true"]
