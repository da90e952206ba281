"""Take over the plan that `ranks.path` names, and refuse keys that contradict it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

from gelora_cli.allocation.ranks import planned_methods
from gelora_cli.allocation.saved_plan import read_plan
from gelora_cli.config.identity import profile_values
from gelora_cli.config.presets import scaling_of, variant_of
from gelora_cli.config.schema import LowRankConfig, PlannedLoraConfig, ProfileConfig, RanksConfig, RunConfig
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.errors import GeloraError


def with_saved_plan(config: RunConfig) -> RunConfig:
    """Take over what a saved plan brings, so that the configuration says what is trained."""
    if config.ranks.path is None:
        return config
    plan = read_plan(config.ranks.path)
    ranks = replace(config.ranks, rule=plan.rule, rounding=plan.rounding, on_deficit=plan.on_deficit)
    ranks = replace(ranks, granularity=plan.granularity)
    method = replace(config.method.for_entry(plan.method), modules=plan.modules)
    if isinstance(method, LowRankConfig):
        method = replace(method, scaling=plan.scaling)
    if isinstance(method, PlannedLoraConfig):
        method = replace(method, variant=plan.variant)
    return replace(config, ranks=ranks, method=method, budget=plan.budget)


def saved_plan_problem(config: RunConfig) -> str | None:
    """Return what does not go with `ranks.path`: no plan there, another method's, or keys that would change nothing."""
    path = config.ranks.path
    if path is None:
        return None
    planned = planned_methods()
    usable = f"leave ranks.path out, or take one of {', '.join(planned)}"
    if config.method.name not in planned:
        return f"ranks.path={path}: method={config.method.name} takes no saved ranks; {usable}"
    try:
        plan = read_plan(path)
    except GeloraError as error:
        return str(error)
    if plan.method not in planned:
        return f"ranks.path={path} holds a plan of method={plan.method}, which are no ranks of LoRA; {usable}"
    overruled = _overruled_keys(config, plan)
    if not overruled:
        return None
    variant = "" if plan.variant == "lora" else f" method.variant={plan.variant}"
    return (
        f"ranks.path={path} brings a whole plan (method={plan.method} budget={plan.budget} method.modules="
        f"{plan.modules} method.scaling={plan.scaling:g}{variant}); beside it {' '.join(overruled)} would change "
        "nothing. Leave that out, or leave ranks.path out to plan again from the saved profile"
    )


def _overruled_keys(config: RunConfig, plan: RankPlan) -> list[str]:
    """Return the keys that a saved plan would overrule: those that have neither their default nor the plan's value."""
    ranks, method, default = config.ranks, config.method, RanksConfig()
    # Each key with its value, and the values that change nothing: its default and the plan's.
    harmless: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "method": (method.name, ("gelora", plan.method)),
        "method.modules": (method.modules, (None, plan.modules)),
        "method.scaling": (scaling_of(method), (None, plan.scaling)),
        "method.variant": (variant_of(method), ("lora", plan.variant)),
        "ranks.rule": (ranks.rule, (default.rule, plan.rule)),
        "ranks.rounding": (ranks.rounding, (default.rounding, plan.rounding)),
        "ranks.on_deficit": (ranks.on_deficit, (default.on_deficit, plan.on_deficit)),
        "ranks.granularity": (ranks.granularity, (None, plan.granularity)),
        "ranks.when_unstable": (ranks.when_unstable, ("warn",)),
    }
    with suppress(GeloraError):  # a wrong budget is named by itself
        harmless["budget"] = (parse_budget(config.budget).name, ("auto", plan.budget))
    if not config.profile.track and not config.smoke:  # which look at the profile's settings, or set them
        defaults = profile_values(ProfileConfig())
        for key, value in profile_values(config.profile).items():
            harmless[f"profile.{key}"] = (value, (defaults[key],))
    return [f"{key}={value}" for key, (value, accepted) in harmless.items() if value not in accepted]
