"""Frozen weights stored in bfloat16: what is stored so, and that the model computes as with the same float32 weights.

Four bits are in `test_four_bits.py`, since they need an extra.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gelora_cli.models.heads import LanguageHead
from gelora_cli.models.load import load_model
from gelora_cli.models.quantized import Bf16Linear, linear_weight, store_weights, weight_count
from tests.helpers.method_cases import inputs_of
from tests.helpers.models import from_directory, rewrite_weights
from tests.helpers.stored import make_published_in_bf16, stored_and_dense
from tests.helpers.tiny import CONFIGS, DECODERS, make_tiny
from tests.helpers.tiny_decoders import MORE_DECODERS
from tests.helpers.variant_matrix import fresh, labels_of_sentences, logits

KINDS = ("bert", "deberta-v2", "qwen3", "gpt2")
SCALED = ("gemma", "gemma2", "gemma3_text")
"""Kinds that multiply their embeddings by a number, in the type of their weights: the product is rounded, too."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in CONFIGS if kind not in SCALED])
def test_every_kind_computes_the_same_with_bf16_weights(kind: str, tmp_path: Path) -> None:
    directory = make_tiny(kind, tmp_path)
    stored, dense = stored_and_dense(directory, "bf16")
    inputs = inputs_of(directory, kind)
    assert torch.equal(logits(stored.model, inputs), logits(dense.model, inputs))


@pytest.mark.parametrize("tied", [True, False])
def test_the_head_of_a_language_model_is_stored_with_the_embeddings(tied: bool, tmp_path: Path) -> None:
    directory = make_tiny("qwen3", tmp_path, layers=1, changes={"tie_word_embeddings": tied})
    loaded = load_model(from_directory(directory), LanguageHead(), seed=0)
    before = loaded.map
    stored = store_weights(loaded, "bf16", torch.device("cpu"))
    model: Any = stored.model
    assert isinstance(model.lm_head, Bf16Linear) and stored.outside_blocks == ("lm_head",)
    assert (model.lm_head.weight is model.get_input_embeddings().weight) == tied
    assert sum(parameter.numel() for parameter in model.parameters()) == before.backbone_params
    assert model(**inputs_of(directory, "qwen3")).logits.dtype == torch.float32


@pytest.mark.parametrize(
    "kind", ["llama", *(pytest.param(kind, marks=pytest.mark.slow) for kind in (*DECODERS[1:], *MORE_DECODERS))]
)
def test_a_model_loaded_as_it_was_published_is_stored_as_one_loaded_in_float32(kind: str, tmp_path: Path) -> None:
    directory = make_published_in_bf16(kind, tmp_path)
    models: list[Any] = []
    for as_published in (False, True):
        loaded = load_model(from_directory(directory), LanguageHead(), seed=0, as_published=as_published)
        types = {parameter.dtype for parameter in loaded.model.parameters()}
        assert types == {torch.bfloat16 if as_published else torch.float32}
        models.append(store_weights(loaded, "bf16", torch.device("cpu")).model)
    one, other = ({**dict(model.named_parameters()), **dict(model.named_buffers())} for model in models)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        if name.endswith("embed_scale"):  # of Gemma, which rounds it to the type of the embeddings at each use
            continue
        assert tensor.dtype == other[name].dtype and torch.equal(tensor, other[name]), name
    inputs = inputs_of(directory, kind)
    assert torch.equal(logits(models[0], inputs), logits(models[1], inputs))


def test_weights_that_are_not_all_in_bf16_are_loaded_in_float32(tmp_path: Path) -> None:
    # This holds whatever config.json says: in bfloat16 its norms would be rounded.
    directory = make_published_in_bf16("llama", tmp_path)
    rewrite_weights(directory, lambda tensors: tensors | {"model.norm.weight": torch.full((32,), 1.001)})
    loaded = load_model(from_directory(directory), LanguageHead(), seed=0, as_published=True)
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}
    assert float(loaded.model.get_parameter("model.norm.weight").detach()[0]) == pytest.approx(1.001)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_bf16_weights_compute_what_the_same_weights_in_float32_do(kind: str, precision: str, tmp_path: Path) -> None:
    directory = make_tiny(kind, tmp_path)
    results = []
    for loaded in stored_and_dense(directory, "bf16"):
        model: Any = loaded.model
        model.eval().requires_grad_(False)
        # A gradient that has passed through every block: that of a norm's weight before the first linears.
        first = next(module for module in model.modules() if "norm" in type(module).__name__.lower())
        first.weight.requires_grad_(True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            logits = model(**inputs_of(directory, kind)).logits
            nn.functional.cross_entropy(logits.float(), labels_of_sentences()).backward()  # type: ignore[no-untyped-call]
        results.append((logits.detach(), first.weight.grad))
    (stored, gradient), (dense, wanted) = results
    assert torch.equal(stored, dense)
    torch.testing.assert_close(gradient, wanted, atol=1e-7, rtol=1e-5)
    assert float(wanted.abs().max()) > 1e-6


def test_only_linears_of_blocks_and_embeddings_are_stored(tmp_path: Path) -> None:
    directory = make_tiny("bert", tmp_path)
    stored, dense = stored_and_dense(directory, "bf16")
    types = {name: parameter.dtype for name, parameter in stored.model.named_parameters()}
    half = {name for name, dtype in types.items() if dtype == torch.bfloat16}
    weights = {f"{linear.name}.weight" for block in stored.map.blocks for linear in block.linears}
    assert half == weights | {"bert.embeddings.word_embeddings.weight"}
    assert {*types.values()} == {torch.float32, torch.bfloat16}
    assert stored.outside_blocks == ("bert.pooler.dense", "classifier")
    exact = fresh(directory)
    assert stored.map == exact.map  # counts and shapes are those of the model
    for block in stored.map.blocks:
        for linear in block.linears:
            module: Any = stored.model.get_submodule(linear.name)
            assert isinstance(module, Bf16Linear)
            assert weight_count(module) == linear.in_features * linear.out_features
            weight = exact.model.get_parameter(f"{linear.name}.weight")
            assert linear_weight(module).dtype == torch.float32
            torch.testing.assert_close(linear_weight(module), weight, atol=0, rtol=2.0**-8)
    assert not torch.equal(dense.model.get_parameter(min(weights)), exact.model.get_parameter(min(weights)))


def test_the_output_can_be_added_to_in_place_and_may_have_any_shape() -> None:
    # AdaLoRA's layers do so, and a head may read one vector per example.
    base = nn.Linear(4, 3)
    stored = Bf16Linear(base, base.weight.detach().bfloat16())
    x = torch.randn(2, 5, 4, requires_grad=True)
    output = stored(x)
    output += 1.0
    output.sum().backward()
    assert x.grad is not None and torch.equal(x.grad[0, 0], linear_weight(stored).sum(0))
    for shape in ((4,), (2, 4), (2, 5, 6, 4)):
        assert stored(torch.randn(shape)).shape == (*shape[:-1], 3)


def test_a_stored_weight_that_should_train_is_an_error(tmp_path: Path) -> None:
    directory = make_tiny("qwen3", tmp_path, layers=1)
    stored, _ = stored_and_dense(directory, "bf16")
    name = stored.map.blocks[0].linears[0].name
    stored.model.get_parameter(f"{name}.weight").requires_grad_(True)
    with pytest.raises(RuntimeError, match="is frozen"):
        stored.model(**inputs_of(directory, "qwen3"))
