"""From a study to presets, and from presets through the command line to the settings of a run."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import DictConfig

from gelora_cli.commands.hydra_app import compose_each
from gelora_cli.commands.override_checks import check_overrides
from gelora_cli.config.arguments import Arguments
from gelora_cli.config.complete import complete
from gelora_cli.config.composing import composed_config
from gelora_cli.config.identity import identity_values
from gelora_cli.config.schema import RunConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.tuning.presets import run_command, settings_of, write_presets
from tests.helpers.composed import composed
from tests.helpers.studies import DROPOUT, RATE, SCALING, THRESHOLD, method_study, study

SORA = method_study("sora", (RATE, SCALING, DROPOUT, THRESHOLD))
WORDS = ("task=sst2", "model=minilm", "method=sora", "budget=0.15M")


@pytest.fixture
def presets(tmp_path: Path) -> Path:
    """Write presets of two methods, one of them in two forms."""
    write_presets(study(SORA, method_study("lora"), method_study("lora method.variant=dora", peak=5e-3)), tmp_path)
    return tmp_path


def run_of(folder: Path, *words: str) -> RunConfig:
    """Return the configuration of `gelora run WORDS --config-dir FOLDER`, through the command's own machinery."""
    flags = ["--config-dir", str(folder)]
    overrides = check_overrides("run", Arguments(flags, list(words)), list(words))
    collected: list[DictConfig] = []
    compose_each("run", flags, overrides, collected.append)
    return complete(composed_config(collected[0]))


def tuned(folder: Path, *words: str) -> RunConfig:
    """Return the same without the seconds that Hydra needs, where the command line gives no key of interest."""
    return complete(composed(*words, f"tuned_presets={folder / 'tuned'}"))


def searched(config: RunConfig) -> dict[str, Any]:
    method: Any = config.method
    return {
        "train.learning_rate": config.train.learning_rate,
        "method.scaling": method.scaling,
        "method.dropout": method.dropout,
        "method.threshold_total": method.threshold_total,
    }


def test_a_run_takes_every_searched_key_from_the_directory(presets: Path) -> None:
    assert SORA.best_trial is not None
    config = run_of(presets, *WORDS)
    assert searched(config) == SORA.best_trial.values
    assert (config.train.epochs, config.train.batch_size, config.preset_trials) == (2, 16, 8)
    assert config.preset_source.startswith(f"gelora tune, 8 trials on 2026-11-26 ({presets}/tuned/sst2-minilm-0.15M-")
    assert "what it leaves open: gelora's own" in config.preset_source
    assert (config.tuned_presets, config.keys_given) == (None, [])
    by_hand = composed(*WORDS, "train.epochs=2", *(f"{key}={value}" for key, value in searched(config).items()))
    assert identity_values(complete(by_hand)) == identity_values(config)  # the same run directory
    assert complete(config) == config


def test_a_key_of_the_users_wins_even_with_its_default(presets: Path) -> None:
    assert SORA.best_trial is not None
    assert SORA.best_trial.values["method.threshold_total"] != 0.7
    config = run_of(presets, *WORDS, "method.threshold_total=0.7", "train.epochs=1")
    assert searched(config) == SORA.best_trial.values | {"method.threshold_total": 0.7}
    assert config.train.epochs == 1
    assert config.preset_trials is None  # a searched key is given by hand
    assert "given otherwise: train.epochs method.threshold_total" in config.preset_source
    assert run_of(presets, *WORDS, "train.epochs=1").preset_trials == 8  # was not searched


def test_a_key_of_an_experiment_wins(presets: Path) -> None:
    (presets / "experiment").mkdir()
    lines = "# @package _global_\ntrain: {epochs: 1}\nmethod: {threshold_total: 0.7}\n"
    (presets / "experiment" / "mine.yaml").write_text(lines, encoding="utf-8")
    config = run_of(presets, *WORDS, "experiment=mine")
    assert (searched(config)["method.threshold_total"], config.train.epochs) == (0.7, 1)


def test_forms_of_the_update_have_presets_of_their_own(presets: Path) -> None:
    words = ("task=sst2", "model=minilm", "method=lora", "budget=0.15M")
    source = tuned(presets, *words).preset_source
    assert "-lora.yaml" in source and "variant" not in source
    other = study(method_study("lora", peak=5e-3))
    write_presets(
        replace(other, methods=(replace(other.methods[0], overrides=("method=lora", "method.modules=all")),)), presets
    )
    assert "nothing tuned for task=sst2 model=minilm method=lora" in tuned(presets, *words).preset_source
    assert "8 trials" in tuned(presets, *words, "method.modules=all").preset_source


def test_keys_that_change_no_number_are_the_searchs_own(tmp_path: Path) -> None:
    given = ("train.log_steps=2", "profile.track=true", "protocol=split", "train.patience=3", "train.weight_decay=0.5")
    write_presets(replace(study(SORA), overrides=(*study(SORA).overrides, *given)), tmp_path)
    (path,) = (tmp_path / "tuned").glob("*.yaml")
    config = tuned(tmp_path, *WORDS, "protocol=split")
    assert (config.train.patience, config.train.weight_decay) == (3, 0.5)
    assert "log_steps" not in path.read_text() and "track" not in path.read_text().replace("gelora tune", "")
    # An earlier version wrote them, and its files open.
    path.write_text(path.read_text().replace("settings:\n", "settings:\n  train.log_steps: 2\n"))
    assert "8 trials" in tuned(tmp_path, *WORDS, "protocol=split").preset_source
    path.write_text(path.read_text().replace("train.log_steps: 2", "runs_dir: elsewhere"))
    with pytest.raises(GeloraError, match="runs_dir: no key of method=sora"):
        tuned(tmp_path, *WORDS)


