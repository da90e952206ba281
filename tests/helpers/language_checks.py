"""What holds of every decoder with the head of its language model, on a tiny one without any task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from gelora_cli.allocation.ranks import plan_ranks
from gelora_cli.config.schema import PlannedLoraConfig
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.registries import METHODS
from gelora_cli.data.batches import padded_load
from gelora_cli.methods.base import AdaptedModel, MethodContext
from gelora_cli.methods.updates.merging import merge_adapter
from gelora_cli.methods.updates.saved import describe_peft
from gelora_cli.models.load import LoadedModel, load_model
from gelora_cli.models.operations import model_operations
from gelora_cli.models.shapes import read_shapes
from tests.helpers.flops import count_operations
from tests.helpers.method_cases import inputs_of, profile_of
from tests.helpers.models import LANGUAGE, found_names, from_directory
from tests.helpers.variant_matrix import largest_difference, logits

BUDGET = "rank:3"
METHOD = PlannedLoraConfig(modules="all")
STEPS = 3
TOLERANCE = 0.002
"""Of the count of operations, relative."""

Inputs = dict[str, torch.Tensor]


def fresh_language_model(directory: Path) -> LoadedModel:
    """Load a decoder with the head of its language model."""
    resolved = from_directory(directory)
    return load_model(resolved, LANGUAGE, seed=0, **found_names(resolved))


def token_loss(model: Any, inputs: Inputs) -> torch.Tensor:
    """Return the mean negative log probability of every token that follows another one."""
    targets = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)[:, 1:]
    scores = model(**inputs).logits[:, :-1]  # (B, T - 1, V)
    return torch.nn.functional.cross_entropy(scores.flatten(0, 1), targets.flatten())


def real_logits(model: Any, inputs: Inputs) -> torch.Tensor:
    """Return the logits of all tokens but those of padding, (N, V)."""
    return logits(model, inputs)[inputs["attention_mask"] == 1]


def attach_to_language_model(loaded: LoadedModel) -> tuple[AdaptedModel, RankPlan]:
    """Attach LoRA to every linear of the blocks."""
    plan = plan_ranks(profile_of(loaded.map), parse_budget(BUDGET), modules="all")
    adapted = METHODS.get("gelora").attach(MethodContext(loaded.model, loaded.map, plan, METHOD, seed=0))
    return adapted, plan


def check_language_model(directory: Path, kind: str, work: Path) -> float:
    """Attach an adapter, train it, save it, load it by plain PEFT, and merge it; return the largest difference.

    Before the first step the logits are those of the base. Nothing but the adapter trains or is saved.
    """
    inputs = inputs_of(directory, kind)
    loaded = fresh_language_model(directory)
    base = real_logits(loaded.model, inputs)
    before = {name: parameter.detach().clone() for name, parameter in loaded.model.named_parameters()}
    adapted, _ = attach_to_language_model(loaded)
    assert torch.equal(real_logits(adapted.model, inputs), base)
    token_loss(adapted.model.train(), inputs).backward()  # type: ignore[no-untyped-call]
    reached = [name for name, tensor in adapted.model.named_parameters() if tensor.grad is not None]
    assert sorted(reached) == sorted(adapted.trainable()) and all("lora_" in name for name in reached)
    train_language_model(adapted, inputs)
    trained = real_logits(adapted.model, inputs)
    assert largest_difference(trained, base) > 1e-2
    for name, parameter in adapted.model.named_parameters():
        plain = name.removeprefix("base_model.model.").replace(".base_layer", "")
        assert plain not in before or torch.equal(parameter, before[plain]), name
    adapted.save(work)
    describe_peft(work, base=str(directory), task_type="CAUSAL_LM")
    model = AutoModelForCausalLM.from_pretrained(directory, **loaded.arguments)
    reloaded: Any = PeftModel.from_pretrained(model, work)
    merged = merge_adapter(fresh_language_model(directory).model, work)
    differences = [largest_difference(real_logits(other, inputs), trained) for other in (reloaded, merged)]
    assert differences[0] < 1e-5 and differences[1] < 1e-4
    return max(differences)


def train_language_model(adapted: AdaptedModel, inputs: Inputs) -> None:
    """Take a few steps of AdamW on the sentences."""
    optimizer = torch.optim.AdamW(adapted.trainable().values(), lr=0.01, weight_decay=0.0)
    for _ in range(STEPS):
        optimizer.zero_grad()
        token_loss(adapted.model, inputs).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def check_language_operations(directory: Path, kind: str) -> float:
    """Compare the counted operations of a step with those that torch counts; return by how much they differ."""
    inputs = inputs_of(directory, kind)
    loaded = fresh_language_model(directory)
    shapes = read_shapes(loaded.model, loaded.map)
    adapted, plan = attach_to_language_model(loaded)
    lengths = inputs["attention_mask"].sum(1).numpy()
    load = padded_load(lengths, [np.arange(len(lengths))])
    counted = model_operations(shapes, load, METHODS.get("gelora").work(plan, loaded.map, METHOD), steps=1)
    adapted.model.train()
    actual = count_operations(lambda: token_loss(adapted.model, inputs).backward())  # type: ignore[no-untyped-call]
    assert counted == pytest.approx(actual, rel=TOLERANCE)
    return abs(counted / actual - 1)
