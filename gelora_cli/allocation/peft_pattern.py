"""A plan as PEFT's arguments, and the file that holds the whole plan beside them; no torch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.registries import VARIANTS


def rank_pattern_json(plan: RankPlan) -> dict[str, Any]:
    r"""Return the plan as keyword arguments for `peft.LoraConfig`.

    PEFT takes a key of `rank_pattern` as `re.match(rf"(.*\.)?({key})$", module_name)` and the first that matches;
    `target_modules` are plain names. So the keys are full module names with dots escaped, `alpha = scaling * rank`.
    The plan's variant adds its own arguments, such as `use_dora`.
    """
    ranks = plan.rank_pattern  # full module name -> rank
    scalings = plan.scaling_pattern
    alphas = {name: _integer_if_whole(scalings[name] * rank) for name, rank in ranks.items()}
    largest = max(ranks.values())  # PEFT's `r` is that of modules without a pattern, of which there are none
    return {
        "r": largest,
        "lora_alpha": _integer_if_whole(plan.scaling * largest),
        "target_modules": list(ranks),
        "rank_pattern": {re.escape(name): rank for name, rank in ranks.items()},
        "alpha_pattern": {re.escape(name): alpha for name, alpha in alphas.items()},
        **VARIANTS.get(plan.variant).peft_arguments,
    }


def plan_beside(pattern: Path) -> Path:
    """Return where the plan of a pattern file is: `pattern.json` has `pattern.plan.json` beside it."""
    return pattern.with_suffix(".plan.json")


def _integer_if_whole(value: float) -> int | float:
    return int(value) if value == int(value) else value
