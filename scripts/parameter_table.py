"""What every method costs on DeBERTaV3-base under one budget, from its configuration alone: no weights are read.

GeLoRA and its controls need a measured profile for their ranks; the units that they hand out, and so the parameters,
depend on the budget alone (all blocks cost the same), and are shown by uniform ranks.

    python scripts/parameter_table.py --budget 0.3M [--modules all]
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, DebertaV2Config

from gelora_cli.allocation.planning import plan_method
from gelora_cli.allocation.ranks import planned_methods
from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.artifacts.profile import IdProfile, LayerIdim, ProfileSettings
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.registries import METHODS
from gelora_cli.models.block_map import map_model

CONFIG: dict[str, Any] = {  # config.json of microsoft/deberta-v3-base
    "vocab_size": 128_100,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3_072,
    "max_position_embeddings": 512,
    "type_vocab_size": 0,
    "relative_attention": True,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "num_labels": 2,
}


def main() -> None:
    """Print a row per method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="0.3M")
    parser.add_argument("--modules", choices=("attention", "all"), default="attention")
    arguments = parser.parse_args()
    with torch.device("meta"):
        factory: Any = AutoModelForSequenceClassification
        model = factory.from_config(DebertaV2Config(**CONFIG))
    found = map_model(model, head_modules=("pooler", "classifier"))
    print(f"backbone {found.backbone_params:,}, head {found.head_params:,}, budget {arguments.budget}")
    print(f"{'method':<10}{'adapter':>12}{'of budget':>11}{'at the most':>13}  per block")
    for method in METHODS.names():
        # Of LoRA with planned ranks these two: what the others get depends on what they measure.
        if method in ("gelora", "lora") or method not in planned_methods():
            print(row(found, method, arguments.budget, arguments.modules))


def row(found: ModelMap, method: str, budget: str, modules: str) -> str:
    """Return the parameters at the end, their share of the budget, and those trained at the most."""
    rules: dict[str, Any] = {"modules": modules, "seed": 0}
    plan = plan_method(found, {"idim": flat_profile(found)}, parse_budget(budget), method=method, scaling=1.0, **rules)
    share = f"{100 * plan.adapter_params / plan.budget_params:.1f} %" if plan.budget_params else "exempt"
    ranks = " ".join(map(str, plan.ranks)) if method != "gelora" else "from the profile"
    return f"{method:<10}{plan.adapter_params:>12,}{share:>11}{plan.trained_params:>13,}  {ranks}"


def flat_profile(found: ModelMap) -> IdProfile:
    """Return a profile without growth, under which GeLoRA's ranks are even."""
    layers = tuple(LayerIdim(i, 1.0, 1.0, 1.0, None, None, 0, 0, 0, False) for i in range(len(found.blocks) + 1))
    settings = ProfileSettings("mean", "fit", 0.1, 10_000, 128, 0)
    return IdProfile("deberta_v3_base", "", "", "", settings, 0, 0, 0, 0, layers, found, 0.0)


if __name__ == "__main__":
    main()
