"""The section `method.`: each method declares its own keys, and so does a method of a plug-in."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from gelora_cli.commands.hydra_app import register_schemas
from gelora_cli.config.checks import value_problems
from gelora_cli.config.complete import complete
from gelora_cli.config.files import config_text, parse_config
from gelora_cli.config.groups import group_choices
from gelora_cli.config.help import key_lines
from gelora_cli.config.identity import identity_hash, identity_values
from gelora_cli.config.keys import key
from gelora_cli.config.overrides import override_problems
from gelora_cli.config.schema import LowRankConfig, MethodConfig, PlannedLoraConfig
from gelora_cli.config.shipped import config_dir
from gelora_cli.config.typed import in_entry_class
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import METHODS
from gelora_cli.methods.lora import PlannedLora
from tests.helpers.composed import composed
from tests.helpers.registries import forget_entries_afterwards

COMMON = {"name", "preset", "modules", "presets"}
"""Keys that every method has."""
WRITTEN_BEFORE = """
method:
  name: lora
  preset: gelora
  modules: attention
  scaling: 32.0
  dropout: 0.1
  start_ratio: null
  tinit: null
  tfinal: null
  delta_t: null
  orthogonality: null
  threshold_total: null
  prune_at: null
  threshold_rule: null
  gate_penalty: null
  layer_norms: null
  rho: null
  presets: {}
"""
"""The section of a run's configuration as it was when one class held the keys of all methods."""


@pytest.mark.parametrize("name", METHODS.names())
def test_the_defaults_of_a_methods_keys_are_those_of_its_file(name: str) -> None:
    written = yaml.safe_load((config_dir() / "method" / f"{name}.yaml").read_text(encoding="utf-8"))
    declared = MethodConfig.class_of(name)(name=name)
    own = {item: value for item, value in written.items() if item not in COMMON | {"defaults", "scaling"}}
    assert own == {item: getattr(declared, item) for item in own}


def test_a_methods_section_has_its_own_keys_alone() -> None:
    found = {}
    for name in METHODS.names():
        found[name] = {item.name for item in fields(MethodConfig.class_of(name))} - COMMON
    assert found["full"] == found["bitfit"] == found["houlsby"] == set()
    assert found["lora"] == found["gelora"] == {"scaling", "dropout", "variant"}
    assert found["eva"] == {"scaling", "dropout", "rho"}
    assert "tinit" in found["adalora"] - found["sora"]
    assert "gate_penalty" in found["sora"] - found["adalora"]


def test_a_configuration_written_before_is_read() -> None:
    method = parse_config(WRITTEN_BEFORE).method
    assert method == PlannedLoraConfig(name="lora", modules="attention", scaling=32.0, dropout=0.1)
    assert "tinit" not in config_text(parse_config(WRITTEN_BEFORE))
    edited = parse_config(WRITTEN_BEFORE.replace("tinit: null", "tinit: 0.2"))
    assert any("method=lora has no such setting" in problem for problem in value_problems(edited))
    with pytest.raises(GeloraError, match=r"method\.tinnit is unknown"):
        parse_config(WRITTEN_BEFORE.replace("tinit: null", "tinnit: 0.2"))


def test_a_method_that_is_not_loaded_keeps_its_settings() -> None:
    text = WRITTEN_BEFORE.replace("name: lora", "name: elsewhere").replace("rho: null", "rho: null\n  strength: 3.0")
    config = parse_config(text)
    assert identity_values(config)["method"] == {
        "name": "elsewhere",
        "modules": "attention",
        "scaling": 32.0,
        "dropout": 0.1,
        "strength": 3.0,
    }
    assert parse_config(config_text(config)) == config


@dataclass
class ToySettings(LowRankConfig):
    """Settings of a method that only these tests have."""

    strength: float = key(2.0, help="how strongly it acts", above=0, high=10)
    mode: str = key("soft", help="how it acts", choices=("soft", "hard"), absent=("soft",))
    rho: str = key("text", help="a name that another method has for a number")


