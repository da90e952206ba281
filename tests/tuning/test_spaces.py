"""The spaces that gelora ships fit every method; what is wrong with one is said all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from gelora_cli.config.checks import value_problems
from gelora_cli.config.key_values import with_values
from gelora_cli.config.schema import MethodConfig, RunConfig
from gelora_cli.config.shipped import config_dir
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import METHODS
from gelora_cli.tuning.points import DIMENSIONS, value_at
from gelora_cli.tuning.space import GROUP, parse_space, read_space, space_file
from tests.helpers.composed import composed

FILES = sorted((config_dir() / GROUP).glob("*.yaml"))


@pytest.mark.parametrize("method", METHODS.names())
def test_the_space_of_a_method_is_within_what_its_keys_accept(method: str) -> None:
    config: RunConfig = composed(f"method={method}")
    space = parse_space(read_space(space_file(config)), config, [])
    assert space[0].key == "train.learning_rate"
    assert {searched.key for searched in space} <= {*DIMENSIONS}
    for place in (0.0, 0.5, 1.0):
        values = {searched.key: value_at(searched, place) for searched in space}
        changed = with_values(config, values)
        assert value_problems(changed) == value_problems(config)
        assert changed.train.learning_rate == values["train.learning_rate"]


def test_every_space_is_some_methods() -> None:
    used = {space_file(RunConfig(method=MethodConfig.of(name, preset=preset))) for name, preset in families()}
    assert used | {config_dir() / GROUP / "common.yaml"} == {*FILES}


def families() -> list[tuple[str, str]]:
    return [(name, composed(f"method={name}").method.preset) for name in METHODS.names()]


def test_a_key_that_the_user_gave_is_not_searched() -> None:
    config = RunConfig()
    values = read_space(space_file(config))
    searched = parse_space(values, config, ["method.scaling"])
    assert [entry.key for entry in searched] == ["train.learning_rate", "method.dropout"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train.epoch: {low: 1, high: 2}", "train.epoch: unknown key, or one that is not searched; did you mean"),
        ("runs_dir: {choices: [a, b]}", "runs_dir: unknown key, or one that is not searched"),
        ("method.scaling: {low: 0.0, high: 2.0}", "method.scaling=0.0: accepted is a number above 0"),
        ("method.scaling: {low: 4.0, high: 2.0}", "method.scaling: low=4 is not below high=2"),
        ("method.scaling: {low: many, high: 2.0}", "method.scaling: many is no number"),
        ("method.scaling: 4.0", "method.scaling: 4.0 is no range; accepted: {low"),
        ("method.scaling: {low: 1.0}", "method.scaling: low or high is missing"),
        ("method.dropout: {low: 0.0, high: 0.5, log: true}", "method.dropout: low=0: a logarithmic scale needs"),
        ("method.dropout: {choices: [0.0, 1.5]}", "method.dropout=1.5: accepted is a number at least 0"),
        ("train.epochs: {low: 1, high: 2.5}", "train.epochs: low=1 high=2.5: it takes whole numbers"),
        ("method.modules: {choices: [attention, most]}", "method.modules=most: not known"),
        ("method.modules: {low: 1, high: 2}", "method.modules: it takes no number"),
        ("method.scaling: {choices: [4.0, 4.0]}", "method.scaling: {'choices': [4.0, 4.0]}: a choice is there twice"),
        ("method.scaling: {choices: [null, 4.0]}", "method.scaling: None is NoneType; accepted: float"),
        ("5: {low: 1, high: 2}", "5: unknown key"),
        ("data.holdout: {low: 0.1, high: 0.2}", "data.holdout: unknown key, or one that is not searched"),
        ("method.name: {choices: [lora, gelora]}", "method.name: unknown key, or one that is not searched"),
        ("budget: {choices: [0.1M, 0.2M]}", "budget: unknown key, or one that is not searched"),
    ],
)
def test_what_is_wrong_with_a_space_is_said(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(f"{line}\ntrain.batch_size: {{choices: [8]}}\n")
    with pytest.raises(GeloraError) as error:
        parse_space(read_space(file), RunConfig(), [])
    lines = str(error.value).split("\n")
    assert any(text.startswith(message) for text in lines), lines
    assert any(text.startswith("train.batch_size: ") and "two choices or more" in text for text in lines)
    assert any(text.startswith("train.learning_rate is not in it") for text in lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("defaults: [other]", "defaults name each other (space.yaml -> other.yaml -> space.yaml)"),
        (None, "is a directory; give a YAML file"),
    ],
)
def test_a_file_that_is_no_space_is_said(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "space.yaml"
    if text is None:
        file.mkdir()
    else:
        file.write_text(text)
    (tmp_path / "other.yaml").write_text("defaults: [space]")
    with pytest.raises(GeloraError) as error:
        read_space(file)
    assert message in str(error.value)
