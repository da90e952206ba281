"""From what a user gave to the configuration of a run: names, paths, presets and a saved plan filled in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from gelora_cli.config.checks import list_problems, value_problems
from gelora_cli.config.composing import in_entry_classes
from gelora_cli.config.entry_section import EntrySection
from gelora_cli.config.keys import declared_keys
from gelora_cli.config.paths import absolute, local_or_hub, own_task_name, slug
from gelora_cli.config.presets import with_presets
from gelora_cli.config.saved_plan import with_saved_plan
from gelora_cli.config.schema import RunConfig, RunKeys
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.plugins import load_plugins
from gelora_cli.core.registries import METRICS, TASK_KINDS

Section = TypeVar("Section", bound=EntrySection)


@dataclass(frozen=True)
class SmokeLimits:
    """The most of each that `smoke=true` takes: rows of the profile, of training, of each evaluated split, epochs."""

    profile_examples: int = 200
    train_examples: int = 128
    eval_examples: int = 64
    epochs: int = 1


SMOKE = SmokeLimits()


def complete(config: RunConfig) -> RunConfig:
    """Return the configuration with presets filled in and absolute paths; no setting that matters is left None.

    Raises:
        GeloraError: every problem with a value at once.
    """
    if config.plugins is not None:  # first: without them a method of theirs is not known
        plugins = load_plugins(config.plugins).name
        config = in_entry_classes(config)  # keys that the plug-ins declare have their types now
        config = replace(config, plugins=plugins)
    problems = value_problems(config)
    if problems:
        raise GeloraError(list_problems(problems))
    # In this order: a preset is looked up by the task's name and the plan's method, and smoke limits what it sets.
    config = with_task(_with_paths(config))
    config = with_presets(with_saved_plan(config))
    return _with_smoke(config)


def with_task(config: RunKeys) -> RunKeys:
    """Set name, metric and reported value, where the task leaves them open."""
    task = config.task
    kind = TASK_KINDS.get(task.kind)
    metric = task.metric or kind.metrics[0]
    reported = task.reported or METRICS.get(metric).reported
    values = {"name": own_task_name(task, config.data), "metric": metric, "reported": reported}
    if kind.standardizes(task) is kind.standardizes(replace(task, standardize="auto")):
        values["standardize"] = "auto"  # said or not, it is the same run
    return replace(config, task=replace(task, **values))  # type: ignore[arg-type]


def _with_smoke(config: RunConfig) -> RunConfig:
    """Limit the rows of profile, training and evaluation where `smoke=true`. A smaller number of the user's stays."""
    if not config.smoke:
        return config
    profile, data = config.profile, config.data
    return replace(
        config,
        profile=replace(
            profile,
            max_examples=min(profile.max_examples, SMOKE.profile_examples),
            track_examples=min(profile.track_examples or SMOKE.profile_examples, SMOKE.profile_examples),
        ),
        data=replace(
            data,
            max_train_examples=min(data.max_train_examples or SMOKE.train_examples, SMOKE.train_examples),
            max_eval_examples=min(data.max_eval_examples or SMOKE.eval_examples, SMOKE.eval_examples),
        ),
        train=replace(config.train, epochs=min(config.train.epochs or SMOKE.epochs, SMOKE.epochs)),
    )


def _with_paths(config: RunConfig) -> RunConfig:
    """Make paths absolute, so that a run can be resumed, and its workers started, from any directory."""
    model = config.model
    if model.path is not None:
        path = local_or_hub(model.path, one_word=True)
        model = replace(model, path=path, name=slug(Path(path).name), package=None, hub=None, sha256=None, bytes=None)
    ranks = replace(config.ranks, path=absolute(config.ranks.path))
    method = _with_absolute_paths(config.method)
    tracker = {name: _with_absolute_paths(settings) for name, settings in config.tracker.items()}
    sources = {}
    for entry in declared_keys(type(config.data)):
        source = entry.value_in(config.data)
        if entry.declared.path and source is not None:
            sources[entry.name] = local_or_hub(source)
    data = replace(config.data, **sources)  # type: ignore[arg-type]
    paths = {"runs_dir": absolute(config.runs_dir) or "", "init_from": absolute(config.init_from)}
    sections = {"model": model, "method": method, "tracker": tracker, "ranks": ranks, "data": data}
    archives = [str(absolute(file)) for file in config.archives]
    return replace(config, archives=archives, **sections, **paths)  # type: ignore[arg-type]


def _with_absolute_paths(section: Section) -> Section:
    """Return the settings of an entry with every path made absolute."""
    paths = {}
    for entry in declared_keys(type(section)):
        if entry.declared.path:
            paths[entry.name] = absolute(entry.value_in(section))
    return replace(section, **paths)
