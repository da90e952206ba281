"""The command for lm-evaluation-harness in the model card of a run that generates text."""

from __future__ import annotations

from typing import Any

import pytest

from gelora_cli.config.schema import MethodConfig, ModelConfig, RunConfig, TaskConfig
from gelora_cli.pipeline.card_facts import CardFacts, Export
from gelora_cli.pipeline.card_harness import harness_text


def text_of(base: str = "org/decoder", kind: str = "generation", export: Export | None = None, **facts: Any) -> str:
    config = RunConfig(task=TaskConfig(name="instruct", kind=kind), model=ModelConfig(), method=MethodConfig())
    return harness_text(CardFacts(config, "gelora run", base, **({"peft": True} | facts)), export)


@pytest.mark.parametrize(
    ("base", "export", "arguments"),
    [
        ("org/decoder", None, "pretrained=org/decoder,peft=adapter"),
        ("org/decoder", Export("adapter", "run"), "pretrained=org/decoder,peft=."),
        ("org/decoder", Export("merged", "run"), "pretrained=."),
        ("../my models/toy", None, "'pretrained=../my models/toy,peft=adapter'"),
    ],
)
def test_the_command_names_what_lies_beside_the_card(base: str, export: Export | None, arguments: str) -> None:
    assert f"\nlm_eval --model hf --model_args {arguments} --tasks gsm8k\n" in text_of(base, export=export)


def test_no_command_where_the_harness_could_not_load_the_run() -> None:
    assert text_of(kind="classification") == ""
    assert text_of(peft=False) == ""
    assert text_of(starts_from=("earlier",)) == ""
    assert text_of("dir,peft=other") == ""