class Toy(PlannedLora):
    """LoRA with settings of its own."""

    name = "toy_settings"
    allocator = "uniform"
    config_class = ToySettings


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Return the words that choose a method with keys of its own; its file names none of them."""
    forget_entries_afterwards(monkeypatch, METHODS)
    METHODS.register(Toy)
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "toy_settings.yaml").write_text("name: toy_settings\npreset: gelora\n")
    (tmp_path / "method" / "mine.yaml").write_text("defaults: [toy_settings, _self_]\nstrength: 5\n")
    monkeypatch.setattr("gelora_cli.config.groups.loaded_folders", lambda: (tmp_path,))
    register_schemas()
    return ("task=cola", "model=minilm", "budget=0.1M", f"hydra.searchpath=[file://{tmp_path}]")


def toy_settings(words: tuple[str, ...], *more: str) -> Any:
    return complete(composed(*words, *more)).method


def test_a_method_brings_keys_of_its_own(toy: tuple[str, ...]) -> None:
    words = (*toy, "method=toy_settings")
    assert toy_settings(words) == ToySettings(name="toy_settings", modules="attention", scaling=32.0)
    assert toy_settings(words, "method.strength=3").strength == 3.0
    assert isinstance(toy_settings(words, "method.strength=3").strength, float)
    mine = toy_settings(toy, "method=mine")
    assert (type(mine), mine.name, mine.strength) == (ToySettings, "toy_settings", 5.0)
    assert toy_settings(toy, "method=mine", "method.strength=1").strength == 1.0


@pytest.mark.parametrize(
    ("given", "facts"),
    [
        ("method.strength=11", ["method.strength=11", "above 0", "at most 10"]),
        ("method.strength=lots", ["method.strength=lots"]),
        ("method.strength=null", ["method.strength=null", "method=toy_settings needs it"]),
        ("method.mode=sft", ["method.mode=sft", "did you mean soft"]),
        ("method.strenth=3", ["method.strenth=3: unknown key", "did you mean method.strength"]),
        ("method.tinit=0.2", ["method.tinit=0.2", "method=toy_settings has no such setting", "adalora"]),
    ],
)
def test_a_methods_own_keys_are_checked(toy: tuple[str, ...], given: str, facts: list[str]) -> None:
    problems, good = override_problems("run", ["method=toy_settings", given], None)
    if given in good:
        problems += value_problems(composed(*toy, "method=toy_settings", given))
    assert len(problems) == 1
    for fact in facts:
        assert fact in problems[0]


def test_a_key_of_another_method_is_refused_with_its_owners(toy: tuple[str, ...]) -> None:
    problems = value_problems(composed(*toy, "method=lora", "method.strength=3"))
    assert problems == ["method.strength=3: method=lora has no such setting; those that have it: toy_settings"]


def test_a_methods_own_keys_are_in_the_identity_and_the_file(toy: tuple[str, ...]) -> None:
    words = (*toy, "method=toy_settings")
    configs = [complete(composed(*words, *more)) for more in ((), ("method.strength=3",), ("method.mode=hard",))]
    assert len({identity_hash(config, {}) for config in configs}) == 3
    assert "mode" not in identity_values(configs[0])["method"]
    for config in configs:
        read = parse_config(config_text(config))
        assert read == config
        assert identity_hash(read, {}) == identity_hash(config, {})


def test_help_shows_a_methods_own_keys(toy: tuple[str, ...]) -> None:
    text = "\n".join(key_lines("run", ["method=toy_settings"], everything=True))
    assert re.search(r"method\.strength=2 +how strongly it acts \(above 0, at most 10\)", text)
    assert "method.tinit" not in text
    assert "toy_settings" in group_choices("method")


def test_a_key_that_a_yaml_adds_and_no_method_declares_is_refused() -> None:
    section = LowRankConfig(name="lora")
    vars(section)["drpout"] = 0.1  # as Hydra sets a key that its schema lacks
    with pytest.raises(ValueError, match=r"method\.drpout is unknown; did you mean dropout"):
        in_entry_class(section, "method")