@pytest.mark.parametrize(
    "words",
    [
        ("task=rte", "model=bert_base", "method=sora", "budget=0.15M"),
        ("task=sst2", "model=minilm", "method=adalora", "budget=0.15M"),
        ("task=sst2", "model=minilm", "method=sora", "budget=rank:4"),
    ],
)
def test_what_was_tuned_for_something_else_does_not_apply(presets: Path, words: tuple[str, ...]) -> None:
    config, usual = tuned(presets, *words), complete(composed(*words))
    assert identity_values(config) == identity_values(usual)
    assert config.preset_trials == usual.preset_trials
    assert (
        f"has nothing tuned for {' '.join(words)}, but for task=sst2 model=minilm method=lora" in config.preset_source
    )


def test_the_nearest_budget_counts_and_is_said(presets: Path) -> None:
    write_presets(study(method_study("sora", peak=1e-2), budget="0.6M"), presets)
    near, far = tuned(presets, *WORDS[:3], "budget=0.2M"), tuned(presets, *WORDS[:3], "budget=0.5M")
    assert near.preset_source.count("tuned at budget=0.15M, the nearest there is to 0.2M") == 1
    assert far.preset_source.count("tuned at budget=0.6M, the nearest there is to 0.5M") == 1
    assert "the nearest there is" not in tuned(presets, *WORDS[:3], "budget=150000").preset_source


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"trials": 0}, "trials=0: accepted is a number at least 1"),
        ({"mine": 1}, "no tuned preset: mine is unknown"),
        ({"budget": "much"}, "no tuned preset: budget=much"),
        ({"settings": {"train.learning_rate": -1.0}}, "train.learning_rate=-1.0: accepted is a number above 0"),
        ({"settings": {"train.learning_rate": "fast"}}, "train.learning_rate is str, not int or float"),
        ({"settings": {"train.learning_rat": 0.1}}, "train.learning_rat: no key of method=sora; did you mean"),
        ({"settings": {"runs_dir": "/"}}, "runs_dir: no key of method=sora"),
    ],
)
def test_a_damaged_file_is_named(presets: Path, change: dict[str, Any], said: str) -> None:
    path = presets / "tuned" / "sst2-minilm-0.15M-sora.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(values | change), encoding="utf-8")
    with pytest.raises(GeloraError, match=f"{re.escape(str(path))}: {re.escape(said)}.*gelora tune writes these files"):
        tuned(presets, *WORDS)


@pytest.mark.parametrize("text", ["", "a: [", "task: sst2"])
def test_a_file_that_is_no_preset_is_named(presets: Path, text: str) -> None:
    (presets / "tuned" / "zzz.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(GeloraError, match=r"zzz\.yaml: no tuned preset"):
        tuned(presets, *WORDS)


def test_a_preset_says_where_it_comes_from(presets: Path) -> None:
    values = yaml.safe_load((presets / "tuned" / "sst2-minilm-0.15M-sora.yaml").read_text(encoding="utf-8"))
    assert values["space"]["train.learning_rate"] == "0.0001 to 0.0316, log, made wider 1 time"
    assert values["space"]["method.dropout"] == "one of 0.0, 0.1"
    assert (values["trials"], values["holdout"], values["numerics"], values["examples"]) == (8, 0.1, 2, 6735)
    assert values["best"] == max(trial.value or 0 for trial in SORA.trials)
    assert values["command"].startswith("gelora tune task=sst2 model=minilm budget=0.15M ")


def test_a_method_without_a_finished_trial_has_no_preset(tmp_path: Path) -> None:
    waiting = replace(SORA, best=None)
    assert write_presets(study(waiting), tmp_path) == ()


def test_the_command_to_run_names_all_that_the_trials_were_given() -> None:
    made = study(method_study("lora method.variant=lora"), method_study("lora method.variant=dora"))
    made = replace(made, overrides=(*made.overrides, "profile.max_examples=500", "seed=3", "data.text='a b.csv'"))
    assert run_command(made, "my study/presets") == (
        "gelora run -m task=sst2 model=minilm method=lora budget=0.15M method.variant=lora,dora train.epochs=2 "
        "data.glue=glue profile.max_examples=500 'data.text='\"'\"'a b.csv'\"'\"'' seed=1,2,4,5,6 "
        "--config-dir 'my study/presets'"
    )


def test_the_command_to_run_leaves_out_a_method_without_a_finished_trial() -> None:
    made = study(replace(SORA, best=None), method_study("lora"))
    assert " method=lora budget=" in run_command(made, "presets")


def test_the_command_to_run_names_no_model_that_was_given_by_its_path_alone() -> None:
    by_path = replace(study(method_study("lora")), overrides=("task=sst2", "model.path=dir/tiny"), model="tiny")
    command = run_command(by_path, "presets")
    assert " model=" not in command
    assert " model.path=dir/tiny " in command
    both = replace(by_path, overrides=(*by_path.overrides, "model=minilm"), model="minilm")
    assert " model=minilm " in run_command(both, "presets")


def test_the_command_to_run_names_the_task_as_it_was_given() -> None:
    # The name of a task of your own data is that of its file.
    of_a_file = replace(study(method_study("lora")), overrides=("task=instruct", "data.instruct=qa.jsonl"), task="qa")
    assert run_command(of_a_file, "presets").startswith("gelora run -m task=instruct model=")


def test_overrides_are_read_as_hydra_reads_them() -> None:
    words = ("method=sora", "train.learning_rate=1e-4", "train.epochs=2", "method.layer_norms=true", "data.text='a b'")
    assert settings_of((*words, "ranks.path=null", "task.columns=[a]")) == {
        "train.learning_rate": 1e-4,
        "train.epochs": 2,
        "method.layer_norms": True,
        "data.text": "a b",
    }
