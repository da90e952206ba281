"""Models whose blocks run several times: which layers belong to which block, and everything that asks for that."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AlbertConfig, AlbertForSequenceClassification

from gelora_cli.allocation.formatting import format_plan
from gelora_cli.allocation.growth import block_growths, growing_layers
from gelora_cli.allocation.layer_checks import constant_layers_text, layer_warnings
from gelora_cli.allocation.planning import plan_method
from gelora_cli.allocation.ranks import plan_ranks
from gelora_cli.core.artifacts.model_map import BlockMap, ModelMap
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.codec import from_json, to_json
from gelora_cli.core.distributed import Device
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import MODEL_KINDS, SIGNALS
from gelora_cli.data.collate import collate
from gelora_cli.data.encoding import EncodedSplit
from gelora_cli.geometry.jacobians import block_calls
from gelora_cli.geometry.pooling import make_pooling
from gelora_cli.geometry.profiling import pooled_states
from gelora_cli.models.block_map import block_modules, layer_modules, map_model
from gelora_cli.models.operations import FORWARD_ONLY, Load, UpdateWork, model_operations
from gelora_cli.models.shapes import read_shapes
from gelora_cli.plots.run_profile import profile_figure
from gelora_cli.plots.run_ranks import ranks_figure
from gelora_cli.signals.base import SignalContext
from gelora_cli.signals.gradients import draw_batches
from tests.helpers.gradient_contexts import batch_gradients, direct_numbers, labelled_context
from tests.helpers.method_cases import loaded_and_plan, profile_of
from tests.helpers.models import from_directory, refusal
from tests.helpers.rank_profiles import make_profile
from tests.helpers.signal_contexts import signal_context
from tests.helpers.tiny import SENTENCES, make_tiny
from tests.helpers.tiny_encoders import ALBERT_GROUPS


def albert(**changes: Any) -> AlbertForSequenceClassification:
    sizes: dict[str, Any] = {"hidden_size": 16, "embedding_size": 8, "num_attention_heads": 2, "intermediate_size": 24}
    model = AlbertForSequenceClassification(AlbertConfig(vocab_size=50, **(sizes | changes)))
    model.eval()  # type: ignore[no-untyped-call]
    return model


@pytest.fixture(scope="module")
def two_groups(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a model of five passes: three through block 1, and two through block 2."""
    return make_tiny("albert", tmp_path_factory.mktemp("albert"), layers=5, changes=ALBERT_GROUPS)


@pytest.fixture(scope="module")
def context(two_groups: Path) -> SignalContext:
    return signal_context(two_groups, "albert", [f"{text} {number}" for number in range(3) for text in SENTENCES])


def shared_profile(idims: tuple[float, ...], passes: tuple[tuple[int, ...], ...]) -> IdProfile:
    """Return a profile whose blocks produce these layers."""
    profile = make_profile(idims)
    blocks = [replace(block, passes=layers) for block, layers in zip(profile.model_map.blocks, passes, strict=False)]
    return replace(profile, model_map=replace(profile.model_map, blocks=tuple(blocks)))


@pytest.mark.parametrize(("layers", "groups"), [(3, 1), (5, 2), (7, 3), (12, 5), (4, 4)])
def test_the_declared_passes_are_those_that_the_model_makes(layers: int, groups: int) -> None:
    model = albert(num_hidden_layers=layers, num_hidden_groups=groups)
    order: list[int] = []
    for index, block in enumerate(model.albert.encoder.albert_layer_groups, start=1):
        block.register_forward_hook(lambda *_, index=index: order.append(index))
    model(torch.ones(1, 3, dtype=torch.long))
    model_map = map_model(model, head_modules=("classifier",))
    assert [block.index for block in model_map.layers] == order
    assert model_map.shares_blocks == (layers > groups)
    assert layer_modules(model, model_map) == [block_modules(model, model_map)[index - 1] for index in order]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"inner_group_num": 2}, "each group of shared weights holds 2 different layers"),
        ({"num_hidden_groups": 4}, "1 to"),
        ({"num_hidden_groups": None}, "can't be null"),
    ],
)
def test_groups_that_no_rank_fits_are_refused_by_the_configuration_alone(changes: dict[str, Any], named: str) -> None:
    config = AlbertConfig(num_hidden_layers=3).to_dict() | changes  # as a config.json, of which nothing is known
    assert named in MODEL_KINDS.get("albert").structure_problem(config)


def test_inner_groups_are_refused_when_inputs_are_resolved(tmp_path: Path) -> None:
    from gelora_cli.models.structure import check_structure

    directory = make_tiny("albert", tmp_path, changes={"inner_group_num": 2})
    assert "inner_group_num=2" in refusal(check_structure, from_directory(directory))


