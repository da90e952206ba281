"""What is wrong with a configuration: what each key's declaration refuses, and what does not go together.

Every message names the key, what was given, what is accepted and what to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from gelora_cli.config.class_weights import class_weight_problem
from gelora_cli.config.entry_section import EntrySection
from gelora_cli.config.input_schema import label_columns
from gelora_cli.config.key_values import value_problem
from gelora_cli.config.keys import declared_keys, keys_of
from gelora_cli.config.presets import find_preset
from gelora_cli.config.saved_plan import saved_plan_problem
from gelora_cli.config.schema import PresetConfig, ProfileConfig, RanksConfig, RunConfig, TaskConfig
from gelora_cli.config.stored_weights import dtype_problems
from gelora_cli.config.templates import parse_template
from gelora_cli.config.training_checks import training_problems
from gelora_cli.config.tuned import with_tuned
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import expand_home
from gelora_cli.core.messages import join_names, quote, quote_name, suggest
from gelora_cli.core.registries import ALLOCATORS, METHODS, METRICS, TASK_KINDS

ENCODER = "deberta_v3_base"
"""The default of `model=`, in configs/run.yaml."""


def list_problems(problems: list[str]) -> str:
    """Return all configuration errors as one message."""
    if len(problems) == 1:
        return problems[0]
    return f"{len(problems)} problems with the configuration:\n" + "\n".join(f"  - {text}" for text in problems)


def value_problems(config: object) -> list[str]:
    """Return what is wrong with the values of a composed configuration, each as one sentence with its fix."""
    problems = list(declared_problems(config))
    if isinstance(config, RunConfig):
        try:
            config, _ = with_tuned(config)
        except GeloraError as error:
            problems.append(str(error))
    problems += [problem for problem in _cross_key_problems(config) if problem]
    return problems


def frozen_problems(config: RunConfig) -> list[str]:
    """Return what can't be true of a run that has ended, each as one sentence: its configuration was edited since.

    Most rules between keys are left out, since an older version may have had others.
    """
    problems = [*declared_problems(config)]
    if config.task.kind in TASK_KINDS:
        kind = TASK_KINDS.get(config.task.kind)
        problems += [kind.column_problem(config.task) or "", kind.label_problem(config.task) or ""]
    return [problem for problem in problems if problem]


def declared_problems(config: object, prefix: str = "") -> Iterator[str]:
    """Yield what the declarations of its keys refuse of a configuration, or of a section under its `prefix`."""
    for entry in keys_of(config):
        problem = value_problem(entry, prefix + entry.name, entry.value_in(config))
        if problem:
            yield problem


def _cross_key_problems(config: object) -> Iterator[str | None]:
    """Yield what does not go together, None for all that does."""
    if hasattr(config, "budget"):
        try:
            parse_budget(config.budget)
        except GeloraError as error:
            yield str(error)
    for name, section in vars(config).items():
        if isinstance(section, EntrySection):
            yield from _section_problems(section, name)
    if hasattr(config, "method"):
        yield _allocator_problem(config.method.name)
        if hasattr(config, "ranks"):
            yield from _unread_rank_keys(config.method.name, config.ranks)
    if isinstance(config, RunConfig):
        yield from training_problems(config)
        yield _preset_problem(config)
        yield saved_plan_problem(config)
        yield from dtype_problems(config)
        yield from profile_problems(config.profile)
        yield from cross_task_problems(config.task)
        yield _encoder_problem(config)
        yield from _tracker_problems(config)
        yield from _archive_problems(config)


def _archive_problems(config: RunConfig) -> Iterator[str]:
    """Yield the archives that are not there."""
    for file in config.archives:
        if not Path(expand_home(file)).is_file():
            yield f"archives=[{file}]: no such file; give files that gelora pack wrote, or leave archives out"


def profile_problems(profile: ProfileConfig) -> Iterator[str]:
    """Yield the keys of a profile that nothing would read: those of another estimator, or of another pooling."""
    if profile.scale is not None and profile.estimator != "gride":
        yield (
            f"profile.scale={profile.scale}: profile.estimator={profile.estimator} has no scale, only gride has; give "
            "profile.estimator=gride, or leave profile.scale out"
        )
    if profile.estimator == "gride" and profile.discard != ProfileConfig().discard:
        yield (
            f"profile.discard={profile.discard:g}: profile.estimator=gride has a cut of its own; give "
            "profile.estimator=fit or mle, or leave profile.discard out"
        )
    if profile.pooling != "tokens" and profile.tokens != ProfileConfig().tokens:
        yield (
            f"profile.tokens={profile.tokens}: profile.pooling={profile.pooling} gives one point per text; give "
            "profile.pooling=tokens, or leave profile.tokens out"
        )


def cross_task_problems(task: TaskConfig) -> list[str]:
    """Return what does not go together in a task."""
    if task.kind not in TASK_KINDS:  # the check of `task.kind` names those that are accepted
        return [problem for problem in (_group_problem(task), _split_problem(task)) if problem]
    kind = TASK_KINDS.get(task.kind)
    problems = (
        *kind.setting_problems(task),
        _label_set_problem(task),
        _metric_problem(task),
        kind.column_problem(task),
        *_template_problems(task),
        _group_problem(task),
        _standardize_problem(task),
        _split_problem(task),
        class_weight_problem(task),
        kind.label_problem(task),
    )
    return [problem for problem in problems if problem]


def _allocator_problem(name: str) -> str | None:
    """Return that a method, of a plug-in, names an allocator that there is not."""
    allocator = METHODS.get(name).allocator if name in METHODS else ""
    if not allocator or allocator in ALLOCATORS:
        return None
    return f"method={name}: its allocator {allocator} is not known; {suggest(allocator, ALLOCATORS.names())}"


def _unread_rank_keys(name: str, ranks: RanksConfig) -> Iterator[str]:
    """Yield the keys of plans by an allocator that a method without one would not read."""
    # A plug-in's method may read them itself.
    if name not in METHODS or METHODS.get(name).allocator or not METHODS.get(name).is_built_in:
        return
    planned = ", ".join(entry for entry in METHODS.names() if METHODS.get(entry).allocator)
    for item, default in (("granularity", None), ("when_unstable", "warn")):
        if (value := getattr(ranks, item)) != default:
            yield (
                f"ranks.{item}={value}: method={name} does not plan its ranks by an allocator, so it would change "
                f"nothing; leave it out, or take one of {planned}"
            )


def _section_problems(section: EntrySection, prefix: str) -> Iterator[str]:
    """Yield what is wrong with the keys that an entry brings: settings of other entries, and what does not go together.

    A setting that only other entries have is refused with the names of those.
    """
    choice = prefix if section.choice == "name" else f"{prefix}.{section.choice}"
    for item, value in section.undeclared().items():
        owners = ", ".join(section.owners(item))
        yield f"{prefix}.{item}={value}: {choice}={section.entry} has no such setting; those that have it: {owners}"
    yield from section.problems()


def _tracker_problems(config: RunConfig) -> Iterator[str]:
    """Yield what is wrong with the trackers: keys of one that is not chosen, or values that a tracker refuses."""
    for name, keys in config.tracker.items():
        prefix = f"tracker.{name}"
        if name not in config.trackers:
            names = ",".join([*config.trackers, name])
            yield f"{prefix} has keys, but trackers={config.trackers} does not name {name}; give trackers=[{names}]"
        yield from declared_problems(keys, f"{prefix}.")
        yield from _section_problems(keys, prefix)


def _preset_problem(config: RunConfig) -> str | None:
    """Return what is wrong with the preset of a run, or which keys must be given where there is none."""
    preset = find_preset(config)
    if preset is not None:
        return _preset_value_problem(preset)
    needed = [key for key in ("learning_rate", "epochs", "batch_size") if getattr(config.train, key) is None]
    if not needed:
        return None
    missing = " ".join(f"train.{key}=..." for key in needed)
    return f"task={config.task.name} has no preset for {config.method.preset} to complete: give {missing}"


def _preset_value_problem(preset: PresetConfig) -> str | None:
    """Return what is wrong with the values of a preset, which OmegaConf leaves unchecked."""
    for entry in declared_keys(PresetConfig):
        value, name = entry.value_in(preset), f"preset.{entry.name}"
        if value is not None and str not in entry.types():
            kinds: tuple[type, ...] = (int, float) if float in entry.types() else (int,)
            if isinstance(value, bool) or not isinstance(value, kinds):
                what = "a number" if float in kinds else "a whole number"
                return f"{name}={str(value)[:40]}: accepted is {what}"
        problem = value_problem(entry, name, value)
        if problem:
            return problem
    return None


def _metric_problem(task: TaskConfig) -> str | None:
    metrics = TASK_KINDS.get(task.kind).metrics
    metric = task.metric or metrics[0]
    if metric not in metrics:
        return f"task.metric={metric} does not judge task.kind={task.kind}; {suggest(metric, metrics)}"
    # Values of each label are checked once the labels are known, which may be those of the rows.
    if not task.reported or (METRICS.get(metric).names_labels and not task.labels):
        return None
    return reported_problem(replace(task, metric=metric))


def reported_problem(task: TaskConfig) -> str | None:
    """Return that the reported value is none of the task's metric, whose labels are known."""
    metric = task.metric
    values = METRICS.get(metric).for_labels(task.labels).values()
    if task.reported in values:
        return None
    return f"task.reported={task.reported} is no value of task.metric={metric}; {suggest(task.reported, values)}"


