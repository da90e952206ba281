"""Pairs of methods, from run directories to a verdict in words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gelora_cli.config.files import write_config
from gelora_cli.config.schema import RunConfig, TaskConfig
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.result import EvalResult, RunResult
from gelora_cli.core.codec import read_artifact, write_artifact
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import json_text
from gelora_cli.core.run_reader import RunDirectory
from gelora_cli.report.comparison import Comparison
from gelora_cli.report.predictions import read_predictions
from gelora_cli.report.significance import ComparedRow, compare_rows, correct
from tests.helpers.written_runs import write_run

Array = NDArray[Any]
Row = dict[str, Any]
TASK = TaskConfig(name="demo", labels=["no", "yes"], metric="accuracy", reported="accuracy")
TRUE = np.arange(300) % 2


def write_rows(
    root: Path, method: str, seed: int, rows: Sequence[Row], value: float, *, task: TaskConfig = TASK, collapsed: bool
) -> Path:
    """Write a finished run with these predictions and this value of the task's reported metric."""
    directory = write_run(root, method, seed, value, collapsed=collapsed)
    write_config(RunConfig(task=task, seed=seed), directory / run_files.CONFIG)
    evaluated = EvalResult("validation", len(rows), {task.reported: value}, task.reported, collapsed, 0.1)
    result = read_artifact(RunResult, directory / RunResult.FILE)
    write_artifact(replace(result, reported=task.reported, results=(evaluated,)), directory)
    others = [dict(rows[0]) | {"split": "another"}]
    lines = [json.dumps({"split": "validation"} | row) for row in [*rows, *others]]
    (directory / run_files.PREDICTIONS).write_text("\n".join(lines) + "\n")
    return directory


def write_labels(root: Path, method: str, seed: int, right: Array, *, collapsed: bool = False) -> Path:
    """Write a run that is right where `right` (n,) says so; its rows are in an order of its own."""
    words = ("no", "yes")
    rows: list[Row] = []
    for number, (true, is_right) in enumerate(zip(TRUE.tolist(), right.tolist(), strict=True)):
        predicted = true if is_right else 1 - true
        rows.append({"id": number, "prediction": words[predicted], "label": words[true], "scores": []})
    order = np.random.default_rng(seed).permutation(len(rows))
    return write_rows(root, method, seed, [rows[i] for i in order], float(right.mean()), collapsed=collapsed)


def row_of(root: Path, name: str, right: Array) -> ComparedRow:
    """Make a method that is right where `right` (n,) says so, with each of three seeds."""
    return compared_row(name, "demo", {seed: write_labels(root, name, seed, right) for seed in (0, 1, 2)})


def row(root: Path, name: str, share: float, seeds: Sequence[int] = (0, 1, 2), *, group: str = "demo") -> ComparedRow:
    """Make a method that is right on about this share of the examples."""
    generator = np.random.default_rng(list(name.encode()))
    runs = {seed: write_labels(root / group, name, seed, generator.random(300) < share) for seed in seeds}
    return compared_row(name, group, runs)


def compared_row(name: str, group: str, directories: Mapping[int, Path]) -> ComparedRow:
    return ComparedRow(name, group, {seed: RunDirectory(directory) for seed, directory in directories.items()})


def with_groups(rows: Sequence[ComparedRow], count: int) -> None:
    """Write the group of each example into all predictions: `count` groups of neighbours."""
    for compared in rows:
        for run in compared.runs.values():
            edit(run.place, lambda line: line | {"group": f"article {line['id'] * count // 300}"})


