"""Where a task of GLUE has other rows than GLUE, each table of it says so."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from gelora_cli.data.glue_sizes import GLUE_ROWS, SplitRows
from gelora_cli.report.analysis import analyse
from gelora_cli.report.board_tables import board_table
from gelora_cli.report.formats import csv_text
from gelora_cli.report.row_counts import glue_note
from gelora_cli.report.rows import Row, make_rows
from gelora_cli.report.runs import collect
from gelora_cli.report.tables import metric_tables, result_tables
from tests.helpers.report_runs import score_on_holdout, write_whole

MRPC = "mrpc is trained on 80 rows and evaluated on 40 (GLUE: 3,668 and 408)"


@pytest.fixture
def row(tmp_path: Path) -> Row:
    """Return the row of a run that is called mrpc, of one epoch of 80 rows and 40 evaluated ones."""
    write_whole(tmp_path, "lora", 0, 30, task="mrpc")
    (row,) = make_rows(collect([tmp_path]).runs)
    return row


def with_rows(row: Row, training: int, evaluated: int, *, epochs: int = 1, max_steps: int | None = None) -> Row:
    """Return the row as if its run had trained and evaluated on so many rows."""
    (run,) = row.runs
    train = replace(run.result.train, examples=training * epochs, epochs=epochs)
    results = tuple(replace(part, examples=evaluated) for part in run.result.results)
    config = replace(run.config, train=replace(run.config.train, max_steps=max_steps))
    return replace(row, runs=(replace(run, config=config, result=replace(run.result, train=train, results=results)),))


def test_rows_that_are_not_as_many_as_those_of_glue_are_named(row: Row) -> None:
    assert MRPC in glue_note([row, row]) and glue_note([row, row]).count("mrpc") == 1
    assert glue_note([with_rows(row, *GLUE_ROWS["mrpc"], epochs=3)]) == ""
    assert "trained on 2,000 rows and evaluated on 408 (" in glue_note([with_rows(row, 2_000, 408, epochs=3)])
    assert "trained on 3,668 rows and evaluated on 204 (" in glue_note([with_rows(row, 3_668, 204)])
    assert "trained for 5 steps and evaluated on 408 (" in glue_note([with_rows(row, 90, 408, epochs=2, max_steps=5)])
    assert glue_note([replace(row, key=row.key._replace(task="demo"))]) == ""
    assert GLUE_ROWS["sst2"] == SplitRows(training=67_349, evaluated=872)


def test_a_value_on_held_out_training_rows_says_so(row: Row) -> None:
    score_on_holdout(row.runs[0].directory)
    (held_out,) = make_rows(collect([row.runs[0].directory]).runs)
    assert "evaluated on 40 held-out training rows (GLUE: " in glue_note([held_out])


def test_every_table_with_values_of_the_task_has_the_note(row: Row) -> None:
    (results,) = result_tables([row])
    (board,) = analyse(collect([row.runs[0].directory])).boards
    metrics = [table.caption for table in metric_tables([row])]
    for caption in (results.caption, board_table(board).caption, *metrics):
        assert MRPC in caption
    (cells,) = csv.DictReader(csv_text([row]).splitlines())
    assert (cells["training examples"], cells["evaluated examples"]) == ("80", "40")
