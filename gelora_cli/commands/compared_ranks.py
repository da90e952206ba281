"""`gelora ranks` for several plans at once: each measured choice of a profile, or several methods; no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gelora_cli.allocation.base import IDIM, SignalArtifact
from gelora_cli.allocation.choices import distinguishing_labels, measured_choices
from gelora_cli.allocation.comparison import (
    PlanColumn,
    agreement_table,
    comparison_table,
    equal_plans,
)
from gelora_cli.allocation.planning import plan_method
from gelora_cli.allocation.ranks import planned_methods, profile_command
from gelora_cli.allocation.stability import describe_stability
from gelora_cli.commands.terminal import wrapped
from gelora_cli.config.defaults import resolved_defaults
from gelora_cli.config.method_schema import LowRankConfig, MethodConfig, PlannedLoraConfig
from gelora_cli.config.presets import plan_settings, variant_of
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.budget import Budget, parse_budget
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import ALLOCATORS, METHODS, SIGNALS, VARIANTS
from gelora_cli.report.text_table import terminal_width
from gelora_cli.signals.saved import read_signals, saved_signals

if TYPE_CHECKING:
    from gelora_cli.commands.ranks import RanksCommandConfig

ALL = "all"
"""In `allocators`: every method whose signals are there."""
SHRUNK = "*"
"""The mark of a plan below its lower bounds."""
UNITS = "units: of rank, over all modules; agreement: the share of the units above one per module that two plans share"


def choices_text(config: RanksCommandConfig, paths: Sequence[Path]) -> str:
    """Return the plan under each measured choice of one profile or several, side by side.

    Raises:
        GeloraError: a path holds no profile, the method reads another signal, or no plan can be made.
    """
    name = config.method.name
    if name not in planned_methods() or ALLOCATORS.get(METHODS.get(name).allocator).signal != IDIM:
        raise GeloraError(
            f"choices=true: method={name} doesn't follow the idim profile, whose choices these are; leave method out, "
            "or compare methods with allocators=NAME,NAME"
        )
    profiles: list[IdProfile] = []
    for path in paths:
        profile = _read_profile(path)
        if profile not in profiles:  # a profile may be given twice: the shared one, and its copy in a run directory
            profiles.append(profile)
    labels = [()] if len(profiles) == 1 else distinguishing_labels(profiles)
    columns: list[PlanColumn] = []
    lines: list[str] = []
    for profile, label in zip(profiles, labels, strict=True):
        for title, choice in measured_choices(profile).items():
            column = _planned((*label, title), config, config.method, {IDIM: choice})
            columns.append(column)
            if choice is profile:
                lines.append(f"{column.name}: {_verdict(column)}")
                lines += [f"{column.name}: warning: {text}" for text in column.plan.warnings] if column.plan else []
        if not any(layer.scales for layer in profile.layers):
            lines.append(
                f"{' '.join(filter(None, (*label, 'n1=k')))}: not in this profile; profile.scales=true measures it"
            )
    _refuse_empty(columns)
    table = comparison_table(columns, width=terminal_width(), reference=True)
    explained = (
        "N: the profile as it is; N/2, N/4, N/8: mean idims of smaller samples; n1=k: by GRIDE from the k-th and 2k-th "
        f"neighbour; {UNITS}, here with the first column, {columns[0].name}"
    )
    lines = [explained, *_variant_line(config), *_structure(columns), *lines, *_shrunk(columns), *_reasons(columns)]
    return "\n".join([table, *map(wrapped, lines)])


def methods_text(config: RanksCommandConfig, paths: Sequence[Path]) -> str:
    """Return the plans of several methods from saved signals, side by side.

    Raises:
        GeloraError: signals of a named method are missing, all of them in one message, or no plan can be made.
    """
    signals, budget = saved_signals(paths), parse_budget(config.budget)
    names = _method_names(config)
    missing = _missing_signals(names, signals, budget)
    absent_signals = {signal for absent in missing.values() for signal in absent}
    command = profile_command([name for name in SIGNALS.names() if name in absent_signals])
    missing_text = "; ".join(f"{name} needs {', '.join(absent)}" for name, absent in missing.items())
    if missing and ALL not in config.allocators:
        raise GeloraError(f"signals that are not there: {missing_text}. Measure them: {command}")
    planned = [name for name in names if name not in missing]
    columns = []
    for name in planned:
        column = _planned((name,), config, _settings_of(config, name), signals)
        grain = f"per {column.plan.granularity}" if column.plan else ""
        columns.append(replace(column, titles=(*column.titles, grain)))
    _refuse_empty(columns)
    reasons = _reasons(columns)
    columns = [column for column in columns if column.plan is not None]
    width = terminal_width()
    named = [replace(column, titles=column.titles[:1]) for column in columns]
    # A control has no verdict.
    lines = [f"{column.name}: {_verdict(column)}" for column in named if column.plan and column.plan.stability]
    lines += [f"equal plans: {', '.join(group)}" for group in equal_plans(named)]
    warnings: list[str] = []
    for column in named:
        if column.plan:
            warnings += column.plan.warnings
    # Methods that read the same signal have the same warnings.
    lines += [f"warning: {text}" for text in dict.fromkeys(warnings)]
    if missing:
        lines.append(f"not shown: {missing_text}. Measure them: {command}")
    explained = f"a plan per module shows the mean rank of a block's modules; {UNITS}"
    remarks = [*_variant_line(config), *_structure(named), *lines, *_shrunk(named), *reasons, *_other_tasks(signals)]
    lines = [*map(wrapped, [explained, *remarks])]
    table = comparison_table(columns, width=width, reference=False)
    return "\n".join([table, "", agreement_table(named, width=width), *lines])


def _read_profile(path: Path) -> IdProfile:
    profile = read_signals((IDIM,), path)[IDIM]
    assert isinstance(profile, IdProfile)  # the artifact of that signal
    return profile


def _method_names(config: RanksCommandConfig) -> list[str]:
    """Return the methods to compare, each once, in the order in which they are given.

    `all` leaves out a method that needs a setting which is not given, such as `file` its path.
    """
    if ALL not in config.allocators:
        return list(dict.fromkeys(config.allocators))
    return [name for name in planned_methods() if not any(_settings_of(config, name).problems())]


def _missing_signals(
    names: Sequence[str], signals: Mapping[str, SignalArtifact], budget: Budget
) -> dict[str, list[str]]:
    """Return the signals that are not there, by the methods that need them."""
    missing: dict[str, list[str]] = {}
    for name in names:
        absent = [signal for signal in METHODS.get(name).signals(budget) if signal not in signals]
        if absent:
            missing[name] = absent
    return missing


def _settings_of(config: RanksCommandConfig, name: str) -> MethodConfig:
    """Return the settings of a method: those that are given if it is the chosen one, else its defaults."""
    if name == config.method.name:
        return config.method
    method: MethodConfig = replace(resolved_defaults("ranks", {"method": name}).method, modules=config.method.modules)
    if isinstance(method, LowRankConfig) and isinstance(config.method, LowRankConfig):
        method = replace(method, scaling=config.method.scaling)
    if isinstance(method, PlannedLoraConfig):
        method = replace(method, variant=variant_of(config.method))
    return method


def _planned(
    titles: tuple[str, ...], config: RanksCommandConfig, method: MethodConfig, signals: Mapping[str, SignalArtifact]
) -> PlanColumn:
    """Return the column of a method's plan; one without a plan if the budget can't be met.

    An unstable plan is shown as it is, whatever `ranks.when_unstable` says: that is what is compared. So is one whose
    lower bounds pass the budget, which a run would refuse: its last title gets a mark.
    """
    config = replace(config, method=method, ranks=replace(config.ranks, when_unstable="warn"))
    settings: dict[str, Any] = plan_settings(config)
    model_map, budget = next(iter(signals.values())).model_map, parse_budget(config.budget)
    reason = ""
    for on_deficit, mark in ((config.ranks.on_deficit, ""), ("shrink", SHRUNK)):
        try:
            plan = plan_method(model_map, signals, budget, **(settings | {"on_deficit": on_deficit}))
        except GeloraError as error:
            reason = reason or str(error).splitlines()[0]
        else:
            return PlanColumn((*titles[:-1], titles[-1] + mark), plan)
    return PlanColumn(titles, None, reason)


def _variant_line(config: RanksCommandConfig) -> list[str]:
    """Return a line that says the variant of all plans, where it is not LoRA's own."""
    variant = VARIANTS.get(variant_of(config.method))
    return [] if variant.name == "lora" else [f"variant {variant.name} in all plans: {variant.description}"]


