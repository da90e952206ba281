"""The page in the directory of a study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gelora_cli.tuning.summary import summary_text, write_summary
from tests.helpers.studies import method_study, study


def test_the_page_has_a_line_for_each_method_and_the_commands(tmp_path: Path) -> None:
    edge = method_study("sora", peak=3e-2)
    made = study(method_study("gelora"), edge)
    text = write_summary(made, tmp_path).read_text(encoding="utf-8")
    best = edge.best_trial
    assert best is not None
    line = next(line for line in text.splitlines() if line.startswith("| sora"))
    assert line.startswith(f"| sora | 8 | 1 | 1 | {best.value:.4f} | 0.0120 | train.learning_rate=")
    assert line.endswith("| train.learning_rate |")
    assert "accuracy on 6,735 held-out rows (0.1 of the training rows" in text
    assert "](study.png)" in text
    assert f"```bash\n{made.command}\n```" in text
    words = "budget=0.15M train.epochs=2 data.glue=glue seed=0,1,2 --config-dir STUDY/presets"
    assert f"gelora run -m task=sst2 model=minilm method=gelora,sora {words}\n" in text


def test_a_method_without_a_finished_trial_has_no_numbers() -> None:
    waiting = replace(method_study("gelora"), trials=(), best=None, spread=None)
    text = summary_text(replace(study(waiting), examples=None, command=""))
    assert "| gelora | 0 | 0 | 0 | - | - | - | - |" in text
    assert "gelora run" not in text
    assert "gelora tune task" not in text
