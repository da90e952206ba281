"""Settings that `gelora tune` found, read from `DIR/tuned/` of `--config-dir DIR`, and which of them a run takes."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from gelora_cli.config.defaults import default_options, shipped_values
from gelora_cli.config.identity import NUMERICS
from gelora_cli.config.key_values import value_problem, with_values
from gelora_cli.config.keys import Key, declared_keys, keys_of
from gelora_cli.config.paths import own_task_name, slug
from gelora_cli.config.schema import MethodConfig, RunConfig, RunKeys
from gelora_cli.config.shipped import config_dir, known_model
from gelora_cli.config.typed import typed
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import read_text
from gelora_cli.core.messages import first_line, suggest
from gelora_cli.core.registries import METHODS

FOLDER = "tuned"
"""The folder of tuned presets in a directory of `--config-dir`, beside folders such as `task`."""

MOST_NAMED = 3
"""Other presets that are named where none fits."""

PLAIN_VARIANT = "lora"
"""The form of update of a preset that names none."""

Value: TypeAlias = float | int | str | bool


@dataclass(frozen=True, kw_only=True)
class TunedPreset:
    """What a search found best for one method on a task, model and budget; one YAML file each.

    Attributes:
        task: name of the task.
        model: name of the model.
        method: name of the method.
        budget: canonical text of the budget.
        settings: each key that is set, with its value: those that were searched, and those of `train.` that all trials
            had.
        when: further keys that all trials had, such as `method.variant`. The settings are for runs that have these
            values, too.
        trials: how many trials are behind the settings.
        best: value of the best trial on the held-out rows.
        space: each searched key, with where it was searched, in words.
        reported: name of the metric.
        spread: standard deviation of the values of the trials.
        holdout: share of the training rows that the trials were scored on.
        examples: how many rows that was.
        at_edge: searched keys whose best value lies on the edge of the range.
        sampler: what drew the trials.
        seed: of the draws.
        numerics: version of a run's arithmetic.
        date: when the search ended, in UTC.
        command: the command of the search.
    """

    task: str
    model: str
    method: str
    budget: str
    settings: dict[str, Value]
    when: dict[str, Value] = field(default_factory=dict)
    trials: int
    best: float
    space: dict[str, str]
    reported: str = ""
    spread: float | None = None
    holdout: float | None = None
    examples: int | None = None
    at_edge: list[str] = field(default_factory=list)
    sampler: str = ""
    seed: int | None = None
    numerics: int = NUMERICS
    date: str = ""
    command: str = ""


@dataclass(frozen=True, kw_only=True)
class TunedNote:
    """What tuned presets did to a configuration.

    Attributes:
        source: which one was taken and what it set; empty where none was.
        remark: why none was taken although there are some; empty otherwise.
        trials: how many trials are behind the run's settings; None where a searched key was given by hand.
    """

    source: str = ""
    remark: str = ""
    trials: int | None = None


def with_tuned(config: RunKeys) -> tuple[RunKeys, TunedNote]:
    """Set what the tuned preset of this run says, but for the keys that the user gave.

    A preset is for one task, model, method and form of its update, and applies to no other. Of several budgets the
    equal one counts, else the nearest of the same kind, which the note says.

    Raises:
        GeloraError: a file can't be read, or sets what this method does not accept.
    """
    if config.tuned_presets is None or config.method.name not in METHODS:
        return config, TunedNote()
    folder = Path(config.tuned_presets)
    presets = read_tuned(folder)
    fitting = [(path, preset) for path, preset in presets.items() if _fits(preset, config)]
    if not fitting:
        return config, TunedNote(remark=_none_fits(folder, list(presets.values()), config))
    path, preset = min(fitting, key=lambda entry: _preference(entry[1], entry[0], config))
    return _apply(config, preset, path)


def read_tuned(folder: Path) -> dict[Path, TunedPreset]:
    """Return every tuned preset in a folder, by its file.

    Raises:
        GeloraError: all files that can't be read.
    """
    presets: dict[Path, TunedPreset] = {}
    problems = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            presets[path] = _parsed(path, read_text(path, "a tuned preset"))
        except GeloraError as error:
            problems.append(str(error))
    if problems:
        raise GeloraError("\n".join(problems))
    return presets


@functools.lru_cache(maxsize=512)
def _parsed(path: Path, text: str) -> TunedPreset:
    """Return a tuned preset from the text of its file.

    Raises:
        GeloraError: it is no YAML, lacks a field, or holds what gelora does not write.
    """
    import yaml

    fix = "gelora tune writes these files; delete this one, or run its command again"
    try:
        preset: TunedPreset = typed(TunedPreset, yaml.safe_load(text))
        parse_budget(preset.budget)
    except (yaml.YAMLError, ValueError, RecursionError, GeloraError) as error:
        raise GeloraError(f"{path}: no tuned preset: {first_line(error)}; {fix}") from error
    if problem := _problem(preset):
        raise GeloraError(f"{path}: {problem}; {fix}")
    return preset


def _problem(preset: TunedPreset) -> str:
    """Return what is wrong with the settings of a preset; empty where nothing is, and of a method that is unknown."""
    if preset.trials < 1:
        return f"trials={preset.trials}: accepted is a number at least 1"
    if preset.method not in METHODS:  # a plug-in's that is not loaded: no run can be of it
        return ""
    known = _keys_of_method(preset.method)
    for name, value in preset.settings.items():
        if name not in known:
            return f"{name}: no key of method={preset.method}; {suggest(name, tuple(known))}"
        try:
            problem = value_problem(known[name], name, typed(known[name].kind, value, name))
        except ValueError as error:
            problem = str(error)
        if problem:
            return problem
    return ""


def counting_keys(method: str) -> dict[str, Key]:
    """Return the keys that can change a number of a run of a method, by their names."""
    return {name: entry for name, entry in _keys_of_method(method).items() if entry.declared.identity is not False}


def _keys_of_method(method: str) -> dict[str, Key]:
    """Return the keys that a preset may set: those that can change a number, and all of `train`.

    `gelora tune` used to write keys such as `train.log_steps`, which change none.
    """
    entries = declared_keys(RunConfig, {"method": MethodConfig.class_of(method)})
    return {entry.name: entry for entry in entries if entry.declared.identity is not False or entry.section == "train"}


def _fits(preset: TunedPreset, config: RunConfig) -> bool:
    """Return whether a preset was found for this task, model, method and form of update, and a budget of this kind."""
    names = (own_task_name(config.task, config.data), _model_name(config), config.method.name)
    if (preset.task, preset.model, preset.method) != names:
        return False
    values = {entry.name: entry.value_in(config) for entry in keys_of(config)}
    needed = {"method.variant": PLAIN_VARIANT, **preset.when} if "method.variant" in values else preset.when
    if any(values.get(name) != value for name, value in needed.items()):
        return False
    return _distance(preset, config) < math.inf


def _distance(preset: TunedPreset, config: RunConfig) -> float:
    """Return how far the budgets are apart, as |log(a / b)|; infinite for budgets of different kinds."""
    first, second = parse_budget(preset.budget), parse_budget(config.budget)
    if first == second or METHODS.get(config.method.name).exempt:
        return 0.0
    if first.kind != second.kind:
        return math.inf
    return abs(math.log(float(first.amount) / float(second.amount)))


def _preference(preset: TunedPreset, path: Path, config: RunConfig) -> tuple[float, int, tuple[int, ...], str]:
    """Return what orders presets that fit: the nearest budget, most conditions, the latest date, the file's name."""
    latest_first = tuple(-ord(character) for character in preset.date)
    return _distance(preset, config), -len(preset.when), latest_first, path.name


