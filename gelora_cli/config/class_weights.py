"""How much each label counts in the loss, `task.class_weights`: what is accepted, and the numbers in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.messages import join_names, quote, suggest
from gelora_cli.core.registries import TASK_KINDS

NONE, BALANCED = "none", "balanced"
ACCEPTED = "accepted: none, balanced, or a positive number for each label, such as task.class_weights=[1,5]"
LEAST, MOST = 1e-6, 1e6
"""Weights beyond these would be 0 or infinite in float32, if not in the loss then in the norm of its gradient."""


def class_weight_problem(task: TaskConfig) -> str | None:
    """Return what is wrong with `task.class_weights`, or None; numbers are counted where the labels are known."""
    given = task.class_weights
    if given == NONE:
        return None
    if task.kind in TASK_KINDS and not TASK_KINDS.get(task.kind).weighs_classes:
        return f"task.class_weights={quote(given)}: task.kind={task.kind} has no classes to weigh; leave it out"
    if given == BALANCED:
        return None
    if not isinstance(given, Sequence | Mapping) or isinstance(given, str):
        return f"task.class_weights={'null' if given is None else quote(given)}: not known; {ACCEPTED}"
    numbers = list(given.values()) if isinstance(given, Mapping) else list(given)
    refused = [number for number in numbers if not _is_weight(number)]
    if refused or not numbers:
        what = f"{quote(refused[0])} is no number from 1e-6 to 1e6" if refused else "no numbers"
        return f"task.class_weights={quote(given)}: {what}; {ACCEPTED}"
    return _label_problem(given, task.labels) if task.labels else None


def with_ordered_weights(task: TaskConfig) -> TaskConfig:
    """Return the task with its class weights as floats in the order of its labels; a word stays as it is."""
    given = task.class_weights
    if isinstance(given, Mapping):
        by_label = {_label_name(label, task.labels): float(number) for label, number in given.items()}
        return replace(task, class_weights=[by_label[label] for label in task.labels])
    if isinstance(given, str):
        return task
    return replace(task, class_weights=[float(number) for number in given])


def _is_weight(number: object) -> bool:
    """Return whether a value is a number that a loss can be weighted by; Python's bool is an int, but none here."""
    return isinstance(number, int | float) and not isinstance(number, bool) and LEAST <= number <= MOST


def _label_name(written: object, labels: Sequence[str]) -> str:
    """Return the label that a key of a mapping names; `true`, which YAML reads as a bool, is a label in either case."""
    if isinstance(written, bool):
        return next((label for label in labels if label.casefold() == str(written).casefold()), str(written))
    return str(written)


def _label_problem(given: Sequence[float] | Mapping[object, float], labels: Sequence[str]) -> str | None:
    """Return that the numbers are not one for each label."""
    names = f"the {len(labels)} labels {join_names(labels)}"
    if not isinstance(given, Mapping):
        if len(given) == len(labels):
            return None
        return f"task.class_weights={quote(given)} has {len(given)} numbers for {names}; give one for each, in order"
    weighed = [_label_name(label, labels) for label in given]
    if unknown := [label for label in weighed if label not in labels]:
        return f"task.class_weights={quote(given)}: {quote(unknown[0])} is no label; {suggest(unknown[0], labels)}"
    if missing := [label for label in labels if label not in weighed]:
        return f"task.class_weights={quote(given)} has no number for {quote(missing[0])}; give one for each of {names}"
    return None
