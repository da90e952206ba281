"""`gelora ranks format=NAME`: what is written and said for other trainers, and what is refused before that."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from gelora_cli.allocation.saved_plan import read_plan
from gelora_cli.commands.main import command_line
from gelora_cli.core.codec import write_artifact
from gelora_cli.core.errors import GeloraError
from tests.helpers.plans import PROFILE


@pytest.fixture
def profile(tmp_path: Path) -> str:
    """Write the profile of a decoder."""
    model_map = replace(PROFILE.model_map, kind="llama")
    write_artifact(replace(PROFILE, model_map=model_map), tmp_path)
    return str(tmp_path / "profile.json")


def test_each_form_is_written_with_the_plan_beside_it(
    profile: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"peft": tmp_path / "peft.json", "axolotl": tmp_path / "ranks.yaml", "trl": tmp_path / "ranks.py"}
    shown = {}
    for name, file in files.items():
        assert command_line(["ranks", profile, "budget=rank:5", f"format={name}", f"output={file}", "force=true"]) == 0
        shown[name] = capsys.readouterr().out
    assert command_line(["ranks", profile, "budget=rank:5", f"output={tmp_path / 'default.json'}"]) == 0
    assert (tmp_path / "default.json").read_bytes() == files["peft"].read_bytes()
    plan = read_plan(str(files["peft"]))
    assert read_plan(str(tmp_path / "ranks.plan.json")) == plan
    pattern = json.loads(files["peft"].read_text())["rank_pattern"]
    assert yaml.safe_load(files["axolotl"].read_text())["lora_rank_pattern"] == pattern
    ast.parse(files["trl"].read_text())
    assert max(plan.ranks) == 12
    for text in shown.values():
        assert "to serve: the largest rank is 12; vLLM: max_lora_rank=16" in text
        assert "LLaMA-Factory 0.9.5 has no rank pattern, and Unsloth 2026.10.9" in text
        assert "is an encoder" not in text
    with pytest.raises(
        GeloraError, match=r"is for another trainer; give the plan beside it, ranks\.path=.*ranks\.plan\.json"
    ):
        read_plan(str(files["axolotl"]))
    assert f"ranks.path={files['peft']} " in shown["peft"]
    assert f"ranks.path={tmp_path / 'ranks.plan.json'} " in shown["trl"]
    assert "axolotl:  " in shown["axolotl"] and "for TRL:  " in shown["trl"]


def test_what_does_not_go_with_a_form(profile: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out.yaml"
    command = ["ranks", profile, "budget=rank:5", "format=axolotl"]
    assert command_line([*command, f"output={target}", "method.scaling=0.3"]) == 2
    assert "takes whole alphas only" in capsys.readouterr().err
    assert not target.exists() and not (tmp_path / "out.plan.json").exists()
    assert command_line([*command, "allocators=all"]) == 2
    assert "format=axolotl is of output=FILE" in capsys.readouterr().err
    assert command_line([*command[:-1], "format=axolotol"]) == 2
    assert "did you mean axolotl?" in capsys.readouterr().err
    assert command_line(command) == 0
    assert "output=FILE.yaml writes these ranks for axolotl" in capsys.readouterr().out
    target.write_text("mine")
    assert command_line([*command, f"output={target}"]) == 2
    assert target.read_text() == "mine"


def test_the_rank_to_serve_is_that_of_the_saved_adapter(
    profile: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["ranks", profile, "budget=rank:5", f"output={tmp_path / 'pattern.json'}", "method.variant=pissa"]
    assert command_line(command) == 0
    assert "the largest rank is 24; vLLM: max_lora_rank=32" in capsys.readouterr().out  # 2r, by which PiSSA is saved


def test_an_encoder_is_for_no_trainer_of_decoders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_artifact(PROFILE, tmp_path)
    command = ["ranks", str(tmp_path / "profile.json"), "budget=rank:5", f"output={tmp_path / 'out'}", "force=true"]
    assert command_line([*command, "format=trl"]) == 0
    assert "bert is an encoder, and TRL trains causal language models" in capsys.readouterr().out
    assert command_line(command) == 0
    shown = capsys.readouterr().out
    assert "is an encoder" not in shown
    assert "LLaMA-Factory" not in shown, "what loses a pattern trains decoders"


def test_no_warning_about_ranks_that_are_all_the_same(
    profile: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["ranks", profile, "method=lora", "budget=rank:9", f"output={tmp_path / 'out.json'}"]
    assert command_line(command) == 0
    shown = capsys.readouterr().out
    assert "vLLM: max_lora_rank=16" in shown
    assert "LLaMA-Factory" not in shown