def _none_fits(folder: Path, presets: Sequence[TunedPreset], config: RunConfig) -> str:
    """Say that no preset of a folder is for this run, and what those that come nearest are for."""
    run = f"task={own_task_name(config.task, config.data)} model={_model_name(config)} method={config.method.name}"
    variant = getattr(config.method, "variant", PLAIN_VARIANT)
    if variant != PLAIN_VARIANT:
        run += f" method.variant={variant}"
    others = list(dict.fromkeys(_purpose(preset) for preset in presets))
    known = "; ".join(others[:MOST_NAMED]) + ("; ..." if len(others) > MOST_NAMED else "")
    return f"{folder} has nothing tuned for {run} budget={config.budget}" + (f", but for {known}" if known else "")


def _purpose(preset: TunedPreset) -> str:
    """Return what a preset is for, as overrides."""
    conditions = "".join(f" {name}={value}" for name, value in preset.when.items())
    return f"task={preset.task} model={preset.model} method={preset.method}{conditions} budget={preset.budget}"


def _apply(config: RunKeys, preset: TunedPreset, path: Path) -> tuple[RunKeys, TunedNote]:
    """Set the values of a preset that the user did not give, and say so."""
    by_hand = []
    applied = []
    for name, text in preset.settings.items():
        entry = _keys_of_method(preset.method)[name]
        value = typed(entry.kind, text, name)
        is_given = name in config.keys_given or not is_shipped(config, name)
        if is_given and entry.value_in(config) != value:
            by_hand.append(name)
        else:
            config = with_values(config, {name: value})
            applied.append(f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}")
    when = f" on {preset.date[:10]}" if preset.date else ""
    source = f"gelora tune, {preset.trials} trials{when} ({path}): {' '.join(applied) or 'nothing'}"
    if by_hand:
        source += f"; given otherwise: {' '.join(by_hand)}"
    if _distance(preset, config) > 0:
        source += f"; tuned at budget={preset.budget}, the nearest there is to {parse_budget(config.budget).name}"
    if preset.numerics != NUMERICS:
        source += f"; tuned with numerics={preset.numerics}, now {NUMERICS}"
    is_tuned = not set(by_hand) & preset.space.keys()
    return config, TunedNote(source=source, trials=preset.trials if is_tuned else None)


def is_shipped(config: RunConfig, name: str) -> bool:
    """Return whether a key has the value that gelora's own files give a run of this method."""
    entry = _keys_of_method(config.method.name)[name]
    options = {**default_options("run"), "method": config.method.name}
    values = shipped_values(entry.section, options[entry.section]) if entry.section in options else {}
    return bool(entry.value_in(config) == values.get(entry.last, entry.default))


def _model_name(config: RunConfig) -> str:
    """Return the model's name; one under a path is recognised by its weights, else named after the directory."""
    path = config.model.path
    return config.model.name if path is None else known_model(config_dir(), path) or slug(Path(path).name)
