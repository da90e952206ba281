"""docs/explanation/plural.md is what its record gives, and a record is made of finished runs only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scripts import plural_results


def test_the_page_is_what_the_record_gives() -> None:
    record = plural_results.read_record()
    assert plural_results.PAGE.read_text(encoding="utf-8") == plural_results.page_text(record)


def test_the_table_has_mean_and_spread_of_the_seeds() -> None:
    record = plural_results.read_record()
    runs = [replace(run, method="one") for run in record.runs[:2]]
    values = ({"exact_match": 0.25, "perplexity": 1.5}, {"exact_match": 0.75, "perplexity": 1.25})
    runs = [replace(runs[0], values=values), replace(runs[1], values=values[::-1])]
    page = plural_results.page_text(replace(record, runs=tuple(runs)))
    assert "| `one` | 0.500 ± 0.354 | 0.500 ± 0.354 |" in page
    assert "| 0.003 (preset) | 2 | 0.006 |" in plural_results.page_text(record)
    assert "begin at an exact match of 0.250 to 0.750" in page


def test_a_text_that_differs_in_one_word() -> None:
    assert plural_results.differs_in_one_word(" The kings cried.", "The kings chatted.")
    assert not plural_results.differs_in_one_word("The king cried.", "The kings chatted.")
    assert not plural_results.differs_in_one_word("The kings.", "The kings cried.")


def test_a_directory_without_finished_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no finished run of task=plural"):
        plural_results.collect(tmp_path, tmp_path)
