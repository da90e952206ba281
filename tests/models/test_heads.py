"""Which head is taken over, and which is drawn from the seed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gelora_cli.models.block_map import is_inside
from gelora_cli.models.heads import LabelHead, LabelSetHead
from gelora_cli.models.load import LoadedModel, load_model
from gelora_cli.models.locate import ResolvedModel
from tests.helpers.models import LABELS, SCORE, SPAN, from_directory, rewrite_json
from tests.helpers.tiny import DECODERS, make_tiny
from tests.helpers.tiny import KINDS as TINY_KINDS

LABELS_AB = LabelHead(("a", "b"))


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_head_is_drawn_from_the_seed_and_leaves_no_trace(tiny: dict[str, ResolvedModel], kind: str) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = load_model(tiny[kind], LABELS, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    second, other = load_model(tiny[kind], LABELS, seed=1), load_model(tiny[kind], LABELS, seed=2)
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name])
    weight = f"{first.map.head_modules[-1]}.weight" if kind in DECODERS else None
    weight = weight or next(n for n, p in first.model.named_parameters() if n.startswith("classifier") and p.ndim == 2)
    assert not torch.equal(first.model.get_parameter(weight), other.model.get_parameter(weight))


def test_bert_without_pooler_draws_one_inside_the_backbone(tmp_path: Path) -> None:
    resolved = from_directory(make_tiny("bert", tmp_path, architecture="BertForMaskedLM"))
    map = load_model(resolved, LABELS, seed=1).map
    assert map.head_modules == ("bert.pooler", "classifier")
    assert map.head_params == 32 * 32 + 32 + 2 * 32 + 2
    assert load_model(resolved, SPAN, seed=1).map.head_modules == ("qa_outputs",)


HEADS = ("bert", "roberta", "deberta-v2", "electra", "llama")
OUTPUTS = {"bert": "classifier", "roberta": "classifier.out_proj", "deberta-v2": "classifier"}
OUTPUTS |= {"electra": "classifier.out_proj", "llama": "score"}


def saved_task_model(base: ResolvedModel, names: tuple[str, ...], directory: Path, **config: Any) -> ResolvedModel:
    """Write a classifier with these labels, whose head differs from one that is drawn."""
    loaded = load_model(base, LabelHead(names), seed=5)
    with torch.no_grad():
        for name in loaded.map.head_modules:
            for parameter in loaded.model.get_submodule(name).parameters():
                parameter.add_(torch.arange(parameter.numel()).reshape(parameter.shape) / 100)
    loaded.model.save_pretrained(directory)
    for file in base.directory.glob("*token*"):
        shutil.copy(file, directory)
    rewrite_json(directory / "config.json", **config)
    return from_directory(directory)


def head_tensors(loaded: LoadedModel) -> dict[str, torch.Tensor]:
    return {
        name: tensor for name, tensor in loaded.model.state_dict().items() if is_inside(name, loaded.map.head_modules)
    }


def equal_tensors(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", HEADS)
def test_a_saved_head_is_matched_by_the_names_of_its_labels(
    tiny: dict[str, ResolvedModel], tmp_path: Path, kind: str
) -> None:
    saved = saved_task_model(tiny[kind], ("Contradiction", "NEUTRAL", "entailment"), tmp_path)
    own = load_file(tmp_path / "model.safetensors")
    mnli = load_model(saved, LabelHead(("entailment", "neutral", "contradiction")), seed=2)
    output = OUTPUTS[kind]
    assert torch.equal(mnli.model.get_parameter(f"{output}.weight"), own[f"{output}.weight"][[2, 1, 0]])
    if f"{output}.bias" in own:
        assert torch.equal(mnli.model.get_parameter(f"{output}.bias"), own[f"{output}.bias"][[2, 1, 0]])
    assert "reordered from Contradiction, NEUTRAL, entailment" in mnli.head_origin
    assert mnli.model.config.id2label == {0: "entailment", 1: "neutral", 2: "contradiction"}
    same = load_model(saved, LabelHead(("contradiction", "neutral", "entailment")), seed=2)
    assert equal_tensors(head_tensors(same), {name: own[name] for name in head_tensors(same)})
    assert "same names" in same.head_origin


def test_a_rolled_order_is_not_mistaken_for_its_inverse(tiny: dict[str, ResolvedModel], tmp_path: Path) -> None:
    saved = saved_task_model(tiny["bert"], ("b", "c", "a"), tmp_path)
    own = load_file(tmp_path / "model.safetensors")["classifier.bias"]
    found = load_model(saved, LabelHead(("a", "b", "c")), seed=2)
    assert torch.equal(found.model.get_parameter("classifier.bias"), own[[2, 0, 1]])


def test_an_rte_head_serves_wnli(tiny: dict[str, ResolvedModel], tmp_path: Path) -> None:
    saved = saved_task_model(tiny["bert"], ("entailment", "not_entailment"), tmp_path)
    own = load_file(tmp_path / "model.safetensors")["classifier.weight"]
    wnli = load_model(saved, LabelHead(("not_entailment", "entailment")), seed=2)
    assert torch.equal(wnli.model.get_parameter("classifier.weight"), own[[1, 0]])


OTHERS: dict[str, tuple[tuple[str, ...], dict[str, Any], str]] = {
    "other names": (("one", "two"), {}, "is for one, two, not a, b"),
    "some of the names": (("a", "c"), {}, "is for a, c, not a, b"),
    "more names": (("a", "b", "c"), {}, "has not 2 rows"),
    "names that say nothing": (("LABEL_0", "LABEL_1"), {}, "names no labels"),
    "no names": (("a", "b"), {"id2label": None, "label2id": None}, "names no labels"),
    "names of other rows": (("a", "b"), {"id2label": {"0": "a", "2": "b"}}, "names no labels"),
    "one name twice": (("a", "b"), {"id2label": {"0": "a", "1": "A"}}, "is for a, A"),
    "fewer names than rows": (("a", "b"), {"id2label": {"0": "a"}, "problem_type": None}, "is for a, not a, b"),
}


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("name", OTHERS)
def test_a_head_for_other_labels_is_drawn_as_if_there_were_none(
    tiny: dict[str, ResolvedModel], tmp_path: Path, kind: str, name: str
) -> None:
    names, config, origin = OTHERS[name]
    found = load_model(saved_task_model(tiny[kind], names, tmp_path, **config), LABELS_AB, seed=2)
    bare = load_model(tiny[kind], LABELS_AB, seed=2)
    assert equal_tensors(head_tensors(found), head_tensors(bare))
    assert equal_tensors(dict(found.model.base_model.state_dict()), dict(bare.model.base_model.state_dict()))
    assert found.map == bare.map
    assert found.head_origin.startswith("drawn from the seed") and origin in found.head_origin
    assert bare.head_origin == "drawn from the seed: the weights hold none"


@pytest.mark.parametrize("saved_as", ["multi_label_classification", "single_label_classification", None])
def test_a_head_for_several_labels_takes_over_only_one_that_was_trained_so(
    tiny: dict[str, ResolvedModel], tmp_path: Path, saved_as: str | None
) -> None:
    saved = saved_task_model(tiny["bert"], ("b", "a"), tmp_path, problem_type=saved_as)
    own = load_file(tmp_path / "model.safetensors")["classifier.weight"]
    head = LabelSetHead(("a", "b"))
    found = load_model(saved, head, seed=2)
    taken = torch.equal(found.model.get_parameter("classifier.weight"), own[[1, 0]])
    assert taken is (saved_as == "multi_label_classification")
    assert (f"not trained for several labels (problem_type={saved_as} in" in found.head_origin) is not taken
    assert found.model.config.problem_type == "multi_label_classification"
    assert found.arguments["problem_type"] == "multi_label_classification"
    positional = load_model(saved, head, seed=2, positional=True)
    assert torch.equal(positional.model.get_parameter("classifier.weight"), own)


@pytest.mark.parametrize("names", [("LABEL_0", "LABEL_1"), ("one", "two"), ("b", "a")])
def test_positional_takes_the_rows_as_they_lie(
    tiny: dict[str, ResolvedModel], tmp_path: Path, names: tuple[str, ...]
) -> None:
    saved = saved_task_model(tiny["bert"], names, tmp_path)
    own = load_file(tmp_path / "model.safetensors")
    found = load_model(saved, LABELS_AB, seed=2, positional=True)
    assert torch.equal(found.model.get_parameter("classifier.weight"), own["classifier.weight"])
    assert "by position" in found.head_origin


def test_heads_without_labels_are_kept_where_they_fit(tiny: dict[str, ResolvedModel], tmp_path: Path) -> None:
    for head, output in ((SCORE, "classifier"), (SPAN, "qa_outputs")):
        first = load_model(tiny["bert"], head, seed=5)
        first.model.save_pretrained(tmp_path / output)
        shutil.copytree(tiny["bert"].directory, tmp_path / output, dirs_exist_ok=True, ignore=only_tokenizer)
        again = load_model(from_directory(tmp_path / output), head, seed=6)
        assert torch.equal(again.model.get_parameter(f"{output}.weight"), first.model.get_parameter(f"{output}.weight"))
        assert again.head_origin == "that of the weights"


def only_tokenizer(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name in ("config.json", "model.safetensors")]


def test_an_old_span_head_of_another_width_does_not_change_the_task(tmp_path: Path) -> None:
    resolved = from_directory(make_tiny("bert", tmp_path))
    rewrite_json(tmp_path / "config.json", id2label={str(index): f"LABEL_{index}" for index in range(5)})
    assert load_model(resolved, SPAN, seed=1).model.get_parameter("qa_outputs.weight").shape == (2, 32)


@pytest.mark.parametrize("names", [(), ("one",)])
def test_a_head_of_fewer_than_two_labels_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="label names"):
        LabelHead(names)
