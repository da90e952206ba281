"""The scripts in examples/ run on tiny models and rows, and give what their first lines promise."""

from __future__ import annotations

import csv
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.codec import read_artifact
from tests.helpers.bench import Bench
from tests.helpers.tiny import SENTENCES
from tests.helpers.warm import WARM

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
SUBJECTS = ("cat", "dog", "bird", "book", "film")


def test_own_model_saves_an_adapter_with_the_planned_ranks(
    tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [f"{sentence} {subject}" for sentence in SENTENCES for subject in SUBJECTS]
    (tmp_path / "lines.txt").write_text("\n".join(texts), encoding="utf-8")
    words = [tiny_models["bert"], tmp_path / "lines.txt", "rank:4", tmp_path / "adapter"]
    monkeypatch.setattr(sys, "argv", ["own_model.py", *map(str, words)])
    runpy.run_path(str(EXAMPLES / "own_model.py"), run_name="__main__")
    printed = capsys.readouterr().out
    ranks = [int(rank) for rank in printed.split("ranks: ")[1].splitlines()[0].split()]
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert printed.count("idim") == len(ranks) + 1
    assert sum(ranks) <= 4 * len(ranks)
    assert sorted(config["rank_pattern"].values()) == sorted(ranks * 4), "query, key, value and output of each block"


def test_own_data_predicts_every_new_row(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    rows = [(f"{sentence} {subject}", subject in ("cat", "dog")) for sentence in SENTENCES for subject in SUBJECTS]
    with (tmp_path / "reviews.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *((text, "yes" if good else "no") for text, good in rows)])
    (tmp_path / "new.csv").write_text("text\nthe cat sat\nthe book\n", encoding="utf-8")
    for other in ("a", "m", "z"):  # runs that it has not made
        (tmp_path / "runs" / other).mkdir(parents=True)
        (tmp_path / "runs" / other / "DONE").touch()
    command = ["bash", str(EXAMPLES / "own_data.sh"), "reviews.csv", "new.csv", f"model.path={tiny_models['bert']}"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [*command, "train.epochs=1"],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "predictions.csv").open(encoding="utf-8", newline="") as file:
        predicted = list(csv.DictReader(file))
    assert [row["text"] for row in predicted] == ["the cat sat", "the book"]
    assert {row["prediction"] for row in predicted} <= {"yes", "no"}


def test_the_method_of_the_plug_in_puts_the_budget_into_the_last_block(bench: Bench) -> None:
    words = ["task=cola", "method=last_block", f"plugins={EXAMPLES / 'method_plugin'}", "budget=2500"]
    few = ["data.max_train_examples=48", "profile.max_examples=60"]
    # A process of its own: what a plug-in registers stays registered.
    done = WARM.run_gelora(*bench.arguments(*words, *few))
    assert done.returncode == 0, done.stderr
    ranks = read_artifact(RankPlan, bench.only() / RankPlan.FILE).ranks
    assert ranks[:-1] == (1,) * (len(ranks) - 1)
    assert ranks[-1] > 1
    assert (bench.only() / "DONE").exists()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("**/*.??")), ids=lambda path: path.name)
def test_the_first_line_says_the_command_that_runs_it(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith(("# python examples/", "# bash examples/", "# gelora run "))
    assert str((path.parent if "plugin" in str(path) else path).relative_to(ROOT)) in first