def test_examples_of_a_group_are_drawn_together(tmp_path: Path) -> None:
    """Compare two methods that suit six and four of 10 articles: little is known from so few."""
    suited = np.repeat([1, 1, 1, 1, 1, 1, 0, 0, 0, 0], 30)
    rows = [row_of(tmp_path, "a", suited == 1), row_of(tmp_path, "b", suited == 0)]
    alone = compare_rows(rows, resamples=400)[0]
    assert alone.verdict.startswith("a above b") and (alone.p or 1) < 0.01
    assert (alone.groups, alone.drawn) == (None, "300 examples, taken as independent")
    with_groups(rows, 10)
    together = compare_rows(rows, resamples=400)[0]
    assert together.difference == alone.difference
    assert together.verdict == "no difference shown" and (together.p or 0) > 0.3
    assert (together.groups, together.drawn) == (10, "300 examples of 10 groups, drawn as whole groups")
    with_groups(rows, 300)
    single = compare_rows(rows, resamples=400)[0]
    assert single.p == pytest.approx(alone.p, rel=0.2)
    with_groups(rows, 1)
    one = compare_rows(rows, resamples=400)[0]
    assert (one.p, one.low, one.groups) == (None, None, 1)
    assert one.verdict == "no verdict: all examples are of one group, which leaves nothing to draw"


def test_one_run_that_names_the_groups_is_enough(tmp_path: Path) -> None:
    rows = [row(tmp_path, name, share) for name, share in (("a", 0.7), ("b", 0.75))]
    edit(rows[1].runs[2].place, lambda line: line | {"group": f"article {line['id'] % 20}"})
    assert compare_rows(rows, resamples=50)[0].groups == 20
    assert compare_rows(rows[::-1], resamples=50)[0].p == compare_rows(rows, resamples=50)[0].p
    edit(rows[0].runs[0].place, lambda line: line | {"group": f"article {line['id'] % 21}"})
    with pytest.raises(GeloraError, match="differ in the groups"):
        compare_rows(rows, resamples=50)


def test_questions_without_articles_are_said_to_be_taken_as_independent(tmp_path: Path) -> None:
    task = TaskConfig(name="squad", kind="question_answering", metric="squad", reported="f1")
    found = []
    for title in (None, "Cats", "Dogs"):
        rows: list[Row] = [
            {"id": f"q{i}", "prediction": "cat", "label": [("dog", "cat")[i % 2]]}
            | ({"group": title if i < 7 else "Birds"} if title else {})
            for i in range(10)
        ]
        runs = {
            seed: write_rows(tmp_path / str(title), "a", seed, rows, 50.0, task=task, collapsed=False)
            for seed in range(3)
        }
        pair = [compared_row(name, "squad", runs) for name in ("a", "b")]
        found.append(compare_rows(pair, resamples=10)[0].drawn)
    old, first, second = found
    assert old.startswith("10 questions, taken as independent, since these predictions name no articles")
    assert first == second == "10 questions of 2 groups, drawn as whole groups"


def test_a_difference_and_none(tmp_path: Path) -> None:
    rows = [row(tmp_path, "good", 0.95), row(tmp_path, "bad", 0.5), row(tmp_path, "poor", 0.5)]
    found = compare_rows(rows, resamples=500)
    assert [(pair.first, pair.second) for pair in found] == [("good", "bad"), ("good", "poor"), ("bad", "poor")]
    clear, none = found[0], found[2]
    assert clear.low is not None and clear.high is not None and clear.p_corrected is not None
    assert clear.low < clear.difference < clear.high
    assert clear.verdict == (
        f"good above bad by {clear.difference:.4f} (95 % interval {clear.low:.4f} to {clear.high:.4f})"
    )
    assert clear.p_corrected < 0.05 < (none.p_corrected or 0)
    assert none.verdict == "no difference shown"
    assert (clear.metric, clear.seeds, clear.collapsed_first) == ("accuracy", 3, 0)


def test_unequal_trials_are_not_comparable(tmp_path: Path) -> None:
    good, bad = row(tmp_path, "good", 0.95), row(tmp_path, "bad", 0.5)

    def pair(first: int | None, second: int | None, *, ignore_trials: bool = False) -> Comparison:
        rows = [replace(good, trials=first), replace(bad, trials=second)]
        return compare_rows(rows, resamples=50, ignore_trials=ignore_trials)[0]

    equal = pair(16, 16)
    assert equal.verdict.startswith("good above bad") and (equal.trials_first, equal.trials_second) == (16, 16)
    assert pair(None, None).verdict == equal.verdict
    assert pair(16, 3).verdict == "not comparable: 16 trials behind good against 3 trials behind bad"
    assert pair(None, 1).verdict == "not comparable: an unknown number of trials behind good against 1 trial behind bad"
    assert pair(16, 3, ignore_trials=True).verdict == equal.verdict
    assert replace(pair(16, 3), verdict="", trials_second=16) == replace(equal, verdict="")  # no number changes


