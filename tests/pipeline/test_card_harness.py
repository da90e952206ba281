"""The lines that write a text, and the command for lm-evaluation-harness, in the card of a run that generates text."""

from __future__ import annotations

from typing import Any

import pytest

from gelora_cli.config.schema import MethodConfig, ModelConfig, RunConfig, TaskConfig
from gelora_cli.pipeline.card_facts import CardFacts, Export
from gelora_cli.pipeline.card_harness import harness_text, writing_text


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


@pytest.mark.parametrize(
    ("facts", "export", "lines"),
    [
        ({}, None, ['from_pretrained("org/decoder")', 'tokenizer("A prompt."', "max_new_tokens=9"]),
        ({}, Export("merged", "run"), ['from_pretrained(".")']),
        ({"columns": ["messages"]}, None, ["apply_chat_template(turns, add_generation_prompt=True"]),
        ({"starts_from": ("earlier",)}, Export("merged", "run"), ['from_pretrained(".")']),
    ],
)
def test_the_card_says_how_to_write_a_text(facts: dict[str, Any], export: Export | None, lines: list[str]) -> None:
    columns, starts_from = facts.get("columns", []), facts.get("starts_from", ())
    task = TaskConfig(name="instruct", kind="generation", columns=columns, max_new_tokens=9)
    config = RunConfig(task=task, model=ModelConfig(), method=MethodConfig())
    known = CardFacts(config, "gelora run", "org/decoder", peft=True, starts_from=starts_from)
    text = writing_text(known, export)
    assert all(line in text for line in lines)
    compile(text.split("```python\n")[1].split("```")[0], "card", "exec")


def test_no_lines_where_the_card_loads_no_model_that_writes() -> None:
    task = TaskConfig(name="cola", kind="classification")
    config = RunConfig(task=task, model=ModelConfig(), method=MethodConfig())
    assert writing_text(CardFacts(config, "gelora run", "org/encoder", peft=True), None) == ""
