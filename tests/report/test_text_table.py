"""Tables on a terminal and in a pipe."""

from __future__ import annotations

import pytest

from gelora_cli.report.text_table import format_table

HEADER = ("status", "metric", "age", "run")
PATH = "cola/bert/adalora/brank3-s0-378bbf49"
ROWS = [
    ("done", "matthews_correlation", "3 min", PATH),
    ("failed", "-", "1 d", f"{PATH}: the loss is not finite after step 120, so the run was stopped"),
]


def test_nothing_is_left_out_in_a_pipe() -> None:
    lines = format_table(HEADER, ROWS, optional=("metric",)).splitlines()
    assert [line.split()[0] for line in lines] == ["status", "done", "failed"]
    assert lines[0].index("run") == lines[1].index(PATH) == lines[2].index(PATH)
    assert lines[2].endswith("so the run was stopped")


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_a_table_fits_the_terminal_and_a_path_can_be_copied(width: int) -> None:
    text = format_table(HEADER, ROWS, width=width, optional=("metric", "age"))
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert sum(PATH in line for line in lines) == 2
    assert set(ROWS[1][3].split()) <= set(text.split()), "the message goes on below"
    assert ("matthews_correlation" in text) == (width >= 80)
    assert ("Not shown at this width: metric." in " ".join(text.split())) == (width < 80)


def test_what_must_be_shown_is_shown_on_any_terminal() -> None:
    text = format_table(HEADER, ROWS, width=20, optional=("metric", "age"))
    assert PATH in text and "done" in text


def test_a_column_in_the_middle_is_wrapped() -> None:
    rows = [("cola", "gelora = lora = shuffled (precision=float32)", "0.5"), ("rte", "lora", "0.6")]
    lines = format_table(("task", "method", "mean"), rows, width=40, wrapped="method").splitlines()
    assert lines == [
        "task  method                    mean",
        "cola  gelora = lora = shuffled  0.5",
        "      (precision=float32)",
        "rte   lora                      0.6",
    ]
