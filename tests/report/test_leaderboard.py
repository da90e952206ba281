"""Methods over several tasks: entries, averages, what is best, what a test does not show to be worse, and its table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.codec import read_artifact, write_artifact
from gelora_cli.core.done import mark_done
from gelora_cli.report.analysis import Analysis, analyse
from gelora_cli.report.answer_tables import answer_tables
from gelora_cli.report.board_tables import board_table
from gelora_cli.report.content import ReportContent, summary
from gelora_cli.report.formats import latex, markdown
from gelora_cli.report.headline import headline
from gelora_cli.report.leaderboard import Board, Entry, make_boards
from gelora_cli.report.runs import collect
from gelora_cli.report.tables import Table
from tests.helpers.report_runs import EXAMPLES, write_whole

RIGHT = {
    "gelora": {"cola": (30, 31, 30), "mrpc": (33, 34, 33), "rte": (27, 27, 29)},
    "lora": {"cola": (30, 31, 30), "mrpc": (33, 33, 34), "rte": (27, 28, 26)},
    "shuffled": {"cola": (8, 9, 10), "mrpc": (12, 11, 10), "rte": (9, 8, 10)},
    "adalora": {"cola": (35, 36, 35), "mrpc": (36, 36, 36)},
    "full": {"cola": (38, 38, 39), "mrpc": (38, 38, 38), "rte": (37, 38, 37)},
}
"""Right answers of 40 by method, task and seed. On CoLA the plan of `lora` is GeLoRA's; `full` has no budget."""


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    """Compare the runs of `RIGHT`."""
    root = tmp_path_factory.mktemp("leaderboard")
    for method, tasks in RIGHT.items():
        for task, counts in tasks.items():
            for seed, right in enumerate(counts):
                directory = write_whole(root / task, method, seed, right, task=task)
                _change(directory, exempt=method == "full", has_gelora_plan=task == "cola" and method == "lora")
    return analyse(collect([root]))


def _change(directory: Path, *, exempt: bool, has_gelora_plan: bool) -> None:
    if exempt:
        write_artifact(replace(read_artifact(RunResult, directory / RunResult.FILE), budget="exempt"), directory)
    if has_gelora_plan:
        plan = read_artifact(RankPlan, directory / RankPlan.FILE)
        write_artifact(replace(plan, gelora_ranks=plan.ranks), directory)
    mark_done(directory)


@pytest.fixture
def board(analysis: Analysis) -> Board:
    """Return the only board."""
    (board,) = analysis.boards
    return board


def entry(board: Board, name: str) -> Entry:
    (found,) = (entry for entry in board.entries if entry.name == name)
    return found


def test_a_control_that_a_row_of_gelora_shows_has_an_entry_with_its_values(analysis: Analysis, board: Board) -> None:
    assert "gelora = lora" in [row.name for row in analysis.rows], "on one task they are one row"
    assert set(RIGHT) == {each.name for each in board.entries}
    assert entry(board, "lora").rows["cola"] is entry(board, "gelora").rows["cola"]
    assert entry(board, "lora").rows["rte"].method == "lora"


def test_averages_are_those_of_task_means_and_their_spread_that_of_the_seeds(board: Board) -> None:
    values = np.array([RIGHT["gelora"][task] for task in board.tasks]) * 100 / EXAMPLES  # (tasks, seeds)
    gelora = entry(board, "gelora")
    assert gelora.average == pytest.approx(values.mean())
    assert gelora.sd == pytest.approx(values.mean(axis=0).std(ddof=1))


def test_entries_stand_from_the_best_to_the_worst_and_below_them_those_that_lack_a_task(board: Board) -> None:
    assert [each.name for each in board.entries] == ["full", "gelora", "lora", "shuffled", "adalora"]
    assert entry(board, "adalora").average is None
    assert [each.name for each in board.best] == ["gelora"], "what no budget binds is not the best under one"


def test_the_best_on_a_task_are_those_that_the_budget_binds(board: Board) -> None:
    assert board.best_on("cola") == {"adalora"}  # not `full`, which is higher
    without = replace(board, entries=tuple(each for each in board.entries if each.name != "adalora"))
    assert without.best_on("mrpc") == {"gelora", "lora"}  # the same counts in another order of the seeds
    full = entry(board, "full")
    assert replace(board, entries=(full, replace(full, name="bitfit"))).best_on("cola") == {"full", "bitfit"}


def test_an_average_without_a_rival_is_not_called_the_highest(tmp_path: Path) -> None:
    for method, task in (("gelora", "cola"), ("gelora", "rte"), ("lora", "cola")):
        write_whole(tmp_path / task, method, 0, 30, task=task)
    collected = collect([tmp_path])
    analysis = analyse(collected)
    alone = "only gelora has a value on every task, 75.00 points on average; lora lacks a task."
    assert headline(analysis).endswith(f" Over 2 tasks {alone}")
    content = ReportContent(title="Mine", analysis=analysis, unused=(), pictures=(), published=None)
    assert next(summary(content)).endswith(f": {alone}")
    (board,) = analysis.boards
    table = board_table(board)
    assert table.bold == {(0, 2), (1, 2)}, "both on the task that both have, and neither average"
    assert "Bold" not in board_table(board, ["average"]).caption and "Bold" in table.caption


