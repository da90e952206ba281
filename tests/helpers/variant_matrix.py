"""What holds of every variant of LoRA, on a tiny model: its plan, its start, its training, and what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from gelora_cli.allocation.ranks import plan_ranks
from gelora_cli.config.schema import PlannedLoraConfig
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.registries import METHODS
from gelora_cli.methods.base import AdaptedModel, MethodContext
from gelora_cli.methods.updates.merging import merge_adapter
from gelora_cli.models.load import LoadedModel, load_model
from tests.helpers.method_cases import HEAD, inputs_of, profile_of
from tests.helpers.models import found_names, from_directory
from tests.helpers.tiny import SENTENCES

VARIANTS = ("lora", "rslora", "dora", "pissa", "lora_ga")
BUDGET = "rank:5"
STEPS = 3


@dataclass(frozen=True)
class VariantCheck:
    """Largest differences of logits, and the plan.

    Attributes:
        start: before the first step, from the base model.
        moved: after the steps, from the base model; what the others are small beside.
        reloaded: of PEFT's own reload of the saved adapter, from the trained model.
        merged: of the merged model, from the trained model.
        updates: of the weights that `updates()` gives, from those of the merged model.
    """

    plan: RankPlan
    start: float
    moved: float
    reloaded: float
    merged: float
    updates: float


def check_variant(directory: Path, kind: str, variant: str, work: Path, **settings: Any) -> VariantCheck:
    """Plan, attach, train a few steps, save, reload by plain PEFT, merge; assert what holds of every variant."""
    inputs = inputs_of(directory, kind)
    loaded = fresh(directory)
    base = logits(loaded.model, inputs)
    weights = {name: tensor.detach().clone() for name, tensor in loaded.model.named_parameters()}
    method = PlannedLoraConfig(variant=variant, **settings)
    plan = plan_ranks(profile_of(loaded.map), parse_budget(BUDGET), variant=variant)
    assert len(plan.ranks) == 1 or len(set(plan.ranks)) > 1  # one block has one rank
    assert (plan.variant, plan.adapter_params) == (variant, sum(row.params for row in plan.blocks))
    assert plan.adapter_params <= (plan.budget_params or 0)
    context = MethodContext(
        loaded.model,
        loaded.map,
        plan,
        method,
        seed=0,
        gradients=lambda names, examples: direct_gradients(loaded.model, inputs, names),
    )
    adapted = METHODS.get("gelora").attach(context)
    start = largest_difference(logits(adapted.model, inputs), base)
    assert start <= 1e-5 * max(1.0, float(base.abs().max()))
    sizes = [tensor.numel() for tensor in adapted.trainable().values()]
    assert sum(sizes) == plan.trained_params + loaded.map.head_params
    train(adapted, inputs)
    trained = logits(adapted.model, inputs)
    adapted.save(work)
    reloaded: Any = PeftModel.from_pretrained(fresh(directory).model, work)
    merged = merge_adapter(fresh(directory).model, work)
    assert adapted.updates is not None
    moved_weights = [
        float((update - (merged.get_parameter(f"{name}.weight") - weights[f"{name}.weight"])).abs().max())
        for name, update in adapted.updates().items()
    ]
    assert len(moved_weights) == len(plan.rank_pattern)
    check = VariantCheck(
        plan,
        start,
        moved=largest_difference(trained, base),
        reloaded=largest_difference(logits(reloaded, inputs), trained),
        merged=largest_difference(logits(merged, inputs), trained),
        updates=max(moved_weights),
    )
    assert check.moved > 1e-2
    assert check.reloaded < 1e-5 and check.merged < 1e-4 and check.updates < 1e-5
    return check


def fresh(directory: Path) -> LoadedModel:
    resolved = from_directory(directory)
    return load_model(resolved, HEAD, seed=0, **found_names(resolved))


@torch.no_grad()
def logits(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    scores: torch.Tensor = model.eval()(**inputs).logits
    return scores


def direct_gradients(model: Any, inputs: dict[str, torch.Tensor], names: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return the gradient of the mean loss on the sentences, (out, in) for the weight of each named linear."""
    weights = [model.get_parameter(f"{name}.weight") for name in names]
    loss = torch.nn.functional.cross_entropy(model.eval()(**inputs).logits, labels_of_sentences())
    return dict(zip(names, torch.autograd.grad(loss, weights), strict=True))


def labels_of_sentences() -> torch.Tensor:
    return torch.arange(len(SENTENCES)) % 2


def largest_difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())


def train(adapted: AdaptedModel, inputs: dict[str, torch.Tensor], steps: int = STEPS) -> None:
    """Take a few steps of AdamW; every trainable tensor has moved after them."""
    model: Any = adapted.model.train()
    before = {name: tensor.detach().clone() for name, tensor in adapted.trainable().items()}
    optimizer = torch.optim.AdamW(adapted.trainable().values(), lr=0.01, weight_decay=0.0)
    for _ in range(steps):
        loss = torch.nn.functional.cross_entropy(model(**inputs).logits, labels_of_sentences())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    assert all(not torch.equal(before[name], tensor) for name, tensor in adapted.trainable().items())
