"""Odd values in files of data: only the columns that are used are read, and what can't be read is one message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gelora_cli.config.schema import DataConfig, TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.data.glue import load_split
from gelora_cli.data.splits import TextSplit
from gelora_cli.data.squad import read_squad_json, single_question
from gelora_cli.data.user_data import complete_user_task, load_user_split

COUNT = 24
TEXTS = [f"plot {i}" for i in range(COUNT)]
LABELS = [i % 2 for i in range(COUNT)]
OWN = TaskConfig(name="films", source="text", columns=["sentence"], metric="accuracy")
SCORES = TaskConfig(name="films", source="text", columns=["sentence"], kind="regression", metric="pearson_spearman")
GLUE = TaskConfig(name="cola", columns=["sentence"], labels=["0", "1"], metric="accuracy")
NINES = "9" * 5000


def broken_texts(count: int = COUNT) -> pa.Array:
    """Return texts of one byte each, the last of them no UTF-8."""
    offsets = pa.array(range(count + 1), pa.int32()).buffers()[1]
    return pa.Array.from_buffers(pa.string(), count, [None, offsets, pa.py_buffer(b"a" * (count - 1) + b"\xff")])


def late_dates() -> pa.Array:
    """Return moments far beyond year 9999."""
    return pa.array([2**62] * COUNT, pa.timestamp("us"))


def same_names() -> pa.Array:
    """Return structs with a field's name twice."""
    return pa.StructArray.from_arrays([pa.array(TEXTS), pa.array(TEXTS)], names=["a", "a"])


ODD = {"broken texts": broken_texts, "late dates": late_dates, "structs with a name twice": same_names}


def read_both(directory: Path, table: pa.Table) -> list[TextSplit]:
    """Return the rows of a table as your own data and as GLUE's."""
    place = directory / "cola" / "train-00000-of-00001.parquet"
    place.parent.mkdir(exist_ok=True, parents=True)
    pq.write_table(table, place)
    data = DataConfig(text=str(place), text_validation=str(place))
    return [load_user_split(complete_user_task(OWN, data), data, "train"), load_split(directory, GLUE, "train")]


def labels_of(split: TextSplit) -> list[Any]:
    assert split.labels is not None
    return list(split.labels.tolist())


@pytest.mark.parametrize("name", ODD)
def test_unused_columns_of_parquet_are_not_read(tmp_path: Path, name: str) -> None:
    odd = ODD[name]()
    columns = {"sentence": TEXTS, "label": LABELS}
    tables = [pa.table(columns | {"more": odd}), pa.table({"idx_": odd} | columns)]
    twice = [pa.array(TEXTS), pa.array(LABELS), odd, odd]
    tables.append(pa.Table.from_arrays(twice, names=["sentence", "label", "more", "more"]))
    for table in tables:
        for split in read_both(tmp_path, table):
            assert (split.columns[0], labels_of(split)) == (TEXTS, LABELS)


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("column", ["sentence", "label"])
def test_a_used_value_that_cant_be_read_is_named_by_row_and_column(tmp_path: Path, name: str, column: str) -> None:
    table = pa.table({"sentence": TEXTS, "label": LABELS} | {column: ODD[name]()})
    row = COUNT if name == "broken texts" else 1
    for task in (OWN, GLUE):
        with pytest.raises(GeloraError, match=f"row {row}: column {column} ") as caught:
            _read_one(tmp_path, table, task)
        assert len(str(caught.value)) < 400 + len(str(tmp_path))


def _read_one(directory: Path, table: pa.Table, task: TaskConfig) -> TextSplit:
    place = directory / "cola" / "train-00000-of-00001.parquet"
    place.parent.mkdir(exist_ok=True, parents=True)
    pq.write_table(table, place)
    if task is GLUE:
        return load_split(directory, task, "train")
    data = DataConfig(text=str(place), text_validation=str(place))
    return load_user_split(complete_user_task(task, data), data, "train")


def described(label: Any) -> bytes:
    return json.dumps({"info": {"features": {"label": label}}}).encode()