def _standardize_problem(task: TaskConfig) -> str | None:
    if task.standardize not in ("auto", True, False):
        return f"task.standardize={task.standardize}: not known; accepted: auto, true, false"
    if task.standardize is True and not TASK_KINDS.get(task.kind).standardizes(task):
        return f"task.standardize=true: only scores are standardised, task.kind={task.kind} has none; leave it out"
    return None


def _encoder_problem(config: RunConfig) -> str | None:
    """Return that a task of completions is given the default model, an encoder, before it is fetched for nothing."""
    kind, model = config.task.kind, config.model
    if model.path or model.name != ENCODER or kind not in TASK_KINDS or TASK_KINDS.get(kind).target != "completions":
        return None
    return (
        f"model={ENCODER}, the default, is an encoder, which writes no text: task.kind={kind} needs a decoder. Give "
        "model.path=DIR, or a model such as model=qwen3_0_6b"
    )


def _label_set_problem(task: TaskConfig) -> str | None:
    """Return that a key of several labels per row is given for a kind without them."""
    if TASK_KINDS.get(task.kind).target == "label_sets":
        return None
    defaults = TaskConfig()
    for name in ("label_columns", "label_separator", "threshold"):
        value = getattr(task, name)
        if value != getattr(defaults, name):
            given = f"[{join_names(value)}]" if isinstance(value, list) else value
            return f"task.{name}={given}: several labels per text need task.kind=multilabel; give it, or leave this out"
    return None


