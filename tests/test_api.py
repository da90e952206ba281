"""The three functions for other programs: the command's numbers, a model left alone, ranks that any trainer takes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from gelora_cli import lora_config, plan_ranks, profile_texts
from gelora_cli.commands.main import command_line
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.errors import GeloraError
from tests.helpers.rows import rows
from tests.helpers.tiny import make_tiny

TEXTS = [row["sentence"] for row in rows("cola", 60, seed=1)]
PAGE = Path(__file__).resolve().parent.parent / "docs" / "how-to" / "own-trainer.md"


def loaded(directory: Path, factory: Any = AutoModelForSequenceClassification) -> tuple[Any, Any]:
    return factory.from_pretrained(directory), AutoTokenizer.from_pretrained(directory)


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_the_numbers_are_those_of_the_commands(tiny_models: dict[str, Path], tmp_path: Path, kind: str) -> None:
    (tmp_path / "lines.txt").write_text("\n".join(TEXTS))
    given = [f"model.path={tiny_models[kind]}", f"runs_dir={tmp_path}", f"data.text={tmp_path / 'lines.txt'}"]
    more = ["precision=float32", "profile.max_examples=50", "profile.estimator=mle", "task.max_length=12"]
    assert command_line(["profile", "task=text", *given, *more]) == 0
    (directory,) = (tmp_path / ".profiles").iterdir()
    command = ["ranks", str(directory), "budget=auto", f"output={tmp_path / 'pattern.json'}"]
    assert command_line(command) == 0
    saved = read_artifact(IdProfile, directory / IdProfile.FILE)
    assert (saved.task, saved.examples_seen, saved.model_map.head_modules) == ("lines", 60, ())
    model, tokenizer = loaded(tiny_models[kind], AutoModelForCausalLM if kind == "llama" else AutoModel)
    mine = profile_texts(model, tokenizer, TEXTS, max_examples=50, estimator="mle", max_length=12)
    assert mine.layers == saved.layers
    assert mine.settings == saved.settings
    assert mine.data_fingerprint == saved.data_fingerprint
    assert mine.model_map.backbone_params == saved.model_map.backbone_params
    plan = plan_ranks(mine, "auto")
    pattern = json.loads((tmp_path / "pattern.json").read_text())
    assert list(plan.rank_pattern.values()) == list(pattern["rank_pattern"].values())


@pytest.mark.parametrize("control", [None, "untrained", "shuffled"])
def test_tokens_and_controls_have_the_numbers_of_the_command(
    tiny_models: dict[str, Path], tmp_path: Path, control: str | None
) -> None:
    (tmp_path / "lines.txt").write_text("\n".join(TEXTS))
    given = [f"model.path={tiny_models['bert']}", f"runs_dir={tmp_path}", f"data.text={tmp_path / 'lines.txt'}"]
    more = ["precision=float32", "profile.pooling=tokens", "profile.tokens=2", f"profile.control={control or 'null'}"]
    assert command_line(["profile", "task=text", *given, *more]) == 0
    model, tokenizer = loaded(tiny_models["bert"])
    mine = profile_texts(model, tokenizer, TEXTS, pooling="tokens", tokens=2, control=control)
    saved = [read_artifact(IdProfile, path) for path in tmp_path.glob(".profiles/*/profile.json")]
    (same,) = [profile for profile in saved if profile.settings == mine.settings]
    assert mine.layers == same.layers
    assert mine.settings.control == control


def test_the_model_is_left_as_it_was(tiny_models: dict[str, Path]) -> None:
    model, tokenizer = loaded(tiny_models["llama"], AutoModelForCausalLM)
    model.train()
    model.model.layers[1].eval()
    model.model.layers[0].requires_grad_(False)
    model.lm_head.weight.grad = torch.ones_like(model.lm_head.weight)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    random_state = torch.get_rng_state()
    profile_texts(model, tokenizer, TEXTS)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert not [name for name, p in model.named_parameters() if p.requires_grad is ("layers.0." in name)]
    assert bool((model.lm_head.weight.grad == 1).all())
    assert model.config.use_cache
    assert torch.equal(torch.get_rng_state(), random_state)
    ids = torch.tensor([tokenizer(TEXTS[0])["input_ids"]])
    model(input_ids=ids, labels=ids).loss.backward()  # nothing of the pass without gradients is in the way
    assert model.model.layers[1].self_attn.q_proj.weight.grad is not None


def test_a_plain_loop_learns_with_exactly_the_planned_ranks(tiny_models: dict[str, Path]) -> None:
    torch.manual_seed(0)  # of the head, which loading draws, and of the adapter's start: both decide how the loss falls
    model, tokenizer = loaded(tiny_models["bert"])
    plan = plan_ranks(profile_texts(model, tokenizer, TEXTS), 6_000, scaling=2.0, modules="all")
    assert plan.adapter_params <= 6_000
    assert len(set(plan.ranks)) > 1
    adapted: Any = get_peft_model(model, lora_config(plan, task_type="SEQ_CLS", lora_dropout=0.0))
    layers = {n: m for n, m in adapted.get_base_model().named_modules() if isinstance(m, LoraLayer)}
    assert {name: layer.lora_A["default"].out_features for name, layer in layers.items()} == plan.rank_pattern
    assert {layer.scaling["default"] for layer in layers.values()} == {2.0}
    counted = sum(p.numel() for name, p in adapted.named_parameters() if "lora_" in name)
    assert counted == plan.adapter_params
    batch = tokenizer(TEXTS[:32], padding=True, return_tensors="pt")
    labels = torch.tensor([text.count("e") % 2 for text in TEXTS[:32]])
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(60):
        loss = adapted(**batch, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_pairs_and_a_model_of_another_kind(tmp_path: Path) -> None:
    model, tokenizer = loaded(make_tiny("ernie", tmp_path), AutoModel)
    pairs = list(zip(TEXTS, reversed(TEXTS), strict=True))
    with pytest.raises(GeloraError, match=r"(?s)'ernie' is declared nowhere.*accept_map=True"):
        profile_texts(model, tokenizer, pairs)
    accepted = profile_texts(model, tokenizer, pairs, accept_map=True)
    assert [linear.role for linear in accepted.model_map.blocks[0].linears][-2:] == ["up", "down"]
    roles = {"query": "attention.self.query", "value": "attention.self.value"}
    found = profile_texts(model, tokenizer, pairs, blocks="encoder.layer", linears=roles)
    assert len(found.layers) == 4
    config = lora_config(plan_ranks(found, "auto", method="lora"))
    assert sorted(config.target_modules or ()) == sorted(plan_ranks(found, "auto").rank_pattern)


def test_wrong_input_is_named(tiny_models: dict[str, Path]) -> None:
    model, tokenizer = loaded(tiny_models["bert"])
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        ("a text", {}, "a list of strings"),
        ([], {}, "20 different ones"),
        (["one", ("two", "three")], {}, r"texts\[1\] is \('two', 'three'\)"),
        (["one", 5], {}, r"texts\[1\] is 5"),
        (["one", " "], {}, r"texts\[1\] is empty"),
        (["same"] * 60, {}, "needs at least"),
        (TEXTS, {"pooling": "max"}, "profile.pooling=max"),
        (TEXTS, {"scale": 4}, "profile.scale=4: .*gride"),
        (TEXTS, {"max_length": 1000}, "positions for 1 to 512"),
    ]
    for texts, settings, message in wrong:
        with pytest.raises(GeloraError, match=message):
            profile_texts(model, tokenizer, texts, **settings)
    assert not [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks]
    with pytest.raises(GeloraError, match="a Linear was given"):
        profile_texts(torch.nn.Linear(2, 2), tokenizer, TEXTS)  # type: ignore[arg-type]
    profile = profile_texts(model, tokenizer, TEXTS)
    with pytest.raises(GeloraError, match="the smallest possible is budget="):
        plan_ranks(profile, 10)
    with pytest.raises(GeloraError, match=r"bogus: no such option.*on_deficit"):
        plan_ranks(profile, "auto", bogus=1)
    with pytest.raises(GeloraError, match="method=adalora"):
        plan_ranks(profile, "auto", method="adalora")
    with pytest.raises(GeloraError, match="r, use_rslora: set by the plan"):
        lora_config(plan_ranks(profile, "auto"), r=8, use_rslora=True)
    with pytest.raises(GeloraError, match=r"variant=dara given; accepted: lora, rslora, dora"):
        plan_ranks(profile, "auto", variant="dara")
    with pytest.raises(GeloraError, match=r"variant=pissa starts from .*, which PEFT's arguments don't say"):
        lora_config(plan_ranks(profile, "auto", variant="pissa"))
    assert lora_config(plan_ranks(profile, "auto", variant="dora")).use_dora
    adapted = get_peft_model(model, lora_config(plan_ranks(profile, "auto")))
    for held in (adapted, adapted.get_base_model()):
        with pytest.raises(GeloraError, match=r"before PEFT|holds a LoRA adapter"):
            profile_texts(held, tokenizer, TEXTS)  # type: ignore[arg-type]


def test_the_example_of_the_docs_runs_as_it_stands(
    tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    (block,) = [code for code in blocks if "profile_texts" in code]
    (tmp_path / "DIR").symlink_to(tiny_models["bert"])
    (tmp_path / "lines.txt").write_text("\n".join(TEXTS))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(block, names)
    names["model"].save_pretrained("adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    shown = {name.replace("\\", ""): rank for name, rank in config["rank_pattern"].items()}
    assert len(shown) == 12
    assert names["plan"].rank_pattern == shown


def test_the_package_stays_light() -> None:
    code = "import sys, gelora_cli; gelora_cli.plan_ranks; sys.exit('torch' in sys.modules or 'peft' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        import gelora_cli

        gelora_cli.nothing  # noqa: B018