@pytest.mark.parametrize(
    "metadata",
    [
        b"null",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 50_000,
        b"9" * 5_000,
        b'{"info": {"features": null}}',
        described(5),
        described({"_type": "ClassLabel", "names": 5}),
        described({"_type": "Nothing"}),
    ],
)
def test_odd_metadata_of_the_hub_is_passed_over(tmp_path: Path, metadata: bytes) -> None:
    table = pa.table({"sentence": TEXTS, "label": LABELS}).replace_schema_metadata({b"huggingface": metadata})
    for split in read_both(tmp_path, table):
        assert labels_of(split) == LABELS


def test_class_names_of_the_hub_are_used(tmp_path: Path) -> None:
    metadata = {b"huggingface": described({"_type": "ClassLabel", "names": ["1", "0"]})}
    table = pa.table({"sentence": TEXTS, "label": LABELS}).replace_schema_metadata(metadata)
    own, glue = read_both(tmp_path, table)
    assert labels_of(own) == LABELS  # the file's order is that of its names
    assert labels_of(glue) == [1 - label for label in LABELS]
    beyond = pa.table({"sentence": TEXTS, "label": [0, 1, 2] * 8}).replace_schema_metadata(metadata)
    with pytest.raises(GeloraError, match="row 3: label 2 "):
        _read_one(tmp_path, beyond, OWN)


def test_parts_of_a_split_must_agree(tmp_path: Path) -> None:
    place = tmp_path / "cola"
    place.mkdir()
    pq.write_table(pa.table({"sentence": TEXTS, "label": LABELS}), place / "train-00000-of-00002.parquet")
    pq.write_table(pa.table({"label": LABELS, "sentence": TEXTS}), place / "train-00001-of-00002.parquet")
    assert labels_of(load_split(tmp_path, GLUE, "train")) == LABELS * 2
    for other, message in (
        (pa.table({"sentence": TEXTS, "label": TEXTS}), "column label .*: int64, string"),
        (pa.table({"sentence": TEXTS}), "no column label"),
        (pa.table({"sentence": broken_texts(), "label": LABELS}), f"row {2 * COUNT}: column sentence"),
    ):
        pq.write_table(other, place / "train-00001-of-00002.parquet")
        with pytest.raises(GeloraError, match=message):
            load_split(tmp_path, GLUE, "train")


@pytest.mark.parametrize("value", [[TEXTS], TEXTS[0].encode(), 5, {"a": 1}])
def test_what_is_no_text_is_named(tmp_path: Path, value: Any) -> None:
    for task in (OWN, GLUE):
        with pytest.raises(GeloraError, match=r"row 1: sentence .*text.*, not "):
            _read_one(tmp_path, pa.table({"sentence": [value] * COUNT, "label": LABELS}), task)


def jsonl(path: Path, row: str, task: TaskConfig = OWN) -> TextSplit:
    """Return rows that are written by hand: in `row`, TEXT and LABEL stand for these."""
    rows = [row.replace("TEXT", text).replace("LABEL", str(label)) for text, label in zip(TEXTS, LABELS, strict=True)]
    path.write_text("\n".join(rows))
    data = DataConfig(text=str(path), text_validation=str(path))
    return load_user_split(complete_user_task(task, data), data, "train")


