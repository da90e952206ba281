"""Shared by the tests of several packages, first met in test_rivals.py."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

from gelora_cli.allocation.planning import plan_method
from gelora_cli.config.presets import scaling_of
from gelora_cli.config.schema import MethodConfig, PlannedLoraConfig
from gelora_cli.config.shipped import config_dir
from gelora_cli.core.artifacts.result import EvalResult
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.distributed import Device, make_accelerator
from gelora_cli.core.registries import METHODS
from gelora_cli.data.encoding import EncodedSplit, encode
from gelora_cli.data.splits import TextSplit
from gelora_cli.methods.base import AdaptedModel, MethodContext
from gelora_cli.models.load import LoadedModel
from gelora_cli.models.locate import resolve_model
from gelora_cli.models.tokenizer import load_tokenizer
from gelora_cli.pipeline.attach_stage import EpochInputs
from gelora_cli.training.gradients import mean_gradients
from tests.helpers.method_cases import HEAD, inputs_of, profile_of
from tests.helpers.rows import rows
from tests.helpers.train_settings import SETTINGS
from tests.helpers.training import fine_tune

BUDGET = "2500"


STEPS = 24


def settings_of(name: str, **changes: Any) -> MethodConfig:
    """Return the method's settings as its YAML has them."""
    values: Any = OmegaConf.to_container(OmegaConf.load(config_dir() / "method" / f"{name}.yaml"))
    own = {key: value for key, value in values.items() if key not in ("defaults", "presets")}
    return MethodConfig.of(**(own | changes))


@dataclass(frozen=True)
class Case:
    """A method on a tiny model, ready to be attached."""

    loaded: LoadedModel
    request: MethodContext[MethodConfig]
    train: EncodedSplit
    inputs: dict[str, torch.Tensor]

    def attach(self) -> AdaptedModel:
        return METHODS.get(self.request.plan.method).attach(self.request)


def case(
    directory: Path, method: str, *, kind: str = "bert", modules: str = "attention", seed: int = 0, **changes: Any
) -> Case:
    from gelora_cli.models.load import load_model

    settings = settings_of(method, modules=modules, **changes)
    loaded = load_model(resolve_model(hub=None, path=str(directory)), HEAD, seed=0)
    shared: dict[str, Any] = {
        "modules": modules,
        "seed": seed,
        "scaling": scaling_of(settings),
        "settings": settings,
    }
    if isinstance(settings, PlannedLoraConfig):
        shared["variant"] = settings.variant
    budget = parse_budget(BUDGET)
    profile = profile_of(loaded.map)
    plan = plan_method(loaded.map, {"idim": profile}, budget, method=method, **shared)
    tokenizer = load_tokenizer(resolve_model(hub=None, path=str(directory)), kind)
    found = rows("cola", 64, seed=1)
    labels = np.array([row["label"] for row in found])
    split = TextSplit("train", np.arange(64), ([row["sentence"] for row in found],), labels)
    train = encode(split, tokenizer, 64)
    pad_token_id = int(tokenizer.pad_token_id or 0)
    request = MethodContext(
        loaded.model,
        loaded.map,
        plan,
        settings,
        seed,
        total_steps=STEPS,
        batches=lambda tokens: EpochInputs(train, SETTINGS, pad_token_id, torch.device("cpu"), tokens),
        gradients=lambda names, examples: mean_gradients(
            loaded.model,
            train,
            SETTINGS,
            names,
            examples,
            pad_token_id=pad_token_id,
            accelerator=Device(torch.device("cpu")),
        ),
    )
    return Case(loaded, request, train, inputs_of(directory, kind))


def tune(found: Case, attached: AdaptedModel, **changes: Any) -> list[dict[str, Any]]:
    """Train three epochs of eight steps, and return the lines of metrics."""
    lines: list[dict[str, Any]] = []
    results = (EvalResult("validation", 10, {"accuracy": 0.5}, "accuracy", False, 0.1),)
    fine_tune(
        attached,
        found.train,
        replace(SETTINGS, **({"epochs": 3, "learning_rate": 1e-2} | changes)),
        pad_token_id=0,
        accelerator=make_accelerator("float32"),
        evaluate=lambda _: results,
        select=lambda: None,
        record=lines.append,
    )
    return lines


def logits(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(**inputs).logits
    return found
