"""Questions to a comparison over several tasks, from run directories to answers in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gelora_cli.config.files import read_config, write_config
from gelora_cli.config.schema import MethodConfig
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.codec import read_artifact, write_artifact
from gelora_cli.core.done import mark_done
from gelora_cli.report.answers import answer_questions, contrast_across
from gelora_cli.report.comparison import Comparison
from gelora_cli.report.groups import RowGroup, group_rows, rows_by_name
from gelora_cli.report.questions import SAME_RUNS, Answer, Contrast, Question
from gelora_cli.report.rows import make_rows
from gelora_cli.report.runs import collect
from gelora_cli.report.significance import compare_groups
from tests.helpers.report_runs import write_whole

TASKS = ("cola", "rte", "sst2")
RIGHT = {"gelora": 30, "lora": 22, "fisher": 30}
GELORA, FISHER = Contrast("gelora", "lora"), Contrast("fisher", "gelora")

Compared = tuple[list[RowGroup], list[Comparison]]


def compare(root: Path) -> Compared:
    groups = group_rows(make_rows(collect([root]).runs))
    return groups, compare_groups(groups)[0]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """Compare three methods on three tasks and seeds; GeLoRA is far better than LoRA, and Fisher's plan as good."""
    root = tmp_path_factory.mktemp("runs")
    for place, task in enumerate(TASKS):
        for method, right in RIGHT.items():
            for seed in range(3):
                shift = 1 if method == "fisher" else 0  # other seeds are its good ones
                write_whole(root / task, method, seed, right + (seed * (place + 1) + shift) % 3, task=task)
    return compare(root)


def ask(compared: Compared, *contrasts: Contrast, tasks: tuple[str, ...] = ()) -> Answer:
    question = Question(id="asked", text="Which is better?", contrasts=contrasts, tasks=tasks)
    return answer_questions([question], *compared)[0]


def test_an_answer_is_a_test_over_tasks_and_one_on_each(compared: Compared) -> None:
    answer = ask(compared, GELORA)
    (across,) = answer.across
    assert (across.tasks, across.seeds, across.tasks_won, answer.problems) == (TASKS, 3, 3, {})
    assert across.difference == pytest.approx(100 * sum(pair.difference for pair in answer.comparisons) / 3)
    assert across.is_shown and across.p == across.p_corrected
    assert answer.verdict.startswith(f"gelora above lora by {across.difference:.2f} points over 3 tasks (95 % interval")
    assert [pair.first for pair in answer.comparisons] == ["gelora"] * 3
    singles = [pair.p for pair in answer.comparisons if pair.p is not None]
    assert across.p is not None and across.p < min(singles)


def test_the_first_of_a_contrast_is_first_whatever_the_order_of_the_rows(compared: Compared) -> None:
    (across,), (turned,) = ask(compared, GELORA).across, ask(compared, Contrast("lora", "gelora")).across
    assert turned.low is not None and across.high is not None
    assert turned.difference == pytest.approx(-across.difference)
    assert turned.low == pytest.approx(-across.high)
    assert turned.verdict == across.verdict


def test_contrasts_of_a_question_are_corrected_among_themselves(compared: Compared) -> None:
    alone = ask(compared, GELORA)
    both = ask(compared, GELORA, FISHER)
    first, second = both.across
    assert alone.across[0].p == first.p
    assert first.p is not None and first.p_corrected == pytest.approx(2 * first.p)
    assert "no difference shown between fisher and gelora over 3 tasks" in second.verdict
    # On single tasks all six are one family, and not the nine pairs of the report.
    smallest = min(both.comparisons, key=lambda pair: pair.p or 1)
    assert smallest.p is not None and smallest.p_corrected == pytest.approx(6 * smallest.p)


def test_a_question_of_one_task_is_answered_on_it(compared: Compared) -> None:
    answer = ask(compared, GELORA, tasks=("rte",))
    (across,), (single,) = answer.across, answer.comparisons
    assert across.tasks == ("rte",) and across.p == pytest.approx(single.p)


def test_what_can_not_be_compared_is_said(compared: Compared) -> None:
    answer = ask(compared, Contrast("gelora", "sora"))
    assert (answer.across, answer.comparisons, answer.verdict) == ((), (), "no run answers it")
    (reasons,) = answer.problems.values()
    assert len(reasons) == 3 and "no row, or several, of sora" in reasons[0]
    groups, pairs = compared
    none = contrast_across(GELORA, groups, [pair for pair in pairs if "cola" not in pair.group])
    assert none.across is not None and none.across.tasks == ("rte", "sst2")
    assert none.problems[0].endswith("this pair was not tested")