def _refuse_empty(columns: Sequence[PlanColumn]) -> None:
    """Refuse a comparison without any plan.

    Raises:
        GeloraError: with the reasons.
    """
    if all(column.plan is None for column in columns):
        raise GeloraError("\n".join(_reasons(columns)) or "no method has all its signals here")


def _reasons(columns: Sequence[PlanColumn]) -> list[str]:
    """Return why columns have no plan, one line each."""
    return [f"{column.name}: {column.reason}" for column in columns if column.plan is None]


def _structure(columns: Sequence[PlanColumn]) -> list[str]:
    """Return what is unusual about the model's blocks, each sentence once."""
    texts: list[str] = []
    for column in columns:
        if column.plan:
            texts += column.plan.structure
    return list(dict.fromkeys(texts))


def _shrunk(columns: Sequence[PlanColumn]) -> list[str]:
    """Return what the mark of a plan below its lower bounds means, if there is one."""
    if not any(column.name.endswith(SHRUNK) for column in columns):
        return []
    return [f"{SHRUNK}: below the lower bounds, which pass this budget (ranks.on_deficit=shrink)"]


def _verdict(column: PlanColumn) -> str:
    if column.plan is None:
        return column.reason
    return "no verdict" if column.plan.stability is None else describe_stability(column.plan.stability)


def _other_tasks(signals: Mapping[str, SignalArtifact]) -> list[str]:
    """Return a line if the signals were measured on different tasks."""
    tasks = {name: str(task) for name, artifact in signals.items() if (task := getattr(artifact, "task", None))}
    if len(set(tasks.values())) < 2:
        return []
    return [f"measured on different tasks: {', '.join(f'{name} on {task}' for name, task in tasks.items())}"]