def test_states_are_those_of_every_pass(context: SignalContext) -> None:
    split, model = context.examples(), context.model
    pooling = make_pooling("mean", split, tokens=None, seed=0, special_ids=())
    layers = layer_modules(model, context.model_map)
    states = pooled_states(
        model, layers, split, pooling, batch_size=8, pad_token_id=0, accelerator=Device(model.device)
    )
    batch = collate(split, np.arange(len(split)), 0, model.device)
    mask = batch.inputs["attention_mask"][..., None]
    with torch.no_grad():
        hidden = model.base_model(**batch.inputs, output_hidden_states=True).hidden_states
    # ALBERT reports what its blocks return; layer 0 is the input of the first, behind the mapping of the embeddings.
    assert len(states) == 6
    for layer in range(1, 6):
        mean = (hidden[layer] * mask).sum(1) / mask.sum(1)
        assert np.allclose(states[layer], mean.numpy(), atol=1e-5)
    assert len({states[layer].tobytes() for layer in range(6)}) == 6


def test_blocks_that_run_more_often_than_the_map_says_are_refused(context: SignalContext) -> None:
    split, pooling = context.examples(), make_pooling("mean", context.examples(), tokens=None, seed=0, special_ids=())
    blocks = block_modules(context.model, context.model_map)
    with pytest.raises(GeloraError, match="the 2 blocks of the map ran 5 times in one forward pass, not 2 times"):
        pooled_states(
            context.model, blocks, split, pooling, batch_size=8, pad_token_id=0, accelerator=Device(torch.device("cpu"))
        )


def test_a_jacobian_of_each_pass_can_be_taken(context: SignalContext) -> None:
    inputs = collate(context.examples(), np.array([0]), 0, torch.device("cpu")).inputs
    calls = block_calls(context.model.base_model, layer_modules(context.model, context.model_map), inputs)
    assert len(calls) == 5
    assert not any(torch.equal(one.hidden, other.hidden) for one, other in itertools.combinations(calls, 2))


def test_inputs_of_all_passes_make_one_spectrum(context: SignalContext, tmp_path: Path) -> None:
    from gelora_cli.geometry.states import StateStore

    measured = SIGNALS.get("activations").measure(replace(context, store=StateStore(tmp_path)))
    name = f"{context.model_map.blocks[0].name}.albert_layers.0.ffn"
    read: list[torch.Tensor] = []
    split: EncodedSplit = context.examples()
    handle = context.model.get_submodule(name).register_forward_pre_hook(lambda _, args: read.append(args[0]))
    for row in range(len(split)):
        with torch.no_grad():
            context.model(**collate(split, np.array([row]), 0, torch.device("cpu")).inputs)
    handle.remove()
    assert len(read) == 3 * len(split)
    vectors = torch.cat([hidden[0] for hidden in read]).double()  # (passes * tokens, D)
    eigenvalues = torch.linalg.eigvalsh(torch.cov(vectors.T)).flip(0)
    row = next(row for row in measured.inputs if name in row.names)
    assert row.spectrum.explained[:3] == pytest.approx((eigenvalues / eigenvalues.sum()).tolist()[:3], rel=1e-4)


def test_a_step_costs_what_torch_counts(two_groups: Path) -> None:
    loaded, _ = loaded_and_plan(two_groups)
    model: Any = loaded.model
    model_map = loaded.map
    for parameter in model.albert.parameters():
        parameter.requires_grad_(False)
    trained = [linear for linear in model_map.blocks[1].linears if linear.role == "value"]
    model.get_parameter(f"{trained[0].name}.weight").requires_grad_(True)
    inputs = {"input_ids": torch.ones(2, 7, dtype=torch.long), "attention_mask": torch.ones(2, 7, dtype=torch.long)}
    shapes = read_shapes(model, model_map)
    assert [linear.name for linear in shapes.before] == ["albert.encoder.embedding_hidden_mapping_in"]
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(**inputs)
        assert model_operations(shapes, Load.of_batch(2, 7), FORWARD_ONLY) == counter.get_total_flops()
    # A shared block costs its products in each of its passes: three times block 1, twice block 2.
    once = replace(shapes, blocks=tuple(replace(block, passes=()) for block in shapes.blocks))
    alike = model_operations(shapes, Load.of_batch(2, 7), FORWARD_ONLY)
    assert alike > 2 * model_operations(once, Load.of_batch(2, 7), FORWARD_ONLY)
    assert model_operations(shapes, Load.of_batch(2, 7), UpdateWork(trains_weights=True)) > 2 * alike


def test_a_blocks_growth_is_the_largest_over_its_passes() -> None:
    # Growths of the layers: 1, 0, 2.5, 0.5, 3 and 0.
    profile = shared_profile((5.0, 6.0, 4.0, 6.5, 7.0, 10.0, 9.0), ((1, 2, 3), (4,), (5, 6)))
    assert block_growths(profile) == (Fraction(5, 2), Fraction(1, 2), Fraction(3))
    assert growing_layers(profile) == (3, 4, 5)
    plan = plan_ranks(profile, parse_budget("auto"))
    assert [(row.idim_in, row.idim_out, row.growth) for row in plan.blocks] == [
        (4, 6.5, 2.5),
        (6.5, 7, 0.5),
        (7, 10, 3),
    ]
    assert [row.passes for row in plan.blocks] == [(1, 2, 3), (4,), (5, 6)]
    assert plan.ranks == plan.auto_ranks == (4, 2, 4)
    cost = sum(linear.unit_params for linear in profile.model_map.blocks[0].linears)
    assert plan.adapter_params == 10 * cost  # a rank is paid once, however often its block runs
    # The intervals are 1 wide: at their ends each growth is smaller or larger by 1.
    ends = [(row.rank_low, row.rank_high) for row in plan.blocks]
    assert ends == [(3, 5), (1, 3), (3, 5)]