def test_unequal_trials_give_no_verdict_over_tasks(compared: Compared) -> None:
    groups, pairs = compared
    unequal = [replace(pair, trials_first=12, trials_second=12 if "rte" in pair.group else 3) for pair in pairs]
    across = contrast_across(GELORA, groups, unequal).across
    assert across is not None and across.p is not None
    assert across.problem == "not comparable: other numbers of trials are behind gelora and lora on cola, sst2"
    ignored = contrast_across(GELORA, groups, unequal, ignore_trials=True).across
    assert ignored is not None and ignored.problem == ""


def test_two_seeds_on_a_task_give_no_test_over_tasks(compared: Compared) -> None:
    groups, pairs = compared
    few = [replace(pair, variances=None, p=None, seeds=2) if "rte" in pair.group else pair for pair in pairs]
    across = contrast_across(GELORA, groups, few).across
    assert across is not None and across.p is None
    assert across.problem == "no verdict: rte: 2 shared seeds, 3 are needed"
    assert (across.seeds, across.most_seeds) == (2, 3)
    fewer = [replace(pair, variances=None, p=None, seeds=2) for pair in pairs]
    across = contrast_across(GELORA, groups, fewer).across
    assert across is not None and across.problem == "no verdict: cola, rte, sst2: 2 shared seeds, 3 are needed"


def test_collapsed_runs_are_counted_over_the_tasks(compared: Compared) -> None:
    groups, pairs = compared
    some = [replace(pair, collapsed_first=2, collapsed_second=1) if "rte" in pair.group else pair for pair in pairs]
    across = contrast_across(GELORA, groups, some).across
    assert across is not None and across.collapsed_first + across.collapsed_second == 3


def compare_with_a_shared_plan(root: Path, seeds: int) -> Compared:
    """Compare three methods on two tasks; on CoLA, of so many seeds, a control has GeLoRA's plan."""
    for task, count in (("cola", seeds), ("rte", 3)):
        for method in ("gelora", "lora", "shuffled"):
            for seed in range(count):
                directory = write_whole(root / task, method, seed, 25 + seed, task=task)
                plan = read_artifact(RankPlan, directory / RankPlan.FILE)
                if method != "lora" and task == "cola":
                    write_artifact(replace(plan, gelora_ranks=plan.ranks), directory)
                    mark_done(directory)
    return compare(root)


def test_seeds_of_the_same_runs_are_those_that_there_are(tmp_path: Path) -> None:
    (across,) = ask(compare_with_a_shared_plan(tmp_path, seeds=1), Contrast("gelora", "shuffled")).across
    assert (across.seeds, across.most_seeds) == (1, 3) and across.p is not None


def test_a_control_with_geloras_plan_differs_by_nothing(tmp_path: Path) -> None:
    compared = compare_with_a_shared_plan(tmp_path, seeds=3)
    assert [row.names for row in compared[0][0].rows] == [("gelora", "shuffled"), ("lora",)]
    answer = ask(compared, Contrast("gelora", "shuffled"))
    assert answer.comparisons[0].verdict == SAME_RUNS
    (across,) = answer.across
    assert across.tasks == ("cola", "rte") and across.differences[0] == 0 and across.p is not None
    assert across.same_ranks == ("cola", "rte")  # on rte as rows of their own
    # On tasks where nothing else is left, it is no test, and no other contrast is corrected for it.
    same, other = ask(compared, Contrast("gelora", "shuffled"), GELORA, tasks=("cola",)).across
    assert same.problem == same.verdict == SAME_RUNS and same.p is None and same.is_same_runs
    assert other.p is not None and other.p_corrected == other.p


def test_a_form_of_the_update_is_named_alike_on_every_task(tmp_path: Path) -> None:
    # Plain LoRA keeps the method's bare name beside it, whatever the rates that either was tuned to on a task.
    for task, rate in (("cola", 1e-3), ("rte", 2e-3)):
        for seed in range(3):
            for variant in ("lora", "dora"):
                directory = write_whole(tmp_path / task / variant, "gelora", seed, 25 + seed, task=task)
                config = read_config(directory / run_files.CONFIG)
                method = MethodConfig.of("gelora", modules="attention", scaling=32.0, variant=variant)
                rates = replace(config.train, learning_rate=rate if variant == "dora" else 5e-4)
                write_config(replace(config, method=method, train=rates), directory / run_files.CONFIG)
                mark_done(directory)
    groups, pairs = compare(tmp_path)
    for group in groups:
        assert set(rows_by_name(group.rows)) == {"gelora", "gelora (method.variant=dora)"}
    answer = ask((groups, pairs), Contrast("gelora (method.variant=dora)", "gelora"))
    assert answer.across[0].tasks == ("cola", "rte") and answer.problems == {}
