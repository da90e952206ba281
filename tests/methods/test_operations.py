"""The counts of operations from shapes, against torch's own count of the products that a real step computes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gelora_cli.allocation.planning import with_module_ranks
from gelora_cli.allocation.ranks import plan_ranks
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.registries import METHODS
from gelora_cli.data.batches import padded_load
from gelora_cli.models.operations import FORWARD_ONLY, Load, model_operations
from gelora_cli.models.shapes import read_shapes
from tests.helpers.flops import count_operations
from tests.helpers.method_cases import profile_of
from tests.helpers.rivals import Case, case
from tests.helpers.tiny import KINDS

TOLERANCE = 0.002
"""Relative: what is left out, such as the products of rotary positions, is less."""

CASES = [
    *[(kind, "lora", "attention") for kind in KINDS],
    *[(kind, "full", "attention") for kind in ("electra", "deberta-v2", "llama")],
    *[("deberta-v2", method, "all") for method in ("bitfit", "adalora", "sora", "houlsby", "pfeiffer")],
    ("bert", "adalora", "all"),
    ("qwen2", "bitfit", "attention"),  # whose norms have no bias
]


def counted_by_torch(found: Case, *, train: bool) -> int:
    """Return torch's count of a forward pass and, in training, of its way back with the method's own loss."""
    attached = found.attach() if train else None
    model = found.loaded.model if attached is None else attached.model

    def run() -> None:
        loss = model(**found.inputs).logits.float().sum()
        if attached is not None:
            extra = attached.extra_loss() if attached.extra_loss else 0.0
            (loss + extra).backward()

    return count_operations(run)


def load_of(found: Case) -> Load:
    lengths = found.inputs["attention_mask"].sum(1).numpy()
    return padded_load(lengths, [np.arange(len(lengths))])


@pytest.mark.parametrize(("kind", "method", "modules"), CASES)
def test_a_step_costs_what_torch_counts(tiny_models: dict[str, Path], kind: str, method: str, modules: str) -> None:
    found = case(tiny_models[kind], method, kind=kind, modules=modules)
    shapes = read_shapes(found.loaded.model, found.loaded.map)
    load = load_of(found)
    work = METHODS.get(method).work(found.request.plan, found.loaded.map, found.request.settings)
    reading = model_operations(shapes, load, FORWARD_ONLY)
    training = model_operations(shapes, load, work, steps=1)
    assert reading == pytest.approx(counted_by_torch(found, train=False), rel=TOLERANCE)
    assert training == pytest.approx(counted_by_torch(found, train=True), rel=TOLERANCE)


@pytest.mark.parametrize("kind", ["bert", "deberta-v2", "llama"])
@pytest.mark.parametrize("variant", ["dora", "pissa"])
def test_a_variant_costs_what_torch_counts(tiny_models: dict[str, Path], kind: str, variant: str) -> None:
    found = case(tiny_models[kind], "lora", kind=kind, variant=variant)
    plan = plan_ranks(profile_of(found.loaded.map), parse_budget("6000"), variant=variant)
    found = replace(found, request=replace(found.request, plan=plan))
    work = METHODS.get("lora").work(found.request.plan, found.loaded.map, found.request.settings)
    training = model_operations(read_shapes(found.loaded.model, found.loaded.map), load_of(found), work, steps=1)
    assert training == pytest.approx(counted_by_torch(found, train=True), rel=TOLERANCE)


@pytest.mark.parametrize("kind", ["bert", "deberta-v2", "llama"])
@pytest.mark.parametrize("ranks", [{"key": 2}, {"value": 3, "down": 1}])
def test_no_gradient_goes_below_the_first_adapted_linear(
    tiny_models: dict[str, Path], kind: str, ranks: dict[str, int]
) -> None:
    found = case(tiny_models[kind], "lora", kind=kind, modules="all")
    model_map = found.loaded.map
    by_name = {linear.name: ranks.get(linear.role, 0) for linear in model_map.blocks[1].linears}
    plan = with_module_ranks(found.request.plan, model_map, by_name)
    found = replace(found, request=replace(found.request, plan=plan))
    work = METHODS.get("lora").work(plan, model_map, found.request.settings)
    training = model_operations(read_shapes(found.loaded.model, model_map), load_of(found), work, steps=1)
    assert training == pytest.approx(counted_by_torch(found, train=True), rel=TOLERANCE)
