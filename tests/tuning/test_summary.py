"""The page in the directory of a study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gelora_cli.commands.study_text import study_table
from gelora_cli.tuning.baseline import Baseline
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
    words = "budget=0.15M train.epochs=2 data.glue=glue seed=1,2,3,4,5 --config-dir STUDY/presets"
    assert f"gelora run -m task=sst2 model=minilm method=gelora,sora {words}\n" in text


def test_methods_that_do_not_beat_one_label_for_every_row_are_said() -> None:
    good, bad = method_study("gelora"), method_study("lora")
    none_above = Baseline("the most common label", max(trial.value or 0 for trial in bad.trials))
    text = summary_text(study(bad), none_above)
    assert f"To beat: accuracy {none_above.value:.4f} with the most common label for every row." in text
    assert f"**No trial is above the most common label for every row (accuracy {none_above.value:.4f})" in text
    assert "(train.epochs), or another range (tune.space).**" in text
    lower = replace(bad, trials=tuple(trial for trial in bad.trials if trial.collapsed or trial.value is None), best=3)
    low = Baseline("the most common label", 0.56)
    assert "No trial of lora is above" in summary_text(study(good, lower), low)
    beaten = summary_text(study(good), low)
    assert "To beat: accuracy 0.5600" in beaten and "No trial" not in beaten
    table = study_table(study(lower), interrupted=False, baseline=low)
    assert "to beat: accuracy 0.5600 with the most common label for every row" in table
    assert "no trial is above the most common label" in " ".join(table.split())
    words = [row.split() for row in table.splitlines()]
    (header,) = [row for row in words if row[:1] == ["method"]]
    (line,) = [row for row in words if row[:1] == ["lora"]]
    assert header[2] == "collapsed" and line[:5] == ["lora", "1", "of", "8", "1"]


def test_a_method_without_a_finished_trial_has_no_numbers() -> None:
    waiting = replace(method_study("gelora"), trials=(), best=None, spread=None)
    text = summary_text(replace(study(waiting), examples=None, command=""))
    assert "| gelora | 0 | 0 | 0 | - | - | - | - |" in text
    assert "gelora run" not in text
    assert "gelora tune task" not in text
