"""What a model card says of a run beside its result and its plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

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
        outside_blocks: the linears that lie in no block, which `model.dtype=4bit` does not quantise.
    """

    config: RunConfig
    command: str
    base: str
    peft: bool
    arguments: Mapping[str, Any] = field(default_factory=dict)
    starts_from: tuple[str, ...] = ()
    outside_blocks: tuple[str, ...] = ()


@dataclass(frozen=True)
class StorageDifference:
    """How far the scores of a run are from those of its adapter on the same weights in float32.

    Attributes:
        dtype: how the run stored the frozen weights (`model.dtype`).
        largest: the largest difference of scores.
        mean: the mean of the differences, without their signs.
        score: the largest score, without its sign, beside which the differences are large or small.
    """

    dtype: str
    largest: float
    mean: float
    score: float

    def in_words(self) -> str:
        """Return the difference as a clause."""
        return (
            f"with weights in {self.dtype}, as the run had them, scores differ from these by up to {self.largest:.2g} "
            f"and {self.mean:.2g} on average; the largest score is {self.score:.2g}"
        )


@dataclass(frozen=True)
class Export:
    """What was exported of a run.

    Attributes:
        form: `merged` (the adapter in the weights of the model) or `adapter`.
        run: the name of the run's directory.
        examples: how many were scored with both, the merged model and the adapter.
        difference: the largest difference of their scores.
        tolerance: the largest difference that is accepted.
        storage: how far the run itself is from the merged model, whose weights are in float32; None if they were there.
    """

    form: str
    run: str
    examples: int = 0
    difference: float = 0.0
    tolerance: float = 0.0
    storage: StorageDifference | None = None


def task_kind(config: RunConfig) -> TaskKind[Any, Any, Any]:
    """Return the kind of a run's task."""
    return TASK_KINDS.get(config.task.kind)


def is_local(value: object) -> TypeGuard[str]:
    """Return whether the value of a key is a path on this machine: a completed configuration makes them absolute."""
    return isinstance(value, str) and Path(value).is_absolute()


def hub_data_set(config: RunConfig) -> str | None:
    """Return the hub's data set that the run took its rows from; None for local files, whatever they hold."""
    source: str | None = getattr(config.data, config.task.source, None)
    return None if is_local(source) else source


def hub_model(config: RunConfig) -> str | None:
    """Return the hub id of the base model; None for a directory of this machine, and for a package without one."""
    if config.model.path is None:
        return config.model.hub
    return None if is_local(config.model.path) else config.model.path