def test_the_better_one_is_named_first_in_words(tmp_path: Path) -> None:
    pair = compare_rows([row(tmp_path, "bad", 0.5), row(tmp_path, "good", 0.95)], resamples=300)[0]
    assert pair.difference < 0 and pair.low is not None and pair.high is not None
    assert pair.verdict == (
        f"good above bad by {-pair.difference:.4f} (95 % interval {-pair.high:.4f} to {-pair.low:.4f})"
    )


def test_no_number_depends_on_the_order_of_rows_or_on_other_groups(tmp_path: Path) -> None:
    rows = [row(tmp_path, name, share) for name, share in (("a", 0.7), ("b", 0.75), ("c", 0.8))]
    other = [row(tmp_path, name, 0.6, group="other") for name in ("a", "b")]
    there, back = compare_rows([*rows, *other], resamples=200), compare_rows([*other, *rows[::-1]], resamples=200)
    assert sorted(map(numbers, there)) == sorted(map(numbers, back))
    alone = compare_rows(rows[:2], resamples=200)[0]
    assert (alone.p, alone.low) == (there[0].p, there[0].low)
    assert alone.p_corrected == alone.p
    assert compare_rows(rows[:2], resamples=200, seed=1)[0].p != alone.p


def numbers(pair: Comparison) -> tuple[Any, ...]:
    """Return a pair in the order of its names."""
    assert pair.low is not None and pair.high is not None
    if pair.first < pair.second:
        return (pair.group, pair.first, pair.second, pair.difference, pair.low, pair.high, pair.p, pair.p_corrected)
    ends = (-pair.high, -pair.low)
    return (pair.group, pair.second, pair.first, -pair.difference, *ends, pair.p, pair.p_corrected)


def test_fewer_than_three_shared_seeds_give_no_verdict(tmp_path: Path) -> None:
    rows = [row(tmp_path, "a", 0.9), row(tmp_path, "b", 0.5, (1, 2, 3)), row(tmp_path, "c", 0.5, (7, 8, 9))]
    rows += [row(tmp_path, "d", 0.6, (2, 1, 0, 5))]
    found = {(pair.first, pair.second): pair for pair in compare_rows(rows, resamples=100)}
    two, none, three = found["a", "b"], found["a", "c"], found["a", "d"]
    assert (two.seeds, none.seeds, three.seeds) == (2, 0, 3)
    assert two.verdict == "no verdict: 2 shared seeds, 3 are needed"
    assert two.low is two.high is two.p is two.p_corrected is two.effect_size is None
    a, b, c, d = map(value_by_seed, rows)
    assert two.difference == pytest.approx(np.mean([a[seed] - b[seed] for seed in (1, 2)]))
    assert none.difference == pytest.approx(np.mean([*a.values()]) - np.mean([*c.values()]))
    assert three.difference == pytest.approx(np.mean([a[seed] - d[seed] for seed in (0, 1, 2)]))
    assert three.p_corrected == three.p  # the only test


def value_by_seed(compared: ComparedRow) -> dict[int, float]:
    return {seed: read_predictions(run).result.value for seed, run in compared.runs.items()}


def test_collapsed_runs_stay_and_are_counted(tmp_path: Path) -> None:
    one = row(tmp_path, "a", 0.9)
    other = row(tmp_path, "b", 0.9, (0, 1))
    fallen = write_labels(tmp_path, "b", 2, TRUE == 1, collapsed=True)
    pair = compare_rows([one, ComparedRow("b", "demo", {**other.runs, 2: RunDirectory(fallen)})], resamples=100)[0]
    assert (pair.collapsed_first, pair.collapsed_second, pair.seeds) == (0, 1, 3)
    assert pair.difference > 0.1


