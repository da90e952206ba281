"""Text generation through the commands: what a run keeps of it, also resumed, scored again and on two processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.commands.main import command_line
from gelora_cli.core import run_files
from gelora_cli.data.demo_plural import plural_splits
from gelora_cli.report.predictions import read_predictions
from tests.helpers.bench import Bench, predictions, result_of
from tests.helpers.killed_runs import check_equal_adapters, kill_at_step
from tests.helpers.metric_lines import without_times

EXAMPLES, LIMIT = 20, 6
# No text is right after either epoch. Of equal epochs the first is selected, so that its predictions must be kept.
WORDS = [
    *("task=plural", "task.max_length=48", f"task.max_new_tokens={LIMIT}", "task.reported=exact_match"),
    *("data.max_train_examples=64", f"data.max_eval_examples={EXAMPLES}", "profile.max_examples=64"),
    *("method=lora", "budget=rank:2", "protocol=dev", "train.epochs=2", "train.learning_rate=0.5"),
    *("train.warmup_ratio=0", "method.modules=attention", "method.scaling=32"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, glue_dir: Path, tiny_models: dict[str, Path]) -> Path:
    bench = Bench(tmp_path_factory.mktemp("generation"), glue_dir, tiny_models)
    assert bench.run(*WORDS, model="llama") == 0
    return bench.only()


def test_a_run_keeps_the_texts_of_the_selected_epoch(run: Path) -> None:
    result, rows = result_of(run), predictions(run)
    first, second = (evaluated[0].metrics for evaluated in result.train.evaluations)
    assert (result.train.selected_epoch, result.reported) == (1, "exact_match")
    assert result.value == first["exact_match"] == second["exact_match"] == 0
    assert set(result.results[0].metrics) == {"exact_match", "log_likelihood", "completion_loss", "perplexity"}
    assert sorted({row["id"] for row in rows}) == sorted(row["id"] for row in rows)
    assert len(rows) == EXAMPLES
    for row in rows:
        assert row["label"].endswith(".")
        assert 1 <= row["scores"]["new_tokens"] <= LIMIT
        assert row["scores"]["at_limit"] in (True, False)
    tokens = sum(row["scores"]["tokens"] for row in rows)
    log_likelihood = sum(row["scores"]["log_likelihood"] for row in rows) / tokens
    assert log_likelihood == pytest.approx(first["log_likelihood"])
    assert log_likelihood != pytest.approx(second["log_likelihood"], abs=0.01)
    assert read_predictions(run).metric == ("completions", "exact_match")  # report reads the rows
    # Evaluations have losses of their own, and no line of theirs is one of the training.
    assert ["loss" in line for line in without_times(run)] == ["learning_rate" in line for line in without_times(run)]
    card = (run / run_files.CARD).read_text(encoding="utf-8")
    assert "pipeline_tag: text-generation" in card and "AutoModelForCausalLM" in card
    assert f"at most {LIMIT} new tokens; the whole text is compared by exact_match" in card


def test_a_resumed_run_gives_the_same_predictions(
    run: Path, tmp_path: Path, glue_dir: Path, tiny_models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(tmp_path / "runs", glue_dir, tiny_models)
    kill_at_step(6, bench, *WORDS, model="llama")  # in the second epoch
    assert bench.run(*WORDS, model="llama") == 0
    assert "resumed from the checkpoint at step 4 " in capsys.readouterr().err
    assert predictions(bench.only()) == predictions(run)
    check_equal_adapters(bench.only(), run)


def scored(run: Path, capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert command_line(["evaluate", str(run), *words]) == 0
    return capsys.readouterr().out


def test_a_run_scored_again_gives_its_values(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = "  ".join(f"{name} {value:.4f}" for name, value in result_of(run).results[0].metrics.items())
    assert f"{EXAMPLES} examples  {values}" in scored(run, capsys)


@pytest.mark.slow
@pytest.mark.distributed
def test_two_processes_generate_each_text_once(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scored(run, capsys, "launch.processes=2") == scored(run, capsys)


def test_prompts_are_continued_and_completions_scored(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = predictions(run)
    pairs = {pair.plural: pair.singular for pair in plural_splits()["validation"]}
    file = tmp_path / "prompts.jsonl"
    lines = [{"prompt": pairs[row["label"].strip()], "completion": row["label"]} for row in kept]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert command_line(["predict", str(run), f"file={file}"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for row, before in zip(rows, kept, strict=True):
        assert (row["prediction"], row["label"]) == (before["prediction"], before["label"])
        assert row["scores"]["log_likelihood"] == pytest.approx(before["scores"]["log_likelihood"], rel=1e-5)
        assert row["log_likelihood"] == row["scores"]["log_likelihood"]
    file.write_text("\n".join(json.dumps({"prompt": line["prompt"]}) for line in lines), encoding="utf-8")
    assert command_line(["predict", str(run), f"file={file}", f"output={tmp_path / 'texts.csv'}"]) == 0
    header, *table = (tmp_path / "texts.csv").read_text(encoding="utf-8").splitlines()
    assert header == "id,split,prompt,prediction,label,at_limit"
    assert len(table) >= EXAMPLES
