"""From the runs of several budgets to their record, picture and text; and what `gelora tune` refuses of budgets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gelora_cli.commands.budget_text import budget_text
from gelora_cli.commands.main import command_line
from gelora_cli.core.artifacts.budgets import BudgetStudy
from gelora_cli.core.codec import read_artifact, write_artifact
from gelora_cli.launchers.job import Outcome
from gelora_cli.plots.budgets import budgets_figure
from gelora_cli.plots.style import figure_bytes
from gelora_cli.tuning.budget_record import BudgetQuestion, budgets_directory, make_budget_study
from tests.helpers.bench import Bench
from tests.helpers.report_runs import write_whole
from tests.helpers.studies import method_study, study

BUDGETS = ("0.02M", "0.3M")
SEEDS = (1, 2, 3)
RIGHT = {("gelora", "0.02M"): 34, ("lora", "0.02M"): 20, ("gelora", "0.3M"): 35, ("lora", "0.3M"): 36}


@pytest.fixture
def made(tmp_path: Path) -> BudgetStudy:
    """Make the study of two methods at two budgets from written runs; `RIGHT` of 40 rows are right, give or take 1."""
    outcomes = []
    for (method, budget), right in RIGHT.items():
        for seed in SEEDS:
            run = write_whole(tmp_path / budget / str(seed), method, seed, right + (seed + right) % 3 - 1)
            outcomes.append(Outcome(0, str(run)))
    studies = [study(method_study("gelora"), method_study("lora"), budget=budget) for budget in BUDGETS]
    question = BudgetQuestion(
        budgets=BUDGETS, studies=tuple(studies), places=("../a", "../b"), seeds=SEEDS, margin=0.1, uniform="lora"
    )
    return make_budget_study(question, iter(outcomes), tmp_path)


def test_cells_tests_and_answers_are_those_of_the_runs(made: BudgetStudy, tmp_path: Path) -> None:
    assert [(cell.label, cell.budget) for cell in made.cells] == [
        ("gelora", "0.02M"),
        ("gelora", "0.3M"),
        ("lora", "0.02M"),
        ("lora", "0.3M"),
    ]
    for cell in made.cells:
        assert cell.mean == pytest.approx(RIGHT[cell.label, cell.budget] / 40)
        assert [run.seed for run in cell.runs] == [1, 2, 3]
        assert all((tmp_path / run.directory / "result.json").exists() for run in cell.runs)
    assert {(test.label, test.budget): test.shown_worse for test in made.tests} == {
        ("gelora", "0.02M"): False,
        ("lora", "0.02M"): True,
    }
    gelora, lora = made.answers
    assert (gelora.label, gelora.budget, lora.label, lora.budget) == ("gelora", "0.02M", "lora", "0.3M")
    assert gelora.uniform is not None
    assert gelora.uniform.shown_worse
    assert "Uniform ranks are shown to be worse there by more than 0.1" in gelora.sentence
    assert lora.uniform is None
    write_artifact(made, tmp_path)
    assert read_artifact(BudgetStudy, tmp_path / BudgetStudy.FILE) == made


def test_the_text_ends_in_the_sentences_and_the_picture_is_drawn(made: BudgetStudy, tmp_path: Path) -> None:
    text = budget_text(made, tmp_path / BudgetStudy.FILE, tmp_path / "budgets.png")
    assert " ".join(text.split()).endswith(f"{made.answers[0].sentence} {made.answers[1].sentence}")
    assert "worse" in next(line for line in text.splitlines() if line.startswith("lora") and "0.02M" in line)
    assert figure_bytes(budgets_figure(made), "png").startswith(b"\x89PNG")
    without = replace(made.cells[0], low=None, high=None)
    assert budgets_figure(replace(made, cells=(without, *made.cells[1:])))


def test_another_question_has_another_directory() -> None:
    places = [Path("runs/tune/sst2-minilm-b0.02M-aaaa"), Path("runs/tune/sst2-minilm-b0.3M-bbbb")]
    first = budgets_directory(places, SEEDS, 0.01)
    assert first.name.startswith("sst2-minilm-budgets-")
    assert first.parent == Path("runs/tune")
    others = [budgets_directory(places, SEEDS, 0.02), budgets_directory(places, (1, 2, 4), 0.01)]
    assert len({first, *others, budgets_directory(places[:1], SEEDS, 0.01)}) == 4


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        (["tune.budgets=[0.1M,100K]", "tune.seeds=[1,2]"], ["two or more different", "needs 3 different ones"]),
        (["tune.budgets=[0.1M,rank:2]", "budget=0.1M"], ["budgets of one form", "budget and tune.budgets exclude"]),
        (["tune.budgets=[much,auto]", "tune.seeds=[1,1,2]"], ["much", "auto is no bound", "needs 3 different ones"]),
        (["tune.budgets=[0.1M,0.2M]", "method=full"], ["full has no budget"]),
    ],
)
def test_all_that_is_wrong_with_budgets_is_said_before_any_work(
    bench: Bench, words: list[str], messages: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    # The learning rate is what is searched of full fine-tuning.
    given = bench.arguments("task=cola", *words, command="tune")
    overrides = [word for word in given if not word.startswith("train.learning_rate")]
    assert command_line(overrides) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert all(message in said for message in messages)
    assert not bench.root.exists()