def test_what_is_shown_alone_is_not_shown_among_many(tmp_path: Path) -> None:
    rows = [row(tmp_path, "a", 0.82), row(tmp_path, "b", 0.7)]
    alone = compare_rows(rows, resamples=300)[0]
    assert alone.verdict.startswith("a above b")
    many = [ComparedRow(f"m{number}", "many", rows[number % 2].runs) for number in range(6)]
    among = compare_rows([*rows, *many], resamples=300)[0]
    assert among.p == alone.p and (among.p_corrected or 0) > 0.05
    assert among.verdict == f"no difference shown: {alone.verdict} alone, but not as one of 16 tests"


def test_methods_that_predict_the_same(tmp_path: Path) -> None:
    right = np.arange(300) < 200
    rows = [row_of(tmp_path, name, right) for name in ("a", "b")]
    pair = compare_rows(rows, resamples=50)[0]
    assert (pair.difference, pair.low, pair.high, pair.p, pair.effect_size) == (0, 0, 0, 1, None)
    assert pair.verdict == "no difference shown"


def test_a_difference_that_nothing_changes_is_not_tested(tmp_path: Path) -> None:
    rows = [row_of(tmp_path, "all", np.ones(300, bool)), row_of(tmp_path, "none", np.zeros(300, bool))]
    pair = compare_rows(rows, resamples=50)[0]
    assert (pair.difference, pair.p) == (1, None)
    assert pair.verdict.startswith("no verdict: every seed and example differs by the same")


def test_other_data_are_refused_all_at_once(tmp_path: Path) -> None:
    rows = [row(tmp_path, name, 0.7) for name in ("a", "b", "c")]
    edit(rows[1].runs[0].place, lambda line: line | {"id": line["id"] + 1})
    edit(rows[2].runs[1].place, lambda line: line | {"label": line["prediction"], "prediction": line["label"]})
    with pytest.raises(GeloraError) as caught:
        compare_rows(rows, resamples=10)
    first, second = str(caught.value).splitlines()
    assert "differ in 2 example ids" in first
    assert str(rows[1].runs[0].place) in first
    assert "differ in the labels of" in second


def edit(directory: Path, change: Any) -> None:
    path = directory / run_files.PREDICTIONS
    lines = [json.dumps(change(json.loads(line))) for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n")


def test_names_and_metrics_must_agree(tmp_path: Path) -> None:
    one = row(tmp_path, "a", 0.7)
    with pytest.raises(GeloraError, match="demo: a comes 2 times"):
        compare_rows([one, one])
    rows = [{"id": number, "prediction": "no", "label": "no", "scores": []} for number in range(300)]
    task = replace(TASK, metric="mcc", reported="matthews_correlation")
    path = write_rows(tmp_path / "other", "b", 0, rows, 0.0, task=task, collapsed=True)
    with pytest.raises(GeloraError, match=r"reports matthews_correlation, .* accuracy"):
        compare_rows([one, compared_row("b", "demo", {0: path})], resamples=10)


def test_predictions_that_do_not_give_the_result_are_refused(tmp_path: Path) -> None:
    path = write_labels(tmp_path, "a", 0, TRUE == 1)
    result = read_artifact(RunResult, path / RunResult.FILE)
    evaluated = replace(result.results[0], metrics={"accuracy": 0.75})
    write_artifact(replace(result, results=(evaluated,)), path)
    with pytest.raises(GeloraError, match=r"gives accuracy 0.500000, result\.json says 0.750000"):
        read_predictions(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "can't be read as predictions"),
        (lambda text: text.splitlines()[0] + "\n" + text, "an id twice"),
        (lambda text: text.replace('"validation"', '"test"'), "no rows of the split validation"),
        (lambda text: text.replace('"label": "no"', '"label": null'), "no label of"),
        (lambda text: text.replace('"label": "no"', '"label": "perhaps"'), "is damaged: KeyError"),
        (lambda text: text.replace('"label": "no"', '"label": "no", "group": "x"'), "no group of .*other rows have"),
    ],
)
def test_damaged_predictions_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    path = write_labels(tmp_path, "a", 0, TRUE == 1)
    (path / run_files.PREDICTIONS).write_text(change((path / run_files.PREDICTIONS).read_text()))
    with pytest.raises(GeloraError, match=message):
        read_predictions(path)


