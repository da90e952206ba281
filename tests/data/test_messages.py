"""Errors about your own data, as a user reads them: one whole message of each kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from gelora_cli.config.schema import DataConfig, TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.data.sources import complete_task, load_task_split

TASK = TaskConfig(name="reviews", source="text", columns=["review"], label="mood", metric="accuracy")
GOOD = "review,mood\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(30))

MESSAGES = {
    "a column that is missing": (
        GOOD.replace("mood", "moods"),
        "data.text=FILE: no column mood; did you mean moods? accepted: moods, review. Name the right column by "
        "task.label=COLUMN. The file was read with comma as separator; for another one give data.separator=NAME",
    ),
    "a line that can't be read": (
        GOOD + "one, two,a\n",
        "FILE, line 32: 3 fields, but the first line names 2 (review, mood), separated by comma; put texts that hold "
        'the separator in "quotes", or name the separator by data.separator=NAME (comma, semicolon, tab, pipe)',
    ),
    "a value that is missing": (
        GOOD + "one,\ntwo,\n",
        "FILE, line 32: no label in mood, the first of 2 such rows; fill it in, or remove the row",
    ),
    "texts of several labels, read as one": (
        GOOD + "one,a|b\ntwo,\n",
        "FILE, line 33: no label in mood; fill it in, or remove the row. If a text may have "
        "several labels, or none, give task.kind=multilabel",
    ),
    "labels that look alike": (
        GOOD + "one,A\n",
        "FILE, line 32: label 'A' (1 rows) differs from 'a' (15 rows) only in case or invisible characters; write one "
        "of them in mood, or if they are two labels name all labels: task.labels=[...]",
    ),
    "rows that are too few": (
        "review,mood\nx,a\ny,b\nz,a\nq,b\n",
        "4 rows are too few to hold out a tenth; give data.text_validation=FILE",
    ),
}


@pytest.mark.parametrize("kind", MESSAGES)
def test_a_message_says_where_what_and_how_to_fix_it(tmp_path: Path, kind: str) -> None:
    content, message = MESSAGES[kind]
    file = tmp_path / "rows.csv"
    file.write_text(content, encoding="utf-8")
    data = DataConfig(text=str(file))
    with pytest.raises(GeloraError) as caught:
        load_task_split(complete_task(TASK, data), data, "train")
    assert str(caught.value).replace(str(file), "FILE") == message
