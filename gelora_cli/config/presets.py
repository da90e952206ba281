"""Training settings that a configuration leaves open: presets of tasks and methods, the user's first."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol, cast

from gelora_cli.config.schema import (
    DEFAULT_MODULES,
    DEFAULT_SCALING,
    LowRankConfig,
    MethodConfig,
    PlannedLoraConfig,
    PresetConfig,
    RanksConfig,
    RunConfig,
    RunKeys,
    TrainConfig,
)
from gelora_cli.config.shipped import config_dir, known_model, preset_content, shipped_presets
from gelora_cli.config.tuned import is_shipped, with_tuned
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import join_texts

BATCH_SIZE = 32
"""Of a preset that names none."""
OF_TRAINING = ("learning_rate", "epochs", "batch_size")
"""What a preset sets of `train.`."""
ALL_GIVEN = "all training settings given"


class PlanKeys(Protocol):
    """The keys that decide a plan beside the budget: those of a run, and those of `gelora ranks`."""

    method: MethodConfig
    ranks: RanksConfig
    seed: int


def with_presets(config: RunKeys) -> RunKeys:
    """Fill in what the configuration leaves open: from its presets, else modules and scaling from their defaults.

    What `gelora tune` found for this run comes before the presets of tasks and methods.

    Raises:
        GeloraError: a preset can't be read.
    """
    config, tuned = with_tuned(config)
    found = _preset_and_reason(config)
    preset, reason = found or (PresetConfig(0.0, config.preset_source or ALL_GIVEN), "")
    from_user = {key: value for key, value in asdict(config.train).items() if value is not None}
    preset_values = {key: getattr(preset, key) for key in OF_TRAINING}
    modules = config.method.modules or preset.modules or DEFAULT_MODULES
    method = with_scaling(replace(config.method, modules=modules, presets={}), preset.scaling)
    if tuned.source:
        source = f"{tuned.source}; what it leaves open: {preset.source}"
    elif found:
        source = _settings_source(config, method, preset, reason)
    else:
        source = preset.source
    if tuned.remark:
        source += f"; {tuned.remark}"
    return replace(
        config,
        task=replace(config.task, presets={}),
        method=method,
        train=TrainConfig(**(asdict(config.train) | preset_values | from_user)),
        preset_source=source,
        preset_trials=tuned.trials if tuned.source else _preset_trials(config, preset),
        tuned_presets=None,
        keys_given=[],
    )


def _preset_trials(config: RunConfig, preset: PresetConfig) -> int | None:
    """Return how many trials are behind the settings of a preset; None where they are changed by hand.

    The trials searched the learning rate, for LoRA's own update and the method's own scaling.
    """
    if not (config.task.presets or config.method.presets):  # completed before
        return config.preset_trials
    scaling, variant = scaling_of(config.method), getattr(config.method, "variant", "lora")
    has_own_scaling = scaling is None or is_shipped(config, "method.scaling")
    if config.train.learning_rate is not None or variant != "lora" or not has_own_scaling:
        return None
    return preset.trials


def find_preset(config: RunConfig) -> PresetConfig | None:
    """Find the preset of this method family. What it leaves open comes from the task's own preset for `gelora`.

    The user's presets come before gelora's own; in both the task's come first, then the method's for this model, and
    then the method's for this task. Its source says in brackets which one it is and why.
    """
    found = _preset_and_reason(config)
    return found[0] if found else None


def _preset_and_reason(config: RunConfig) -> tuple[PresetConfig, str] | None:
    """Return what `find_preset` finds, and which one it is and why."""
    task, method, model = config.task, config.method, config.model
    # A model under a path is recognised by its weights or its hub id.
    name = model.name if model.path is None else known_model(config_dir(), model.path) or "default"
    family = [("task", method.preset, name), ("task", method.preset, "default")]
    by_model = [("method", task.name, name), ("method", "default", name)]
    by_task = [("method", task.name, "default"), ("method", "default", "default")]
    candidates = _matching_presets(config, [*family, *by_model, *by_task])
    if not candidates:
        return None
    chosen = _most_specific(candidates)
    shared = _matching_presets(config, [("task", "gelora", name), ("task", "gelora", "default")])
    base = _most_specific(shared).preset if shared else PresetConfig(0.0, "")
    epochs = chosen.preset.epochs or base.epochs
    if epochs is None:
        return None
    reason = f"presets.{chosen.key} of the {chosen.group}"
    if model.path is not None and chosen.key.endswith(f".{name}") and name != "default":
        reason += f", since {Path(model.path).name} holds {name}'s weights"
    if chosen != candidates[0]:
        reason += f", yours, before gelora's own presets.{candidates[0].key}"
    preset = replace(
        chosen.preset,
        epochs=epochs,
        batch_size=chosen.preset.batch_size or base.batch_size or BATCH_SIZE,
        modules=chosen.preset.modules or base.modules,
        source=f"{chosen.preset.source} ({reason})",
        # A preset of the user's may have another learning rate than the shipped one whose other values it inherits.
        trials=None if chosen.is_users else chosen.preset.trials,
    )
    return preset, reason


def global_batch_size(config: RunConfig) -> int | None:
    """Return the global batch, the preset's where none is given; None where there is no preset."""
    preset = find_preset(config)
    return config.train.batch_size or (preset.batch_size if preset else None)