def test_what_is_not_shown_to_be_worse_than_the_best(board: Board) -> None:
    assert entry(board, "lora").not_shown_worse
    shuffled = entry(board, "shuffled")
    assert not shuffled.not_shown_worse
    assert shuffled.against_best is not None and shuffled.against_best.verdict.startswith("gelora above shuffled by ")
    assert not entry(board, "adalora").not_shown_worse and not entry(board, "gelora").not_shown_worse


def test_a_test_that_is_missing_is_said(analysis: Analysis) -> None:
    (board,) = make_boards(analysis.groups, comparisons=[])
    assert not any(each.not_shown_worse for each in board.entries)
    assert "gelora and shuffled on rte (" in " ".join(board.notes)
    assert all(note.endswith("this pair was not tested") for note in board.notes)


def test_the_table_of_a_board(board: Board) -> None:
    table = board_table(board)
    assert table.titles == ("method", "parameters", "cola", "mrpc", "rte", "average", "seeds")
    assert [line[0] for line in table.lines] == ["full (exempt)", "gelora", "lora", "shuffled", "adalora"]
    assert table.lines[1][2] == "75.83 \N{PLUS-MINUS SIGN} 1.44" and table.lines[4][4:6] == ("-", "-")
    assert all(table.is_numeric(column) for column in range(1, len(table.titles)))
    assert (1, 5) in table.bold and (0, 5) not in table.bold
    assert (4, 2) in table.bold, "the best on one task may lack another one"
    text = markdown(table)
    assert "| **76.11 \N{PLUS-MINUS SIGN} 0.96** |" in text
    (lora,) = (line for line in text.splitlines() if line.startswith("| lora"))
    assert lora.count("\N{DAGGER}") == 1 and "\N{DAGGER} | 3 |" in lora


def test_every_method_is_tested_against_uniform_lora_over_the_tasks(analysis: Analysis) -> None:
    (answer,) = analysis.answers
    assert [one.first for one in answer.across] == ["full", "gelora", "shuffled"], "adalora lacks a task"
    full, gelora, shuffled = answer.across
    assert full.is_shown and shuffled.is_shown and not gelora.is_shown
    assert gelora.p is not None and gelora.p_corrected == pytest.approx(gelora.p), "Holm's largest p stays"
    (table,) = answer_tables(analysis.answers, analysis.power)
    (line,) = (dict(zip(table.titles, line, strict=True)) for line in table.lines if line[0] == "shuffled")
    assert line["in words"].startswith("lora above shuffled by ")
    assert (line["tasks won, lost"], line["seeds"]) == ("0, 3", "3")
    assert float(line["shown at 80 %, points"]) > 0 and line["seeds for half a point"] != "-"


def test_columns_are_picked_in_the_given_order(board: Board) -> None:
    table = board_table(board, ["seeds", "means", "training"])
    assert table.titles == ("method", "seeds", "cola", "mrpc", "rte", "training, s")
    assert table.lines[1][1:] == ("3", "75.83", "83.33", "69.17", "5.0")


def test_the_caption_is_of_the_columns_that_stand_there(board: Board) -> None:
    means = board_table(board, ["means"]).caption
    assert "as means over seeds" in means and "The average is" not in means and "\N{DAGGER}" not in means
    assert "as means over seeds. The average is" in board_table(board, ["means", "average"]).caption
    assert "standard deviation" in board_table(board).caption and "\N{DAGGER}" in board_table(board).caption
    assert board_table(board, ["seeds"]).caption == f"{board.title}."


def test_parameters_that_are_trained_and_not_kept_are_said(board: Board) -> None:
    caption = board_table(board).caption
    trained = entry(board, "lora").trained_params
    assert trained > entry(board, "lora").adapter_params
    assert "Parameters are those that a method keeps; while training gelora has up to" in caption
    assert f"lora has up to {trained:,}" in caption and "full has" not in caption, "no budget binds full"
    assert "while training" not in board_table(board, ["means"]).caption


def test_a_narrow_table_is_no_wider_than_a_column_and_nothing_readable_is_scaled(board: Board) -> None:
    narrow, wide = latex(board_table(board, ["average"])), latex(board_table(board))
    assert r"\begin{table}" in narrow and r"\begin{table*}" in wide
    assert "resizebox" not in narrow + wide
    assert r"\textbf{76.11}\,{\scriptsize$\pm$\,0.96}" in wide, "the mean alone is bold"
    assert r"\rlap{$^\dagger$}" in wide


def test_a_board_without_enough_seeds_says_that_it_tests_nothing(tmp_path: Path) -> None:
    for task in ("cola", "rte"):
        for right, method in enumerate(("gelora", "lora"), start=30):
            write_whole(tmp_path / task, method, 0, right, task=task)
    (board,) = analyse(collect([tmp_path])).boards
    assert entry(board, "lora").is_best and not entry(board, "gelora").not_shown_worse
    assert "Not tested: cola, rte: 1 shared seed, 3 are needed." in board_table(board).caption
    assert entry(board, "lora").sd is None


def test_long_texts_are_wrapped_and_columns_without_a_value_left_out() -> None:
    words = "lora above shuffled by 0.0123 (95 % interval 0.0012 to 0.0234)"
    text = latex(Table("pairs", ("first", "in words", "p", "collapsed"), (("lora", words, "0.012", "-"),)))
    assert r"\begin{tabular}{lp{7cm}r}" in text and "collapsed" not in text
    assert r"lora & lora above shuffled by 0.0123 (95 \% interval 0.0012 to 0.0234) & 0.012 \\" in text