def test_passes_that_are_not_in_order_are_paired_by_their_layers() -> None:
    profile = shared_profile((5.0, 6.0, 4.0, 6.5, 7.0), ((1, 3), (2, 4)))
    assert block_growths(profile) == (Fraction(5, 2), Fraction(1, 2))
    assert "block 1: 2 times, layers 1 and 3" in format_plan(plan_ranks(profile, parse_budget("rank:4")))


@pytest.mark.parametrize("method", ["gelora", "lora", "shuffled", "random", "reversed", "depth"])
def test_controls_give_every_block_a_rank(method: str) -> None:
    profile = shared_profile((5.0, 6.0, 4.0, 6.5, 7.0, 10.0, 9.0), ((1, 2, 3), (4,), (5, 6)))
    plan = plan_method(profile.model_map, {"idim": profile}, parse_budget("rank:4"), method=method)
    assert len(plan.ranks) == 3 and sum(plan.ranks) == 12


def test_weak_layers_name_the_blocks_that_they_enter() -> None:
    profile = shared_profile((5.0, 6.0, 4.0, 6.5, 7.0), ((1, 2, 3), (4,)))
    constant = [replace(row, idim=0.0, constant=row.layer in (0, 3)) for row in profile.layers]
    profile = replace(profile, layers=tuple(constant))
    first, second = layer_warnings(profile)
    assert "layer 0 is constant" in first and "the growth of block 1 says" in first
    assert "layer 3 is constant" in second and "the growth of blocks 1 and 2 says" in second
    assert constant_layers_text(profile) == "layers 0 and 3 are 0 by definition and decide blocks 1 and 2"


def test_one_block_says_that_its_rank_can_only_be_uniform() -> None:
    model_map = map_model(albert(num_hidden_layers=3), head_modules=("classifier",))
    text = format_plan(plan_ranks(profile_of(model_map), parse_budget("rank:4")))
    assert "Blocks run several times with the same weights (block 1: 3 times, layers 1 to 3)" in text
    assert "With one block, ranks by block can only be the uniform ones." in text
    assert "paid once" in text


def test_pictures_say_which_layers_belong_to_which_block() -> None:
    profile = shared_profile((5.0, 6.0, 4.0, 6.5, 7.0), ((1, 2, 3), (4,)))
    (axis,) = profile_figure(profile).axes
    assert Counter(text.get_text() for text in axis.texts) & Counter(["block 1", "block 2"]) == Counter(
        ["block 1", "block 2"]
    )
    assert "i-th pass" in axis.get_xlabel()
    axes = ranks_figure(plan_ranks(profile, parse_budget("rank:4"))).axes
    assert [label.get_text() for label in axes[-1].get_xticklabels()] == ["1\nlayers 1 to 3", "2\nlayer 4"]


def test_an_artifact_that_is_older_than_passes_is_read_as_it_was() -> None:
    profile = make_profile((5.0, 6.0, 4.0))
    old = to_json(profile).replace(',\n        "passes": []', "")
    assert "passes" not in old
    read = from_json(IdProfile, old, verify=False)
    assert read == profile
    assert [block.layers for block in read.model_map.blocks] == [(1,), (2,)]


def test_the_declared_list_named_by_hand_has_its_passes(two_groups: Path) -> None:
    loaded, _ = loaded_and_plan(two_groups)
    for name in ("encoder.albert_layer_groups", "albert.encoder.albert_layer_groups"):
        linears = {"query": "albert_layers.0.attention.query"}
        model_map = map_model(loaded.model, blocks=name, linears=linears, head_modules=("classifier",))
        assert [block.passes for block in model_map.blocks] == [(1, 2, 3), (4, 5)]


def test_gradients_of_all_passes_add_up(two_groups: Path, glue_dir: Path, tmp_path: Path) -> None:
    words = ("task=cola", f"model.path={two_groups}", f"data.glue={glue_dir}", "profile.gradient_batches=10")
    context = labelled_context(tmp_path, *words, "profile.gradient_batch_size=2", "profile.max_examples=40")
    measured = SIGNALS.get("gradients").measure(context)
    gradients = batch_gradients(context, draw_batches(len(context.examples()), context.profile))
    for row in measured.linears:
        weight = context.model.get_parameter(f"{row.name}.weight")
        direct = direct_numbers(weight, [batch[row.name] for batch in gradients])
        assert row.numbers.importance == pytest.approx(direct.importance, rel=1e-4)
        assert row.numbers.fisher == pytest.approx(direct.fisher, rel=1e-4)


def test_the_map_of_blocks_that_run_once_is_their_list() -> None:
    blocks = tuple(BlockMap(index, f"layer.{index}", ()) for index in (1, 2, 3))
    model_map = ModelMap("bert", blocks, (), 0, 0)
    assert model_map.layers == blocks and not model_map.shares_blocks