def plan_settings(config: PlanKeys) -> dict[str, Any]:
    """Return the arguments of `plan_method` that a configuration sets, except the budget."""
    ranks, method = config.ranks, config.method
    return {
        "method": method.name,
        "seed": config.seed,
        "modules": method.modules or DEFAULT_MODULES,
        "scaling": scaling_of(with_scaling(method, None)),
        "settings": method,
        "variant": variant_of(method),
        "rule": ranks.rule,
        "rounding": ranks.rounding,
        "on_deficit": ranks.on_deficit,
        "granularity": ranks.granularity,
        "when_unstable": ranks.when_unstable,
    }


def scaling_of(method: MethodConfig) -> float | None:
    """Return the method's `alpha / r`; None where it is left open, and of a method without such a setting."""
    return method.scaling if isinstance(method, LowRankConfig) else None


def variant_of(method: MethodConfig) -> str:
    """Return the method's variant of LoRA; `lora` of a method that has no variants."""
    return method.variant if isinstance(method, PlannedLoraConfig) else "lora"


def with_scaling(method: MethodConfig, preset: float | None) -> MethodConfig:
    """Return the method with a scaling where it has one and leaves it open: the preset's, else the default."""
    if not isinstance(method, LowRankConfig) or method.scaling is not None:
        return method
    return replace(method, scaling=DEFAULT_SCALING if preset is None else preset)


def _settings_source(config: RunConfig, completed: MethodConfig, preset: PresetConfig, reason: str) -> str:
    """Return where the training settings come from: which are given, and what the preset has set.

    A preset's own words are those of its learning rate, and say nothing of a run whose rate is given.
    """
    given = [f"train.{key}" for key in OF_TRAINING if getattr(config.train, key) is not None]
    of_method = _filled_in(config.method, completed, preset)
    if config.train.learning_rate is not None:
        filled = [f"train.{key}={getattr(preset, key)}" for key in OF_TRAINING if getattr(config.train, key) is None]
        filled += of_method
        if not filled:
            return ALL_GIVEN
        return f"{join_texts(given)} as given; {' '.join(filled)} of {reason}"
    text = f"{join_texts(given)} as given; the rest: {preset.source}" if given else preset.source
    if of_method:
        text += f"; with its {' '.join(of_method)}"
    if scaling_of(config.method) is not None and preset.scaling not in (None, scaling_of(config.method)):
        text += f"; its learning rate is meant for method.scaling={preset.scaling:g}"
    return text


def _filled_in(before: MethodConfig, completed: MethodConfig, preset: PresetConfig) -> list[str]:
    """Return which settings of the method the preset has set."""
    filled_in = []
    if before.modules is None and preset.modules is not None:
        filled_in.append(f"method.modules={preset.modules}")
    if scaling_of(before) is None and None not in (preset.scaling, scaling_of(completed)):
        filled_in.append(f"method.scaling={preset.scaling:g}")
    return filled_in


@dataclass(frozen=True)
class _MatchingPreset:
    """A preset with the group (task or method) and key that hold it, and whether it is the user's."""

    preset: PresetConfig
    group: str
    key: str
    is_users: bool


def _matching_presets(config: RunConfig, keys: list[tuple[str, str, str]]) -> list[_MatchingPreset]:
    """Return the presets under these keys (group, first key, second key), in that order."""
    presets = {"task": config.task.presets, "method": config.method.presets}
    matching = []
    for group, first, second in keys:
        preset = _as_preset(presets[group].get(first, {}).get(second))
        if preset is not None:
            is_users = preset_content(asdict(preset)) not in shipped_presets(config_dir())
            matching.append(_MatchingPreset(preset, group, f"{first}.{second}", is_users))
    return matching


def _most_specific(candidates: list[_MatchingPreset]) -> _MatchingPreset:
    """Return the first of the user's presets, or else the first of gelora's own."""
    # A user's preset wins even over a shipped one that is more specific: it was written for a reason.
    return next((preset for preset in candidates if preset.is_users), candidates[0])


def _as_preset(preset: Any) -> PresetConfig | None:
    """Return a preset as its dataclass; OmegaConf leaves it a mapping inside nested mappings."""
    if not isinstance(preset, dict):
        return cast("PresetConfig | None", preset)
    known = [field.name for field in fields(PresetConfig)]
    wrong = [key for key in preset if key not in known] + [
        key for key in ("learning_rate", "source") if key not in preset
    ]
    if wrong:
        raise GeloraError(
            f"a preset holds {', '.join(preset)}: {wrong[0]} is {'unknown' if wrong[0] in preset else 'missing'}; "
            f"accepted: {', '.join(known)}, of which learning_rate and source are needed"
        )
    return PresetConfig(**preset)
