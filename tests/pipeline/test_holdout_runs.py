"""Runs that are scored on held-out training rows, through the commands."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gelora_cli.commands.main import command_line
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.artifacts.result import HOLDOUT_REMARK
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.status import find_runs
from gelora_cli.report.groups import group_rows
from gelora_cli.report.rows import make_rows
from gelora_cli.report.runs import collect
from tests.helpers.bench import FAST, Bench, predictions, result_of
from tests.helpers.report_runs import score_on_holdout, write_whole
from tests.helpers.rows import squad_rows, write_squad
from tests.helpers.squad_runs import arguments

HOLDOUT = "data.holdout=0.1"


@pytest.fixture
def train_only(tmp_path: Path, glue_dir: Path) -> Path:
    """Copy the training rows of SST-2 alone: no split that the task evaluates."""
    (tmp_path / "glue" / "sst2").mkdir(parents=True)
    for path in (glue_dir / "sst2").glob("train-*"):
        shutil.copy(path, tmp_path / "glue" / "sst2")
    return tmp_path / "glue"


def test_a_run_needs_no_evaluated_split_and_looks_at_the_rest_alone(
    bench: Bench, train_only: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("task=sst2", HOLDOUT, f"data.glue={train_only}")
    assert bench.run("task=sst2", f"data.glue={train_only}", "dry_run=true") == 2  # without it the split is missed
    assert bench.run(*words, command="profile") == 0
    assert bench.run(*words, "seed=1", command="train") == 0  # the profile is that of the rows it trains on
    directory = bench.only()
    result = result_of(directory)
    assert [(row.split, row.examples) for row in result.results] == [("train (holdout)", 9)]
    assert read_artifact(IdProfile, directory / IdProfile.FILE).examples_seen == 81
    assert {row["split"] for row in predictions(directory)} == {"train (holdout)"}
    assert sorted(read_artifact(RunManifest, directory / RunManifest.FILE).fingerprints) == [
        "model",
        "train",
        "train (holdout)",
    ]
    assert HOLDOUT_REMARK in capsys.readouterr().out
    card = (directory / "README.md").read_text()
    assert HOLDOUT_REMARK[1:] in card
    assert "model-index" not in card
    assert command_line(["evaluate", str(directory)]) == 0
    assert "train (holdout): 9 examples" in capsys.readouterr().out
    assert command_line(["export", str(directory), f"output={tmp_path / 'exported'}"]) == 0


def test_questions_are_held_out_by_articles(bench: Bench, tmp_path: Path) -> None:
    rows = [row | {"title": f"article {index % 12}"} for index, row in enumerate(squad_rows(60, 1, unanswerable=False))]
    write_squad(tmp_path / "squad", "plain_text", "train", rows)
    assert bench.run(*arguments(tmp_path / "squad", HOLDOUT, "method=lora", "budget=rank:1", task="squad")) == 0
    (directory,) = bench.directories()
    held = predictions(directory)
    assert len(held) == result_of(directory).results[0].examples == 5
    assert len({row["group"] for row in held}) == 1


def test_your_own_validation_rows_are_not_read(tmp_path: Path, tiny_models: dict[str, Path]) -> None:
    table = "".join(f"the film {row} was {'good' if row % 3 else 'bad'}\t{row % 2}\n" for row in range(80))
    (tmp_path / "rows.tsv").write_text("sentence\tlabel\n" + table)
    (tmp_path / "other.tsv").write_text("nothing\n")  # no column of the task
    words = ["task=text", f"data.text={tmp_path / 'rows.tsv'}", f"data.text_validation={tmp_path / 'other.tsv'}"]
    words += ["task.columns=[sentence]", "method=lora", "budget=rank:1", f"model.path={tiny_models['bert']}"]
    words += [f"runs_dir={tmp_path / 'runs'}", *FAST]
    assert command_line(["run", *words]) == 2
    assert command_line(["run", *words, HOLDOUT]) == 0
    (directory,) = find_runs(tmp_path / "runs")
    assert result_of(directory).results[0].examples == 8


def test_too_few_rows_are_an_error_before_any_work(bench: Bench, squad_dir: Path) -> None:
    assert bench.run(*arguments(squad_dir, HOLDOUT)) == 2  # all questions are of one article
    assert not bench.root.exists()


def test_a_report_never_compares_them_with_the_tasks_own_rows(tmp_path: Path) -> None:
    for method in ("lora", "gelora"):
        for held_out in (False, True):
            directory = write_whole(tmp_path / f"{held_out}", method, 0, 30)
            if held_out:
                score_on_holdout(directory)
    rows = make_rows(collect([tmp_path]).runs)
    assert len(rows) == 4
    assert sorted(row.on_holdout for row in rows) == [False, False, True, True]
    groups = group_rows(rows)
    of_groups = []
    for group in groups:
        of_groups.append([row.on_holdout for row in group.rows])
    assert sorted(of_groups) == [[False] * 2, [True] * 2]
    assert ["[held-out training rows]" in group.name for group in groups] == [
        group.rows[0].on_holdout for group in groups
    ]
    assert all(HOLDOUT_REMARK in row.notes for row in rows if row.on_holdout)