@pytest.mark.parametrize(
    "more",
    [
        NINES,
        f"-{NINES}",
        "9" * 400,
        f"{NINES}.5",
        "1e5000",
        '"\\ud800"',
        '{"\\ud800": 1}',
        '{"a": 1, "a": 2}',
        "[" * 300 + "]" * 300,
    ],
)
def test_odd_values_that_nobody_uses_are_passed_over_in_json(tmp_path: Path, more: str) -> None:
    found = jsonl(tmp_path / "a.jsonl", f'{{"sentence": "TEXT", "label": LABEL, "more": {more}}}')
    assert (found.columns[0], labels_of(found)) == (TEXTS, LABELS)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f'{{"sentence": {NINES}, "label": LABEL}}', "sentence must be a text"),
        (f'{{"sentence": "TEXT", "label": {NINES}}}', "the label in label .*5,000 characters"),
        ('{"sentence": "\\udfff", "label": LABEL}', "sentence must be a text"),
        ('{"sentence": "TEXT", "label": "\\ud800"}', "a label in label .*text or a number"),
        ('{"sentence": "a", "sentence": "TEXT", "label": LABEL}', "the name sentence comes twice"),
        ("[" * 100_000, "this JSON is nested too deeply"),
        (
            '{"sentence": "TEXT", "label": ' + "[" * 5000 + "]" * 5000 + "}",
            "this JSON is nested too deeply",
        ),
        ('{"sentence": ' + "[" * 300 + "]" * 300 + ', "label": LABEL}', "sentence must be a text"),
        ('{"sentence": "TEXT", "label": LABEL} 5', "not JSON"),
    ],
)
def test_odd_values_that_are_used_are_named_in_json(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(GeloraError, match=f"line 1: {message}") as caught:
        jsonl(tmp_path / "a.jsonl", row)
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


@pytest.mark.parametrize("score", [NINES, "9" * 400, "1e400", '"1,5"', "NaN"])
def test_scores_beyond_all_numbers_are_named(tmp_path: Path, score: str) -> None:
    with pytest.raises(GeloraError, match=r"line 1: label is .*finite number") as caught:
        jsonl(tmp_path / "a.jsonl", f'{{"sentence": "TEXT", "label": {score}}}', SCORES)
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


def squad(question: str = '"who?"', context: str = '"the cat sat"', name: str = '"q1"', title: str = '"t"') -> str:
    asked = f'{{"id": {name}, "question": {question}}}'
    return f'{{"data": [{{"title": {title}, "paragraphs": [{{"context": {context}, "qas": [{asked}]}}]}}]}}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (squad(question='"\\ud800"'), "question of row 0 .*half of a character"),
        (squad(context='"\\udfff"'), "context of row 0 .*half of a character"),
        (squad(name='"\\ud800"'), "id of row 0 .*half of a character"),
        (squad(question=NINES), "empty question.* row 0"),
        (squad(name=NINES), "a field is of another type"),
        (squad(name="[1]"), "a field is of another type"),
        (squad(title="[" * 5000 + "]" * 5000), "this JSON is nested too deeply"),
        ("[" * 100_000, "this JSON is nested too deeply"),
        (NINES, "not in SQuAD's format"),
        ("NaN", "not in SQuAD's format"),
        (squad(name='"' + "x" * 5000 + '"', question="null"), "empty question"),
    ],
)
def test_odd_squad_files_are_one_message(text: str, message: str) -> None:
    with pytest.raises(GeloraError, match=f"q.json.*{message}") as caught:
        read_squad_json(text, "q.json")
    assert len(str(caught.value)) < 400
    caught.value.args[0].encode()


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (NINES, "answer_start is"),
        ("9" * 400, "answer_start is"),
        ("1.5", "answer_start is 1.5"),
        ("true", "answer_start is True"),
        ("null", "answer_start is None"),
        ("1e400", "a field is of another type"),
    ],
)
def test_where_an_answer_starts_is_a_number_of_characters(start: str, message: str) -> None:
    answers = f'"question": "who?", "answers": [{{"text": "cat", "answer_start": {start}}}]'
    text = squad().replace('"question": "who?"', answers)
    with pytest.raises(GeloraError, match=message) as caught:
        read_squad_json(text, "q.json", answered=True)
    assert len(str(caught.value)) < 500


def test_a_broken_title_is_named_since_predictions_hold_it() -> None:
    with pytest.raises(GeloraError, match=r"title of row 0 .*half of a character"):
        read_squad_json(squad(title='"\ud800"'), "q.json")
    assert read_squad_json(squad(title="null"), "q.json").titles is None


def test_what_nobody_uses_of_a_squad_file_may_be_odd() -> None:
    assert read_squad_json(squad(title=NINES), "q.json").ids == ["q1"]
    with pytest.raises(GeloraError, match="the context of row 0"):
        single_question("who?", "the \udcff cat")
