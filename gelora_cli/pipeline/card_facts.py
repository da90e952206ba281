"""What a model card says of a run beside its result and its plan."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gelora_cli.config.schema import RunConfig
from gelora_cli.core.registries import TASK_KINDS

if TYPE_CHECKING:
    from gelora_cli.tasks.base import TaskKind


@dataclass(frozen=True)
class CardFacts:
    """The surroundings of a run.

    Attributes:
        config: the run's frozen configuration.
        command: the command that made it.
        base: the base model's hub id, or its directory seen from that of the card.
        peft: whether the adapter is in PEFT's own format.
        arguments: what `from_pretrained` needs to load the base model.
        starts_from: the runs whose adapters were merged into the base model before, oldest first.
    """

    config: RunConfig
    command: str
    base: str
    peft: bool
    arguments: Mapping[str, Any] = field(default_factory=dict)
    starts_from: tuple[str, ...] = ()


@dataclass(frozen=True)
class Export:
    """What was exported of a run.

    Attributes:
        form: `merged` (the adapter in the weights of the model) or `adapter`.
        run: the name of the run's directory.
        examples: how many were scored with both, the merged model and the adapter.
        difference: the largest difference of their scores.
        tolerance: the largest difference that is accepted.
    """

    form: str
    run: str
    examples: int = 0
    difference: float = 0.0
    tolerance: float = 0.0


def task_kind(config: RunConfig) -> TaskKind[Any, Any, Any]:
    """Return the kind of a run's task."""
    return TASK_KINDS.get(config.task.kind)


def hub_id(name: str | None) -> str | None:
    """Return a name if it is a hub id rather than a path on this machine, else None."""
    return name if name and re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?", name) else None


def hub_data_set(config: RunConfig) -> str | None:
    """Return the hub's data set that the run took its rows from; None for local files, whatever they hold."""
    return hub_id(getattr(config.data, config.task.source, None))
