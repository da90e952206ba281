"""Shared by the tests of several packages, first met in test_methods.py."""

from __future__ import annotations

from pathlib import Path

import torch

from gelora_cli.allocation.ranks import plan_ranks
from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.profile import IdProfile, LayerIdim, ProfileSettings
from gelora_cli.core.budget import parse_budget
from gelora_cli.methods.updates.checks import base_name
from gelora_cli.models.heads import LabelHead
from gelora_cli.models.load import LoadedModel, load_model
from gelora_cli.models.locate import resolve_model
from gelora_cli.models.tokenizer import load_tokenizer
from tests.helpers.tiny import SENTENCES

HEAD = LabelHead(("no", "yes"))


def profile_of(model_map: ModelMap) -> IdProfile:
    """Return a made-up profile whose ranks differ from block to block."""
    idims = [3.0, 5.2, 5.1, 6.9, 6.0, 6.4][: len(model_map.layers) + 1]
    layers = tuple(LayerIdim(i, d, d - 0.2, d + 0.2, d, d, 100, 0, 100, False) for i, d in enumerate(idims))
    settings = ProfileSettings("mean", "fit", 0.1, 100, 64, 0)
    return IdProfile("tiny", "f", "cola", "f", settings, 100, 100, 0, 100, layers, model_map, 0.1)


def loaded_and_plan(
    directory: Path,
    modules: str = "attention",
    budget: str = "auto",
    dropout: float | None = None,
    variant: str = "lora",
) -> tuple[LoadedModel, RankPlan]:
    loaded = load_model(resolve_model(hub=None, path=str(directory)), HEAD, seed=0, dropout=dropout)
    return loaded, plan_ranks(profile_of(loaded.map), parse_budget(budget), modules=modules, variant=variant)


def inputs_of(directory: Path, kind: str) -> dict[str, torch.Tensor]:
    tokenizer = load_tokenizer(resolve_model(hub=None, path=str(directory)), kind)
    return dict(tokenizer(list(SENTENCES), padding=True, return_tensors="pt"))


def plain(name: str) -> str:
    """Return a parameter's name in the model without a method."""
    return base_name(name).replace(".base_layer", "").replace(".original_module", "").replace(".base.", ".")
