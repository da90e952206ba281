"""Several labels per row: every form gives the same rows, a tenth is held out by label, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gelora_cli.config.schema import DataConfig, TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.data.held_out import choose_held_out_groups
from gelora_cli.data.holdout import hold_out_rows
from gelora_cli.data.parquet import class_names
from gelora_cli.data.sources import complete_task, load_task_split, load_unlabelled_split
from gelora_cli.data.splits import TextSplit
from gelora_cli.data.user_data import load_user_text
from tests.helpers.label_sets import LABELS, labelled_texts, write_label_sets

TASK = TaskConfig(
    name="reviews", source="text", kind="multilabel", columns=["review"], label="labels", metric="multilabel_f1"
)
COLUMNS = replace(TASK, label="label", label_columns=LABELS)
TEXTS = labelled_texts(100)


def read(task: TaskConfig, path: Path, split: str = "train", **data: Any) -> TextSplit:
    config = DataConfig(text=str(path), **data)
    found = load_task_split(complete_task(task, config), config, split)
    assert isinstance(found, TextSplit)
    return found


def sets(split: TextSplit) -> list[list[int]]:
    assert split.labels is not None
    assert split.labels.dtype == np.float32
    found: list[list[int]] = split.labels.astype(int).tolist()
    return found


def written(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def json_rows(path: Path, cells: list[Any]) -> Path:
    rows = [{"review": f"text {row}", "labels": cell} for row, cell in enumerate(cells)]
    return written(path, [json.dumps(row) for row in rows])


@pytest.mark.parametrize(
    ("name", "form"), [("a.csv", "text"), ("a.tsv", "text"), ("a.csv", "list"), ("a.csv", "columns"), ("a.parquet", "")]
)
def test_every_form_gives_the_same_rows(tmp_path: Path, name: str, form: str) -> None:
    plain = write_label_sets(tmp_path / "plain.jsonl", TEXTS)
    path = write_label_sets(tmp_path / name, TEXTS, form)
    task = COLUMNS if form == "columns" else TASK
    if name == "a.parquet":  # whose file names its classes in another order
        assert complete_task(task, DataConfig(text=str(path))).labels == [*reversed(LABELS)]
        task = replace(task, labels=LABELS)
    for split in ("train", "validation"):
        found = read(task, path, split)
        assert found.fingerprint() == read(TASK, plain, split).fingerprint()
        expected = []
        for row in found.ids:
            expected.append([int(label in TEXTS[row][1]) for label in LABELS])
        assert sets(found) == expected


def test_a_data_set_in_the_layout_of_the_hub_keeps_its_order_of_classes(tmp_path: Path) -> None:
    unlabelled: list[tuple[str, list[str]]] = [(text, []) for text, _ in TEXTS]
    for split, texts in (("train", TEXTS), ("validation", TEXTS[:20]), ("test", unlabelled)):
        write_label_sets(tmp_path / "data" / f"{split}-00000-of-00001.parquet", texts)
    task = complete_task(TASK, DataConfig(text=str(tmp_path)))
    assert task.labels == [*reversed(LABELS)]  # "unused" is in no training row
    assert len(read(TASK, tmp_path)) == 100
    assert sets(read(TASK, tmp_path, "validation"))[7] == [1, 1, 1]
    assert read(TASK, tmp_path, "test").labels is None
    assert load_unlabelled_split(task, DataConfig(text=str(tmp_path)), "validation").labels is None


@pytest.mark.parametrize(
    "feature",
    [
        {"names": ["b", "a"], "_type": "ClassLabel"},
        {"feature": {"names": ["b", "a"], "_type": "ClassLabel"}, "_type": "Sequence", "length": -1},
        [{"names": ["b", "a"], "_type": "ClassLabel"}],
    ],
)
def test_class_names_of_each_form_of_the_hubs_metadata(feature: Any) -> None:
    metadata = {b"huggingface": json.dumps({"info": {"features": {"labels": feature}}}).encode()}
    assert class_names(metadata, "labels") == ["b", "a"]
    assert class_names(metadata, "label") == []


@pytest.mark.parametrize(
    ("cells", "settings", "labels"),
    [
        (["a; b", "b", "", "a;"], {}, [[1, 1], [0, 1], [0, 0], [1, 0]]),
        (["a,b", "b", "", "a"], {}, [[1, 1], [0, 1], [0, 0], [1, 0]]),
        (["a b", "b", " ", "a"], {"label_separator": "space"}, [[1, 1], [0, 1], [0, 0], [1, 0]]),
        (["x, y|b", "b", "", "x, y"], {"labels": ["x, y", "b"]}, [[1, 1], [0, 1], [0, 0], [1, 0]]),
        (["x, y|b", "b", "", "x, y"], {"label_separator": "pipe"}, [[1, 1], [1, 0], [0, 0], [0, 1]]),
        (["[1, 2]", "[2]", "[]", "[1.0]"], {}, [[1, 1], [0, 1], [0, 0], [1, 0]]),
        (["[\"a, x\", 'b']", "['b',]", "[]", "['a, x']"], {}, [[1, 1], [0, 1], [0, 0], [1, 0]]),
        (["NA|b", "b", "", "NA"], {"labels": ["NA", "b"]}, [[1, 1], [0, 1], [0, 0], [1, 0]]),
    ],
)
def test_texts_of_labels_are_split(
    tmp_path: Path, cells: list[str], settings: dict[str, Any], labels: list[list[int]]
) -> None:
    path = json_rows(tmp_path / "rows.jsonl", cells)
    validation = json_rows(tmp_path / "more.jsonl", cells)
    found = read(replace(TASK, **settings), path, text_validation=str(validation))
    assert sets(found) == labels


def test_numbers_and_names_may_be_mixed_in_a_list(tmp_path: Path) -> None:
    path = json_rows(tmp_path / "rows.jsonl", [[10, "9"], ["10.0", 10], [], [9]])
    task = complete_task(TASK, DataConfig(text=str(path)))
    assert task.labels == ["9", "10"]
    found = read(TASK, path, text_validation=str(path))
    assert sets(found) == [[1, 1], [0, 1], [0, 0], [1, 0]]
    assert "equal numbers are one label: 10.0 counted as" in found.note


REFUSED = [
    (
        [["a"], ["b"], None, ["a"]],
        "line 3: labels is missing, which doesn't say that the row has no label; give a list",
    ),
    ([["a"], ["b"], "a", ["a"]], "line 3: labels is 'a'; give a list, as other rows have, and [] for no label"),
    ([["a"], ["b"], ["a", None]], "line 3: no label in labels; fill it in"),
    ([["a"], ["b"], [""]], "line 3: no label in labels; fill it in"),
    ([["a"], ["b"], [["a"]]], "line 3: a label in labels must be a text or a number"),
    ([["a"], ["b"], ["A"], ["a"], [], []], "line 3: label 'A' (1 rows) differs from 'a' (2 rows) only in case"),
    ([["a"], ["b"], ["a", "nan"]], "line 3: no label in labels, but 'nan', which marks a missing value"),
    (["a|b", "b", "NA", "a"], "line 3: no label in labels, but 'NA', which marks a missing value"),
    (["a|b;c", "b", "a", "c", "a", "b"], "the texts in labels hold | and ;; say which one separates labels"),
    (["['a', 'b']", "[]", "['a' 'b']"], "line 3: labels is \"['a' 'b']\", which is no list: commas between"),
    ([f"text {row}, and more" for row in range(9)], "labels has 10 different labels in 9 rows, too many to learn"),
    ([["a", "b"]] * 5, "every row has labels ['a', 'b'], and a model learns nothing from one value"),
    ([["a"], []] * 5, "needs two or more different labels, but the labels are a"),
    ([[], []] * 5, "two or more different labels, but no row has any label. Name the column"),
    ([[1, 0, 1], [0, 1, 0]] * 3, "line 1: labels is [1, 0, 1], marks of labels without their names; list the names"),
    (["[1, 0]", "[0, 0]"] * 3, "line 2: labels is '[0, 0]', marks of labels without their names"),
    ([{"a": 1}, "a", "b"], "line 1: labels is {'a': 1}; give a list or a text of labels"),
]


@pytest.mark.parametrize(("cells", "message"), REFUSED)
def test_what_is_no_set_of_labels_is_refused_with_its_line(tmp_path: Path, cells: list[Any], message: str) -> None:
    path = json_rows(tmp_path / "rows.jsonl", cells)
    with pytest.raises(GeloraError) as error:
        read(TASK, path, text_validation=str(path))
    assert message in str(error.value)
    assert len(str(error.value)) < 450


@pytest.mark.parametrize("value", ["2", "0.5", "", "yes", "-1", "NaN"])
def test_a_column_of_one_label_holds_0_and_1(tmp_path: Path, value: str) -> None:
    lines = ["review,asked,glad,sad", "one,1,TRUE,0.0", f"two,0,{value},1", "three,false,1.0,true"]
    path = written(tmp_path / "rows.csv", lines)
    with pytest.raises(GeloraError, match=r"line 3: glad is .*, but 0 or 1"):
        read(COLUMNS, path, text_validation=str(path))
    lines[2] = "two,0,0,1"
    path = written(tmp_path / "rows.csv", lines)
    assert sets(read(COLUMNS, path, text_validation=str(path))) == [[1, 1, 0], [0, 0, 1], [0, 1, 1]]


def test_a_label_without_training_rows_is_named_and_an_unknown_one_refused(tmp_path: Path) -> None:
    path = json_rows(tmp_path / "rows.jsonl", [["a"], ["b"], [], ["a", "b"]])
    named = replace(TASK, labels=["a", "b", "c"])
    assert "no row has the label c, which can't be learnt" in read(named, path, text_validation=str(path)).note
    other = json_rows(tmp_path / "other.jsonl", [["a", "bb"]])
    with pytest.raises(GeloraError, match=r"other.jsonl, line 1: label bb is not among .* did you mean b\?"):
        read(TASK, path, "validation", text_validation=str(other))


def test_a_test_split_may_lack_its_labels(tmp_path: Path) -> None:
    write_label_sets(tmp_path / "train.csv", TEXTS, "columns")
    written(tmp_path / "test.csv", ["review,asked,glad,sad", "one,-1,-1,-1"])
    assert read(COLUMNS, tmp_path, "test").labels is None
    written(tmp_path / "test.csv", ["review", "one"])
    assert read(COLUMNS, tmp_path, "test").labels is None
    written(tmp_path / "test.csv", ["review,asked", "one,1"])
    with pytest.raises(GeloraError, match=r"no column glad, sad, but others of task\.label_columns"):
        read(COLUMNS, tmp_path, "test")


def test_rows_whose_labels_are_refused_can_be_profiled(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.csv", ["review,asked,glad,sad", "one,1,2,0", "two,0,1,1"])
    task, split = load_user_text(COLUMNS, DataConfig(text=str(path)))
    assert (len(split), split.labels, task.labels) == (2, None, [])
    assert "glad is '2'" in split.note


def many(tmp_path: Path, *, group: bool = False) -> Path:
    """Write 1,000 rows: label `common` in half of them, `some` in a fifth, `rare` in 20, always with `common`."""
    rows = []
    for row in range(1000):
        labels = ["common"] * (row % 2 == 0) + ["some"] * (row % 5 == 0) + ["rare"] * (row % 50 == 0)
        text = "the same text" if row in (50, 51, 52) else f"text {row}"
        rows.append({"review": text, "labels": labels} | ({"author": f"author {row // 8}"} if group else {}))
    return written(tmp_path / "many.jsonl", [json.dumps(row) for row in rows])


@pytest.mark.parametrize("group", [False, True])
def test_a_tenth_is_held_out_with_each_label_in_its_share(tmp_path: Path, group: bool) -> None:
    path = many(tmp_path, group=group)
    task = replace(TASK, group="author" if group else None)
    train, held = read(task, path), read(task, path, "validation")
    assert sorted([*train.ids, *held.ids]) == list(range(1000))
    assert held.fingerprint() == read(task, path, "validation").fingerprint()
    assert np.array(sets(held)).sum(0) == pytest.approx([50, 2, 20], abs=4)
    assert np.array(sets(held)).sum(0)[1] > 0
    assert len(held) == pytest.approx(100, abs=12)
    assert not train.distinct_texts() & held.distinct_texts()
    assert "each label" in held.note
    if group:
        assert train.group_names is not None and held.group_names is not None
        assert not {*train.group_names} & {*held.group_names}


def test_every_label_keeps_a_row_to_train_on(tmp_path: Path) -> None:
    cells: list[list[str]] = [["a"] if row % 2 else [] for row in range(40)]
    cells[17] = ["a", "rare"]
    found = read(TASK, json_rows(tmp_path / "rows.jsonl", cells))
    assert 17 in found.ids
    labels = np.array([[1, 0], [1, 1], [1, 0], [0, 0]], np.float32)
    groups = np.arange(4)
    assert not choose_held_out_groups(labels, groups, seed=0)[1]


def test_rows_are_held_out_for_a_search(tmp_path: Path) -> None:
    train = read(TASK, many(tmp_path))
    rest, scored = hold_out_rows(train, 0.2)
    assert (len(rest) + len(scored), scored.labels is not None) == (900, True)
    only_scored = np.isin(train.ids, scored.ids)[:, None].astype(np.float32) * np.ones((1, 2), np.float32)
    with pytest.raises(GeloraError, match="all rows that are left to train on have one label"):
        hold_out_rows(replace(train, labels=only_scored), 0.2)


def test_one_column_of_0_and_1_is_not_read_as_names_of_labels(tmp_path: Path) -> None:
    lines = ["review,labels", *(f"text {row},{row % 3 // 2}" for row in range(30))]
    path = written(tmp_path / "rows.csv", lines)
    with pytest.raises(GeloraError, match=r"labels holds nothing but 0, 1.* give task.label_columns=\[labels\]"):
        read(TASK, path)
    assert read(replace(TASK, labels=["0", "1"]), path).labels is not None
    assert read(TASK, json_rows(tmp_path / "rows.jsonl", [["0"], ["1"]] * 15)).labels is not None