def _template_problems(task: TaskConfig) -> Iterator[str]:
    """Yield what is wrong with the templates of prompts and completions, or that a kind has none."""
    for name, template in (("prompt", task.prompt), ("completion", task.completion)):
        if template is None:
            continue
        if TASK_KINDS.get(task.kind).target != "completions":
            yield f"task.{name}={quote(template)}: task.kind={task.kind} has no {name}s; leave it out"
            continue
        try:
            parse_template(template, f"task.{name}")
        except GeloraError as error:
            yield str(error)


def _split_problem(task: TaskConfig) -> str | None:
    """Return what is wrong with the names of the splits: none, the training rows, one twice, or no plain word."""
    names = task.eval_splits
    if not names or len(set(names)) < len(names) or "train" in names:
        return (
            f"task.eval_splits=[{join_names(names)}]: one or more different splits other than train are accepted, the "
            "deciding one first; leave the key out for the task's own"
        )
    for name in (*names, *task.test_splits):
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", name) or name.startswith("."):
            return f"{quote_name(name)} is no name of a split: letters, digits, '_', '-' and '.' are accepted"
    return None


def _group_problem(task: TaskConfig) -> str | None:
    if task.group is None:
        return None
    if task.source not in ("text", "instruct"):
        return (
            f"task.group={task.group}: only task=text and task=instruct have a column of groups (SQuAD's are its "
            "articles); leave it out"
        )
    if task.group in label_columns(task):
        name = "task.label_columns" if task.label_columns else "task.label"
        return (
            f"task.group={task.group} is {name}, too: rows of a group stay on one side, so that no label could be "
            "held out; name the column that says which rows belong together, such as an article or author"
        )
    return None
