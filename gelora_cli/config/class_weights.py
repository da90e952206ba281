"""How much each label counts in the loss, `task.class_weights`: what is accepted, and the numbers in order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.messages import join_names, quote, suggest
from gelora_cli.core.registries import TASK_KINDS

NONE, BALANCED = "none", "balanced"
ACCEPTED = "accepted: none, balanced, or a positive number for each label, such as task.class_weights=[1,5]"


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
        return f"task.class_weights={quote(given)}: not known; {ACCEPTED}"
    numbers = list(given.values()) if isinstance(given, Mapping) else list(given)
    refused = [number for number in numbers if not _is_positive(number)]
    if refused or not numbers:
        what = f"{quote(refused[0])} is no positive number" if refused else "no numbers"
        return f"task.class_weights={quote(given)}: {what}; {ACCEPTED}"
    return _label_problem(given, task.labels) if task.labels else None


def with_ordered_weights(task: TaskConfig) -> TaskConfig:
    """Return the task with its class weights as floats in the order of its labels; a word stays as it is."""
    given = task.class_weights
    if isinstance(given, Mapping):
        by_label = {str(label): float(number) for label, number in given.items()}
        return replace(task, class_weights=[by_label[label] for label in task.labels])
    if isinstance(given, str):
        return task
    return replace(task, class_weights=[float(number) for number in given])


def _is_positive(number: object) -> bool:
    """Return whether a value is a finite number above 0; Python's bool is an int, but no number here."""
    if isinstance(number, bool) or not isinstance(number, int | float):
        return False
    try:
        return math.isfinite(number) and number > 0
    except OverflowError:  # an integer that no float can hold
        return False


def _label_problem(given: Sequence[float] | Mapping[object, float], labels: Sequence[str]) -> str | None:
    """Return that the numbers are not one for each label."""
    names = f"the {len(labels)} labels {join_names(labels)}"
    if not isinstance(given, Mapping):
        if len(given) == len(labels):
            return None
        return f"task.class_weights={quote(given)} has {len(given)} numbers for {names}; give one for each, in order"
    weighed = [str(label) for label in given]
    if unknown := [label for label in weighed if label not in labels]:
        return f"task.class_weights={quote(given)}: {quote(unknown[0])} is no label; {suggest(unknown[0], labels)}"
    if missing := [label for label in labels if label not in weighed]:
        return f"task.class_weights={quote(given)} has no number for {quote(missing[0])}; give one for each of {names}"
    return None
