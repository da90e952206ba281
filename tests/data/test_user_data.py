"""Your own data: every format gives the same rows, a fixed tenth is held out, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gelora_cli.config.schema import DataConfig, TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.data.files import read_questions, read_rows
from gelora_cli.data.sources import complete_task, load_task_split, load_unlabelled_split
from gelora_cli.data.splits import TextSplit
from gelora_cli.data.user_data import find_user_files, load_user_split, load_user_text

TASK = TaskConfig(name="reviews", source="text", columns=["review"], label="mood", metric="accuracy")
MOODS = ("sad", "glad", "so so")
ROWS = [{"id": str(i), "review": f'"Well", number {i},\nor\tso', "mood": MOODS[i % 7 % 3]} for i in range(100)]
LINES = [f"line {i}" for i in range(50)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        from datasets import Dataset

        Dataset.from_list(rows).to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(task: TaskConfig, data: DataConfig, split: str = "train") -> TextSplit:
    found = load_task_split(complete_task(task, data), data, split)
    assert isinstance(found, TextSplit)
    return found


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "ndjson", "parquet", "CSV"])
def test_every_format_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    plain = DataConfig(text=str(write(tmp_path / "plain.csv", ROWS)))
    data = DataConfig(text=str(write(tmp_path / f"rows.{suffix}".lower(), ROWS).rename(tmp_path / f"rows.{suffix}")))
    for split in ("train", "validation"):
        assert read(TASK, data, split).fingerprint() == read(TASK, plain, split).fingerprint()
    whole = {int(n): text for part in ("train", "validation") for n, text in rows_of(read(TASK, data, part))}
    assert [whole[i] for i in range(100)] == [row["review"] for row in ROWS]
    assert complete_task(TASK, data).labels == sorted(MOODS)


def rows_of(split: TextSplit) -> list[tuple[int, str]]:
    return list(zip(split.ids.tolist(), split.columns[0], strict=True))


def test_a_tenth_is_held_out_by_label_and_always_the_same(tmp_path: Path) -> None:
    rows = [{"review": f"text {i}", "mood": "rare" if i % 97 == 3 else MOODS[i % 2]} for i in range(1000)]
    data = DataConfig(text=str(write(tmp_path / "rows.csv", rows)))
    train, validation = (read(TASK, data, split) for split in ("train", "validation"))
    assert sorted([*train.ids, *validation.ids]) == list(range(1000))
    assert not set(train.ids) & set(validation.ids)
    assert train.labels is not None and validation.labels is not None
    kept, held = Counter(train.labels.tolist()), Counter(validation.labels.tolist())
    for label in range(3):
        assert abs(held[label] - (kept[label] + held[label]) / 10) <= 1.5
    assert "100 of 1000 rows held" in validation.note
    assert validation.fingerprint() == read(TASK, data, "validation").fingerprint()
    assert list(load_unlabelled_split(complete_task(TASK, data), data, "validation").ids) == list(validation.ids)


def test_the_only_row_of_a_label_stays_in_training(tmp_path: Path) -> None:
    for count in (12, 25, 60):
        rows = [{"review": f"text {i}", "mood": "ab"[i % 2] if i > 3 else f"only {i}"} for i in range(count)]
        data = DataConfig(text=str(write(tmp_path / "rows.csv", rows)))
        labels = read(TASK, data).labels
        assert labels is not None
        assert set(labels.tolist()) == set(range(6))


def test_scores_are_held_out_over_their_range(tmp_path: Path) -> None:
    rows = [{"review": f"text {i}", "mood": i / 7} for i in range(300)]
    task = replace(TASK, kind="regression", metric="pearson_spearman")
    data = DataConfig(text=str(write(tmp_path / "rows.csv", rows)))
    train, validation = (read(task, data, split) for split in ("train", "validation"))
    assert train.labels is not None and validation.labels is not None
    assert train.labels.dtype == np.float32
    assert len(validation) == 30
    assert np.mean(validation.labels) == pytest.approx(np.mean(train.labels), rel=0.05)
    assert dict(zip(train.ids.tolist(), train.labels.tolist(), strict=True))[70] == pytest.approx(10)


def test_validation_rows_of_the_users_own(tmp_path: Path) -> None:
    data = DataConfig(
        text=str(write(tmp_path / "a.csv", ROWS)), text_validation=str(write(tmp_path / "b.csv", ROWS[:7]))
    )
    assert (len(read(TASK, data)), len(read(TASK, data, "validation"))) == (100, 7)
    assert read(TASK, data, "validation").note == ""
    write(tmp_path / "b.csv", [ROWS[0] | {"mood": "new"}])
    with pytest.raises(GeloraError, match=r"b\.csv, line 2: label new .*glad, sad, so so"):
        read(TASK, data, "validation")
    named = replace(TASK, labels=["new", *MOODS])
    labels = read(named, data, "validation").labels
    assert labels is not None
    assert labels.tolist() == [0]


@pytest.mark.parametrize("names", [("train.csv", "validation.CSV"), ("train.CSV", "validation.csv")])
def test_suffixes_in_capitals_count_in_a_directory(tmp_path: Path, names: tuple[str, str]) -> None:
    for name, rows in zip(names, (ROWS, ROWS[:7]), strict=True):
        write(tmp_path / name.lower(), rows).rename(tmp_path / name)
    data = DataConfig(text=str(tmp_path))
    assert (len(read(TASK, data)), len(read(TASK, data, "validation"))) == (100, 7)


@pytest.mark.parametrize("folder", [None, "data", "mine"])
def test_a_directory_in_the_hubs_layout(tmp_path: Path, folder: str | None) -> None:
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"review": Value("string"), "mood": ClassLabel(names=["sad", "glad"])})
    parts = {"train-00000-of-00002": [1, 1], "train-00001-of-00002": [0], "test-00000-of-00001": [-1]}
    place = tmp_path / (folder or "")
    for name, labels in parts.items():
        rows = {"review": [f"{name} {i}" for i in range(len(labels))], "mood": labels}
        place.mkdir(exist_ok=True)
        Dataset.from_dict(rows, features=features).to_parquet(place / f"{name}.parquet")
    write(place / "validation.jsonl", [{"review": "so", "mood": "glad"}])
    task, data = replace(TASK, folder="mine" if folder == "mine" else None), DataConfig(text=str(tmp_path))
    train, validation = read(task, data), read(task, data, "validation")
    assert [text.split()[0] for text in train.columns[0]] == ["train-00000-of-00002"] * 2 + ["train-00001-of-00002"]
    assert train.labels is not None and validation.labels is not None
    assert (train.labels.tolist(), validation.labels.tolist()) == ([1, 1, 0], [1])  # in the file's order, by name
    assert len(load_unlabelled_split(complete_task(task, data), data, "test")) == 1
    assert len(find_user_files(task, data)["text"][1]) == 4


def test_numbers_as_labels_keep_their_order(tmp_path: Path) -> None:
    rows = [{"review": f"text {i}", "mood": (10, 9, -1)[i % 3]} for i in range(30)]
    for name in ("rows.csv", "rows.jsonl", "rows.parquet"):
        assert complete_task(TASK, DataConfig(text=str(write(tmp_path / name, rows)))).labels == ["-1", "9", "10"]


def test_text_without_labels_can_be_looked_at(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_bytes("\ufeff".encode() + "\r\n".join(LINES).encode())
    task, data = replace(TASK, columns=["text"]), DataConfig(text=str(tmp_path / "lines.txt"))
    _, found = load_user_text(task, data)
    assert (found.columns, found.labels) == ((LINES,), None)
    with pytest.raises(GeloraError, match="no column mood; a text file"):
        read(task, data)
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("one\tother\nthis\tthat\n")
    _, two = load_user_text(replace(task, columns=["a", "b"]), DataConfig(text=str(pairs)))
    assert two.columns == (["one", "this"], ["other", "that"])


@pytest.mark.parametrize("wrong", ["one label", "no label", "no number", "too few", None])
def test_labels_that_a_run_would_refuse_are_left_out_of_a_profile(tmp_path: Path, wrong: str | None) -> None:
    content, changes = WRONG[wrong][1:3] if wrong else (GOOD, {})
    assert isinstance(content, str)
    (tmp_path / "rows.csv").write_text(content)
    task, data = replace(TASK, **changes), DataConfig(text=str(tmp_path / "rows.csv"))
    completed, found = load_user_text(task, data)
    if wrong:
        assert (len(found), found.labels, completed) == (content.count("\n") - 1, None, task)
        assert found.note.startswith("all rows, their labels left out: ")
        assert len(found.note) > 60
    else:
        assert found.fingerprint() == read(TASK, data).fingerprint()
        assert (len(found), completed.labels) == (27, ["a", "b"])
    with pytest.raises(GeloraError, match="no column revew"):
        load_user_text(replace(task, columns=["revew"]), data)


def test_copies_stay_on_one_side(tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(200)] + [f"text {i}" for i in range(0, 200, 3)] * 3
    rows = [{"review": text, "mood": MOODS[i % 2] if i < 590 else f"rare {i}"} for i, text in enumerate(texts)]
    data = DataConfig(text=str(write(tmp_path / "rows.csv", rows[:401])))
    train, validation = (read(TASK, data, split) for split in ("train", "validation"))
    held = set(validation.columns[0])
    assert not held & set(train.columns[0])
    assert len(held) == 20
    assert len(train) + len(validation) == 401
    assert len(validation) > 20
    assert "201 copies of others" in validation.note
    rows = [{"review": "same" if i else "other", "mood": MOODS[i % 2]} for i in range(30)]
    data = DataConfig(text=str(write(tmp_path / "same.csv", rows)))
    with pytest.raises(GeloraError, match=r"30 rows, 28 .*copies"):
        read(TASK, data)


def test_a_label_that_only_copies_have_stays_in_training(tmp_path: Path) -> None:
    rows = [{"review": f"text {i % 50}", "mood": "ab"[i % 2] if i < 50 else f"only {i}"} for i in range(60)]
    found = read(TASK, DataConfig(text=str(write(tmp_path / "rows.csv", rows)))).labels
    assert found is not None
    assert len(set(found.tolist())) == 12


def test_labels_of_digits_and_dashes_and_long_fields(tmp_path: Path) -> None:
    rows = [{"review": f"text {i} " + "x" * 200_000, "mood": ("--1", "2")[i % 2]} for i in range(30)]
    before = csv.field_size_limit()
    data = DataConfig(text=str(write(tmp_path / "rows.csv", rows)))
    assert complete_task(TASK, data).labels == ["--1", "2"]
    assert len(read(TASK, data).columns[0][0]) > 200_000
    assert csv.field_size_limit() == before


def test_standard_input_is_read_as_files_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def given(content: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))

    given(b"one\r\ntw\xc3\xb6\n")
    assert read_rows(TASK, "-").columns == (["one", "tw\u00f6"],)
    for read_input in (lambda: read_rows(TASK, "-"), lambda: read_questions("-")):
        given(b"one\ntw\xf6\n")
        with pytest.raises(GeloraError, match="standard input, line 2: not UTF-8"):
            read_input()
    given(b"")
    with pytest.raises(GeloraError, match=r"standard input: no rows.*file=FILE or split=NAME"):
        read_rows(TASK, "-")


GOOD = "review,mood\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(30))
Change = Callable[[Path], object]
WRONG: dict[str, tuple[str, str | bytes, dict[str, Any], str]] = {
    "no file": ("rows.csv", "", {"text": "/no/rows.csv"}, "data.text=/no/rows.csv: no such file"),
    "no data": ("rows.csv", "", {"text": None}, "task=reviews needs data: give data.text=FILE"),
    "no validation file": (
        "rows.csv",
        GOOD,
        {"text_validation": "/no/v.csv"},
        "validation=/no/v.csv: no such",
    ),
    "unknown suffix": ("rows.xlsx", GOOD, {}, r"accepted by suffix: \.csv, \.tsv"),
    "empty": ("rows.csv", "", {}, r"rows\.csv: no rows"),
    "a header alone": ("rows.csv", "review,mood\n", {}, "no rows"),
    "empty jsonl": ("rows.jsonl", "\n\n", {}, "no rows"),
    "text column": ("rows.csv", GOOD.replace("review", "reviews"), {}, "no column review; .*reviews"),
    "label column": ("rows.csv", GOOD.replace("mood", "moods"), {}, "no column mood; .*moods.*task.label"),
    "not UTF-8": ("rows.csv", GOOD.encode() + b"caf\xe9,a\n", {}, "line 32: not UTF-8 text"),
    "a field too many": (
        "rows.csv",
        GOOD + "one, two,a\n",
        {},
        'line 32: 3 fields.* 2 .*"quotes"',
    ),
    "an open quote": ("rows.csv", GOOD + '"one,a\n', {}, "line 32: unexpected end of data"),
    "a column twice": ("rows.csv", "review,mood,mood\nx,a,b\n", {}, "two columns are named mood"),
    "an empty text": (
        "rows.csv",
        GOOD + " ,a\n",
        {},
        "line 32: an empty text; .*task.empty_text=keep",
    ),
    "no label": ("rows.csv", GOOD + "text,\n", {}, "line 32: no label in mood"),
    "one label": ("rows.csv", GOOD.replace(",b", ",a"), {}, "the labels are a\\."),
    "one label of two": ("rows.csv", GOOD.replace(",b", ",a"), {"labels": ["a", "b"]}, "every row has mood a"),
    "scores as labels": (
        "rows.csv",
        "review,mood\n" + "".join(f"text {i},{i / 7}\n" for i in range(30)),
        {},
        "30 different values.*task.kind=regression",
    ),
    "F1 of three": ("rows.csv", GOOD + "x,c\n" * 9, {"metric": "accuracy_f1"}, "two different labels.*a, b, c"),
    "a label twice": ("rows.csv", GOOD, {"labels": ["a", "b", "a"]}, "different labels"),
    "other labels": ("rows.csv", GOOD, {"labels": ["a", "c"]}, "line 3: label b .*a, c"),
    "no number": (
        "rows.csv",
        GOOD,
        {"kind": "regression"},
        "line 2: mood is 'a'.*finite number",
    ),
    "NaN": (
        "rows.csv",
        "review,mood\nx,1\ny,nan\n",
        {"kind": "regression"},
        "line 3: mood is 'nan'.*finite number",
    ),
    "infinite": (
        "rows.jsonl",
        '{"review": "x", "mood": 1e300}\n',
        {"kind": "regression"},
        "line 1: mood is .*finite number",
    ),
    "one score": ("rows.csv", "review,mood\nx,1\ny,1\n", {"kind": "regression"}, "every row has mood 1"),
    "too few": ("rows.csv", "review,mood\nx,a\ny,b\nz,a\nq,b\n", {}, "4 rows are too few"),
    "not JSON": ("rows.jsonl", '{"review": "x", "mood": 1}\n\n{"review": \n', {}, "line 3: not JSON"),
    "no object": ("rows.jsonl", "[1, 2]\n", {}, r"line 1: \[1, 2\] .*object"),
    "no string": (
        "rows.jsonl",
        '{"review": 5, "mood": 1}\n{"review": "x", "mood": 2}\n',
        {},
        "line 1: review .*text.*, not 5",
    ),
    "half a character": (
        "rows.jsonl",
        '{"review": "\\ud800", "mood": 1}\n{"review": "x", "mood": 2}\n',
        {},
        "line 1: review .*valid Unicode",
    ),
    "a null label": ("rows.jsonl", '{"review": "x", "mood": null}\n', {}, "line 1: no label in mood"),
    "no parquet": ("rows.parquet", GOOD, {}, "can't be read as parquet"),
    "two files": ("train.csv", GOOD, {"text": ".."}, r"train\.csv, train\.jsonl.*split train"),
    "no such split": ("rows.csv", GOOD, {"split": "test"}, "has no split test"),
    "a directory of others": ("x/rows.csv", GOOD, {"text": "../x"}, "has no split train"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, name: str) -> None:
    file, content, changes, message = WRONG[name]
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    (tmp_path / "train.jsonl").touch()
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    split, places = changes.get("split", "train"), dict[str, Any](text=str(path))
    places |= {key: changes[key] for key in ("text", "text_validation") if key in changes}
    if str(places["text"]).startswith(".."):
        places["text"] = str(tmp_path) + places["text"][2:]
    data = DataConfig(**places)
    task = replace(TASK, **{key: changes[key] for key in ("labels", "kind", "metric") if key in changes})
    with pytest.raises(GeloraError, match=f"(?s){message}"):
        for wanted in (split, "validation"):
            read(task, data, wanted)


def test_predict_reads_the_same_files_without_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.parquet", [{"review": "one"}, {"review": "two"}])
    found = read_rows(TASK, str(path))
    assert (found.columns, found.labels, found.ids.tolist()) == ((["one", "two"],), None, [0, 1])
    (tmp_path / "lines.txt").write_text("one\n\nthree\n")
    with pytest.raises(GeloraError, match="line 2: an empty text"):
        read_rows(TASK, str(tmp_path / "lines.txt"))


GROUPED = [{"review": f"text {i}", "mood": MOODS[i % 2], "paper": f"paper {i // 20}"} for i in range(400)]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_group_stays_on_one_side(tmp_path: Path, suffix: str) -> None:
    data = DataConfig(text=str(write(tmp_path / f"rows.{suffix}", GROUPED)))
    task = replace(TASK, group="paper")
    train, validation = (read(task, data, split) for split in ("train", "validation"))
    assert sorted([*train.ids, *validation.ids]) == list(range(400))
    for split in (train, validation):
        assert split.group_names == [f"paper {number // 20}" for number in split.ids]
        assert split.groups().tolist() == np.unique(split.ids // 20, return_inverse=True)[1].tolist()
    assert len(validation) == 40
    assert not set(validation.group_names or ()) & set(train.group_names or ())
    assert validation.note.startswith("40 of 400 rows (2 of 20 groups of paper)")
    ungrouped = read(TASK, data, "validation")
    assert ungrouped.group_names is None and set(ungrouped.ids) != set(validation.ids)


def test_groups_with_equal_texts_are_held_out_together(tmp_path: Path) -> None:
    rows = [row | {"review": "the same"} if row["paper"] in ("paper 1", "paper 2") else row for row in GROUPED]
    data = DataConfig(text=str(write(tmp_path / "rows.csv", rows)))
    train, validation = (read(replace(TASK, group="paper"), data, split) for split in ("train", "validation"))
    sides = [{"paper 1", "paper 2"} & set(split.group_names or ()) for split in (train, validation)]
    assert sorted(map(len, sides)) == [0, 2]
    assert " join to 19)" in validation.note


def test_a_text_column_can_be_the_group(tmp_path: Path) -> None:
    rows = [{"one": f"premise {i // 3}", "other": f"text {i}", "mood": MOODS[i % 2]} for i in range(90)]
    data = DataConfig(text=str(write(tmp_path / "rows.csv", rows)))
    task = replace(TASK, columns=["one", "other"], group="one")
    train, validation = (read(task, data, split) for split in ("train", "validation"))
    assert not set(train.columns[0]) & set(validation.columns[0])
    assert len(validation) == 9


@pytest.mark.parametrize("bad", ["", None, " ", ["a"], float("nan")])
def test_a_row_without_a_group_is_refused(tmp_path: Path, bad: Any) -> None:
    rows = [*GROUPED[:30], GROUPED[30] | {"paper": bad}]
    data = DataConfig(text=str(write(tmp_path / "rows.jsonl", rows)))
    with pytest.raises(GeloraError, match=r"rows\.jsonl, line 31: no group in paper"):
        read(replace(TASK, group="paper"), data)


def test_too_few_groups_and_no_such_column(tmp_path: Path) -> None:
    data = DataConfig(text=str(write(tmp_path / "rows.csv", [row | {"paper": "one"} for row in GROUPED])))
    with pytest.raises(GeloraError, match=r"400 rows \(1 group\) are too few.*data.text_val"):
        read(replace(TASK, group="paper"), data)
    with pytest.raises(GeloraError, match=r"no column papr; .*paper.*task.group=COLUMN"):
        read(replace(TASK, group="papr"), data)


def test_given_validation_rows_keep_their_groups(tmp_path: Path) -> None:
    data = DataConfig(
        text=str(write(tmp_path / "a.csv", GROUPED)), text_validation=str(write(tmp_path / "b.csv", GROUPED[:40]))
    )
    validation = read(replace(TASK, group="paper"), data, "validation")
    assert validation.group_names == ["paper 0"] * 20 + ["paper 1"] * 20


def test_scores_that_float32_can_not_tell_apart_are_named(tmp_path: Path) -> None:
    scores = replace(TASK, kind="regression", metric="pearson_spearman_mean")
    path = write(tmp_path / "a.jsonl", [row | {"mood": 1.7e9 + i} for i, row in enumerate(ROWS)])
    told = "100 different values of mood are 2 in float32.*subtract their mean"
    assert re.search(told, load_user_split(scores, DataConfig(text=str(path), text_validation=str(path)), "train").note)
    path = write(tmp_path / "b.jsonl", [row | {"mood": 1.7e9 + i / 100} for i, row in enumerate(ROWS)])
    with pytest.raises(GeloraError, match=r"has mood 1700000000.0.*100 different values"):
        read(scores, DataConfig(text=str(path)))


def test_what_is_neither_file_nor_directory_is_named(tmp_path: Path) -> None:
    pipe = tmp_path / "a.csv"
    os.mkfifo(pipe)
    with pytest.raises(GeloraError, match="neither a file nor a directory"):
        read(TASK, DataConfig(text=str(pipe)))


def test_rows_that_are_trained_on_too_are_counted() -> None:
    train = TextSplit("train", np.arange(3), (["a", "b", "b"], ["x", "y", "z"]), None)
    other = TextSplit("validation", np.arange(3), (["b", "b", "a"], ["x", "y", "x"]), None)
    assert (other.count_rows_in(train), train.count_rows_in(other), len(train.distinct_texts())) == (2, 2, 3)
