"""Keys of rows that the user gave on the command line, and that the chosen task does not read.

Only given keys are looked at: an experiment, a preset or a saved configuration may hold the keys of several tasks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gelora_cli.config.keys import Key, keys_of, written_value
from gelora_cli.config.schema import RunConfig, TaskConfig
from gelora_cli.core.messages import join_names, join_texts
from gelora_cli.core.registries import TASK_KINDS

SHAREABLE = ("squad", "squad_v2", "gsm8k")
"""Data sets whose places a script may give together, as long as that of its task is among them."""


def given_keys(overrides: Iterable[str]) -> set[str]:
    """Return the keys of these overrides."""
    return {text.partition("=")[0].lstrip("+") for text in overrides}


def unread_keys(config: RunConfig, given: Iterable[str]) -> list[str]:
    """Return the given keys that the task of a configuration does not read, in the order of their declaration."""
    names = {*given}
    return [
        entry.name
        for entry in keys_of(config)
        if entry.name in names and entry.value_in(config) != entry.default and not _reads(config.task, entry, names)
    ]


def unread_problems(configs: Sequence[RunConfig], given: Iterable[str]) -> list[str]:
    """Return what the jobs of a command line would ignore of its keys, each as one sentence with its fix.

    A key of where rows are may be that of one job of several. A key that would only change the name of a run's
    directory is refused for each job that does not read it.
    """
    given = [*given]
    unread = [unread_keys(config, given) for config in configs]
    problems = []
    for key in dict.fromkeys(name for names in unread for name in names):
        having = [config for config, names in zip(configs, unread, strict=True) if key in names]
        (entry,) = [entry for entry in keys_of(having[0]) if entry.name == key]
        if entry.declared.target or len(having) == len(configs):
            problems.append(_problem(entry, having))
    return problems


def _reads(task: TaskConfig, entry: Key, given: set[str]) -> bool:
    """Return whether a task reads a key, or shares a command line with what it reads in its place."""
    sources, target = entry.declared.sources, entry.declared.target
    if sources and task.source not in sources:
        return entry.last in SHAREABLE and f"data.{task.source}" in given
    # Of a kind that there is not, another check speaks.
    return not target or task.kind not in TASK_KINDS or TASK_KINDS.get(task.kind).target == target


def _problem(entry: Key, configs: Sequence[RunConfig]) -> str:
    """Return that the tasks of these configurations do not read a key."""
    tasks = join_names(dict.fromkeys(config.task.name or config.task.source for config in configs))
    if entry.declared.sources:
        fix = " or ".join(f"task={source}" for source in entry.declared.sources)
    else:
        kinds = [kind for kind in TASK_KINDS.names() if TASK_KINDS.get(kind).target == entry.declared.target]
        fix = f"a task of {join_texts(f'task.kind={kind}' for kind in kinds)}"
    value = written_value(entry.value_in(configs[0]))
    return f"{entry.name}={value} is not read by task={tasks}; give {fix}, or leave it out"