def test_answers_with_line_separators_are_one_row(tmp_path: Path) -> None:
    task = TaskConfig(name="squad", kind="question_answering", metric="squad", reported="f1")
    rows = [
        {"id": name, "prediction": text, "label": [text]} for name, text in (("a", "cat\u2028sat"), ("b", "x\ny\x85"))
    ]
    path = write_rows(tmp_path, "squad", 0, rows, 100.0, task=task, collapsed=False)
    (path / run_files.PREDICTIONS).write_text("".join(json_text({"split": "validation"} | r) + "\n" for r in rows))
    assert read_predictions(path).ids == ("a", "b")


def test_a_value_without_a_score_is_refused(tmp_path: Path) -> None:
    task = replace(TASK, metric="squad_v2", reported="best_f1_chosen_on_eval", kind="question_answering")
    path = write_rows(tmp_path, "a", 0, [{"id": "q"}], 1.0, task=task, collapsed=False)
    with pytest.raises(GeloraError, match=r"squad_v2's best_f1_chosen_on_eval; .*accuracy"):
        read_predictions(path)


def test_scores_and_answers_are_read_as_their_metrics_have_them(tmp_path: Path) -> None:
    task = TaskConfig(name="stsb", kind="regression", metric="pearson_spearman", reported="pearson")
    rows: list[Row] = [
        {"id": i, "prediction": p, "label": t} for i, (p, t) in enumerate([(None, 1.0), (2.0, 2.5), (3.0, 3.0)])
    ]
    found = read_predictions(write_rows(tmp_path, "stsb", 0, rows, 0.0, task=task, collapsed=True))
    assert np.isnan(found.predicted[0]) and found.true.tolist() == [1.0, 2.5, 3.0]

    task = TaskConfig(name="squad_v2", kind="question_answering", metric="squad_v2", reported="f1")
    rows = [
        {"id": "a", "prediction": "the cat", "label": ["cat"], "scores": {"span": 2.0, "null": 1.0}},
        {"id": "b", "prediction": "", "label": ["cat"], "scores": {"span": 2.0, "null": 3.0}},
        {"id": "c", "prediction": "", "label": [], "scores": {"span": 2.0, "null": 3.0}},
        {"id": "d", "prediction": "cat sat", "label": ["cat"], "scores": {"span": 3.0, "null": 3.0}},
        {"id": "e", "prediction": "cat", "label": [], "scores": {"span": None, "null": None}},
    ]
    value = 100 * (1 + 0 + 1 + 2 / 3 + 0) / 5
    found = read_predictions(write_rows(tmp_path, "squad_v2", 0, rows, value, task=task, collapsed=False))
    assert found.predicted.tolist() == pytest.approx([1, 0, 1, 2 / 3, 0])

    task = TaskConfig(name="squad", kind="question_answering", metric="squad", reported="exact_match")
    path = write_rows(tmp_path, "squad", 0, [rows[0], rows[3]], 50.0, task=task, collapsed=False)
    assert read_predictions(path).predicted.tolist() == [1, 0]


def test_a_pair_alone_is_not_corrected_for_others(tmp_path: Path) -> None:
    rows = [row(tmp_path, name, share) for name, share in (("a", 0.6), ("b", 0.75), ("c", 0.7))]
    every = {(pair.first, pair.second): pair for pair in compare_rows(rows, resamples=200)}
    (only,) = correct([every["a", "b"]])
    assert len(every) == 3 and only == compare_rows(rows[:2], resamples=200)[0]
    assert only.p_corrected == only.p != every["a", "b"].p_corrected


def test_a_swapped_comparison_says_the_same(tmp_path: Path) -> None:
    rows = [row(tmp_path, name, share) for name, share in (("a", 0.6), ("b", 0.75))]
    (pair,) = compare_rows(rows, resamples=200)
    assert pair.swapped() == compare_rows(rows[::-1], resamples=200)[0]
    assert pair.swapped().swapped() == pair
