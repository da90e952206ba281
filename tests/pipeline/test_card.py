"""The Python lines of a model card, executed in its directory, for every kind of model and head."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from gelora_cli.allocation.planning import plan_method
from gelora_cli.config.schema import MethodConfig, ModelConfig, RunConfig, TaskConfig
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.directories import relative_to
from gelora_cli.core.registries import METHODS, TASK_KINDS
from gelora_cli.methods import load_adapter
from gelora_cli.methods.base import MethodContext
from gelora_cli.methods.updates.saved import describe_peft
from gelora_cli.models.heads import HeadSpec, LabelHead, ScoreHead, SpanHead
from gelora_cli.models.load import load_model
from gelora_cli.models.locate import resolve_model
from gelora_cli.models.tokenizer import load_tokenizer
from gelora_cli.pipeline.card import _loading
from gelora_cli.pipeline.card_facts import CardFacts
from tests.helpers.method_cases import profile_of
from tests.helpers.models import rewrite_json
from tests.helpers.tiny import KINDS, make_tiny

HEADS = {
    "classification": LabelHead(('it\'s "bad"', "```", "good\n")),
    "regression": ScoreHead(),
    "question_answering": SpanHead(),
}
TEXTS = ["the happy cat", "the old dog near the house"]
SECOND_TEXTS = ["the old house", "the cat"]


def card_gives_what_was_trained(
    base: Path, head: HeadSpec, run: Path, monkeypatch: pytest.MonkeyPatch, method: str = "lora"
) -> dict[str, Any]:
    """Attach, move and save an adapter, and compare the outputs on two pairs of texts.

    The card's lines load it, and so does `gelora predict`.
    """
    resolved = resolve_model(hub=None, path=str(base))
    loaded = load_model(resolved, head, seed=0)
    tokenizer = load_tokenizer(resolved, loaded.map.kind)
    lora_like = method == "lora"
    plan = plan_method(
        loaded.map,
        {"idim": profile_of(loaded.map)},
        parse_budget("rank:2"),
        method=method,
        seed=0,
        modules="attention",
        scaling=2.0 if lora_like else None,
        rule="growth+1",
        rounding="up",
        on_deficit="error",
    )
    attached = METHODS.get(method).attach(MethodContext(loaded.model, loaded.map, plan, MethodConfig.of(method), 0))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in attached.trainable().values():
            parameter.add_(torch.randn(parameter.shape) / 10)
    attached.save(run / "adapter")
    way = relative_to(base, run)
    kind = head.model_type.replace(" ", "_")
    describe_peft(run / "adapter", base=way, task_type=TASK_KINDS.get(kind).peft_type)
    labels = list(head.label_names) if isinstance(head, LabelHead) else []
    task = TaskConfig(name="mine", kind=kind, labels=labels)
    config = RunConfig(task=task, model=ModelConfig(path=str(base)), method=MethodConfig.of(method))
    text = _loading(CardFacts(config, "gelora run", way, lora_like, loaded.arguments), None)
    names: dict[str, Any] = {}
    with monkeypatch.context() as patch:
        patch.chdir(run)
        exec(text.split("```python\n")[1].rsplit("\n```", 1)[0], names)
    batch = dict(tokenizer(TEXTS, SECOND_TEXTS, padding=True, return_tensors="pt"))
    again = load_adapter(load_model(resolved, head, seed=0).model, run / "adapter")
    with torch.inference_mode():
        wanted = attached.model.eval()(**batch)
        outputs = [model.eval()(**batch) for model in (names["model"], again)]
    for name in ("start_logits", "end_logits") if kind == "question_answering" else ("logits",):
        for found in outputs:
            assert torch.allclose(found[name], wanted[name], atol=1e-5)
    if labels:
        assert names["base"].config.id2label == dict(enumerate(labels))
    return names


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_cards_lines_load_what_was_trained(
    tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, head: str
) -> None:
    card_gives_what_was_trained(tiny_models[kind], HEADS[head], tmp_path, monkeypatch)


@pytest.mark.parametrize("kind", ["roberta", "llama"])
def test_an_adapter_in_our_own_format_loads_by_its_card(
    tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    card_gives_what_was_trained(tiny_models[kind], HEADS["classification"], tmp_path, monkeypatch, method="full")


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", ["bert", "roberta", "llama"])
def test_a_base_with_a_head_of_another_size(
    tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, head: str
) -> None:
    base = resolve_model(hub=None, path=str(tiny_models[kind]))
    own = load_model(base, LabelHead(tuple("abcde")), seed=0)
    directory = tmp_path / "five labels"
    shutil.copytree(tiny_models[kind], directory)
    own.model.save_pretrained(directory)
    card_gives_what_was_trained(directory, HEADS[head], tmp_path / "run", monkeypatch)


def test_a_base_in_half_precision_and_under_an_odd_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModel

    directory = make_tiny("bert", tmp_path / "a \"name\" {with} (all) 'kinds' \\n")
    half = AutoModel.from_pretrained(directory, dtype=torch.bfloat16)
    half.save_pretrained(directory)
    rewrite_json(directory / "config.json", dtype="bfloat16")
    names = card_gives_what_was_trained(directory, HEADS["classification"], tmp_path / "run", monkeypatch)
    assert names["base"].dtype == torch.float32
