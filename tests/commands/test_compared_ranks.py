"""`gelora ranks` with several plans: the measured choices of profiles, and the methods of saved signals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gelora_cli.commands.main import command_line
from gelora_cli.core.artifacts.signals import LinearWeight, WeightSignal
from gelora_cli.core.codec import write_artifact
from tests.helpers.rank_profiles import MINILM

BUDGET = "budget=rank:5"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Write two profiles, one of another pooling, and weights into a third directory."""
    other = replace(MINILM, settings=replace(MINILM.settings, pooling="cls"), layers=MINILM.layers)
    linears = [linear for block in MINILM.model_map.blocks for linear in block.linears]
    weights = tuple(LinearWeight(linear.name, 3.0 + number) for number, linear in enumerate(linears))
    signal = WeightSignal(model="minilm", linears=weights, model_map=MINILM.model_map, seconds=0.5)
    for name, artifact in (("mean", MINILM), ("cls", other), ("weights", signal)):
        (tmp_path / name).mkdir()
        write_artifact(artifact, tmp_path / name)
    return tmp_path


def ranks(*words: object) -> int:
    return command_line(["ranks", *map(str, words)])


def test_choices_are_side_by_side(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ranks(saved / "mean", saved / "cls" / "profile.json", saved / "mean", "choices=true", BUDGET) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["mean", "mean", "cls", "cls"]  # a profile that is given twice is one
    assert lines[1].split() == ["block", "N", "N/2", "N", "N/2"]
    assert [line.split()[0] for line in lines[2:8]] == list("123456")
    agreement = next(line for line in lines if line.startswith("agreement"))
    assert agreement.split()[1] == agreement.split()[3] == "1.00"
    assert any("mean n1=k: not in this profile; profile.scales=true" in line for line in lines)


def test_a_constant_layer_is_said_beside_the_plans(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layers = (replace(MINILM.layers[0], idim=0.0, constant=True), *MINILM.layers[1:])
    write_artifact(replace(MINILM, layers=layers), saved / "cls")
    assert ranks(saved / "cls", "choices=true", BUDGET) == 0
    assert "N: warning: layer 0 is constant" in capsys.readouterr().out
    assert ranks(saved / "cls", "allocators=gelora,reversed", BUDGET) == 0
    assert capsys.readouterr().out.count("warning: layer 0 is constant") == 1


def test_plans_of_methods_are_side_by_side(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ranks(saved / "mean", "allocators=gelora,lora,reversed", BUDGET) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].split() == ["gelora", "lora", "reversed"]
    gelora_row = next(line for line in printed.splitlines() if line.startswith("gelora  "))
    assert gelora_row.split()[1] == "1.00"
    assert "equal plans" not in printed
    # Rank 1 everywhere: nothing differs.
    assert ranks(saved / "mean", saved / "weights", "allocators=all", "budget=rank:1") == 0
    printed = capsys.readouterr().out
    assert "equal plans: gelora*, lora, shuffled" in printed
    assert "not shown: fisher needs gradients; " in printed
    assert "file" not in printed.split("\n\n")[0]  # it needs method.path


def test_a_plan_below_its_lower_bounds_is_marked(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ranks(saved / "mean", "choices=true", "budget=rank:1") == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].split() == ["block", "N*", "N/2*"]
    assert "*: below the lower bounds, which pass this budget (ranks.on_deficit=shrink)" in printed


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["mean", "cls"], "one plan has one PATH, 2 are given; choices=true"),
        (["mean", "choices=true", "allocators=lora"], "two comparisons; give one of them"),
        (["mean", "allocators=lora", "output=x.json"], "output=FILE holds one plan"),
        (["mean", "cls", "allocators=lora"], "different measurements of the signal idim"),
        (["mean", "allocators=gelor"], "allocators=gelor: not known; did you mean gelora?"),
        (["mean", "nowhere", "choices=true"], "nowhere: no such file or directory"),
        (["empty", "allocators=lora"], "is no file of a signal, nor a directory that holds one"),
        (
            ["weights", "allocators=gelora,reversed"],
            "gelora needs idim; reversed needs idim. Measure",
        ),
        (["."], ". holds profiles; give one of them, here the newest first:\n  "),
        (["mean", "choices=true", "method=eva"], "choices=true: method=eva doesn't follow the idim profile"),
        (["mean", "choices=true", "budget=100"], "N: budget="),
    ],
)
def test_what_does_not_go_together_is_one_message(
    saved: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(saved)
    (saved / "empty").mkdir()
    paths = [word if "=" in word else f"./{word}" for word in words]
    assert ranks(*paths, *([] if any("budget" in word for word in words) else [BUDGET])) == 2
    assert told in capsys.readouterr().err


def test_signals_of_another_model_are_refused(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signal = WeightSignal(model="other", linears=(), model_map=replace(MINILM.model_map, blocks=()), seconds=0.5)
    (saved / "other").mkdir()
    write_artifact(signal, saved / "other")
    assert ranks(saved / "mean", saved / "other", "allocators=lora", BUDGET) == 2
    assert "were measured on different models" in capsys.readouterr().err


def test_a_variant_is_said_and_its_file_is_for_peft(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ranks(saved / "mean", "allocators=gelora,lora", BUDGET, "method.variant=dora") == 0
    printed = capsys.readouterr().out
    assert "variant dora in all plans" in printed
    budget_params = 5 * 8 * 384 * 6  # rank 5 of plain LoRA on q, k, v and o of six blocks
    counted = next(line for line in printed.splitlines() if line.startswith("parameters")).split()[1:]
    assert all(int(cell.replace(",", "")) <= budget_params for cell in counted)
    pattern = tmp_path / "pattern.json"
    assert ranks(saved / "mean", BUDGET, "method.variant=dora", f"output={pattern}") == 0
    assert json.loads(pattern.read_text())["use_dora"] is True
    assert "PEFT trains plain LoRA" not in " ".join(capsys.readouterr().out.split())
    assert ranks(saved / "mean", BUDGET, "method.variant=pissa", f"output={pattern}", "force=true") == 0
    assert "with this file alone PEFT trains plain LoRA" in " ".join(capsys.readouterr().out.split())
