"""The task's head: which modules it is, and whether that of the weights is taken over or one drawn from the seed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gelora_cli.core.errors import GeloraError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel

MOST_NAMES, LONGEST_NAME = 6, 40
"""Label names, and characters of one, that a message shows."""


@dataclass(frozen=True)
class HeadSpec:
    """The task's head: `label_names` in the order of the class indices, empty unless the kind is classification."""

    kind: Literal["classification", "regression", "question_answering"]
    label_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.kind == "classification") != (len(self.label_names) > 1):
            raise ValueError(f"a {self.kind} head has the label names {self.label_names}: two or more, or else none")


@dataclass(frozen=True)
class TaskWeights:
    """A task model, and the names of its tensors that the weights lack or hold in another shape."""

    model: PreTrainedModel
    missing: set[str]
    mismatched: set[str]

    def output_layer(self, rows: int) -> str | None:
        """Return the name of the last linear of the head that has so many rows; None of a head of another form."""
        from torch import nn

        outside = _beside_backbone(self.model) if self.model.base_model is not self.model else set()
        layers = [
            name
            for name, module in self.model.named_modules()
            if isinstance(module, nn.Linear) and module.out_features == rows and f"{name}.weight" in outside
        ]
        return layers[-1] if layers else None


def label_names(config: PreTrainedConfig) -> tuple[str, ...]:
    """Return the label names of config.json in the order of their rows; none if they say nothing, as LABEL_0 does."""
    names: dict[Any, Any] = config.id2label or {}
    if sorted(names) != list(range(len(names))):
        return ()
    labels = tuple(str(names[index]) for index in range(len(names)))
    if all(re.fullmatch(r"LABEL_\d+", label, re.IGNORECASE) for label in labels):
        return ()
    return labels


@dataclass(frozen=True)
class HeadChoice:
    """Whether the head in the weights is taken over, in which order of its rows (empty: as they lie), and why."""

    take_over: bool
    origin: str
    order: tuple[int, ...] = ()


def choose_head(weights: TaskWeights, head: HeadSpec, saved: tuple[str, ...], positional: bool) -> HeadChoice:
    """Decide about the head in the weights, which config.json describes with the labels `saved`."""
    rows = {"classification": len(head.label_names), "regression": 1, "question_answering": 2}[head.kind]
    output = weights.output_layer(rows)
    if output is None or f"{output}.weight" in weights.missing:
        return HeadChoice(True, "drawn from the seed: the weights hold none")
    if f"{output}.weight" in weights.mismatched:
        return HeadChoice(False, f"drawn from the seed: that of the weights has not {rows} rows")
    if head.kind != "classification":
        return HeadChoice(True, "that of the weights")
    if positional:
        names = f"{_listed(saved) or 'no names'} for {_listed(head.label_names)}"
        return HeadChoice(True, f"that of the weights by position (model.head=positional): {names}")
    return _match_labels(saved, head.label_names)


def _match_labels(saved: tuple[str, ...], wanted: tuple[str, ...]) -> HeadChoice:
    """Decide about a classification head by the names of its labels, whatever their case."""
    if not saved:
        return HeadChoice(
            False, "drawn from the seed: that of the weights names no labels (model.head=positional keeps it)"
        )
    position = {name.strip().casefold(): index for index, name in enumerate(saved)}
    order = tuple(position.get(name.strip().casefold(), -1) for name in wanted)
    if sorted(order) != list(range(len(saved))):
        return HeadChoice(
            False, f"drawn from the seed: that of the weights is for {_listed(saved)}, not {_listed(wanted)}"
        )
    if list(order) == sorted(order):
        return HeadChoice(True, "that of the weights, whose labels have the same names")
    moved = f"reordered from {_listed(saved)} to {_listed(wanted)}"
    return HeadChoice(True, f"that of the weights by the names of its labels, its rows {moved}", order)


def _listed(names: Sequence[str]) -> str:
    """Return label names for a message: the first ones, cut where they are long, without what a terminal would obey."""
    shown = [name if name.isprintable() else ascii(name) for name in names[:MOST_NAMES]]
    cut = [name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..." for name in shown]
    return ", ".join(cut) + (", ..." if len(names) > MOST_NAMES else "")


def reorder_rows(weights: TaskWeights, order: tuple[int, ...]) -> None:
    """Bring the rows of the head's output layer into the order of the task's labels."""
    import torch

    output: Any = weights.model.get_submodule(weights.output_layer(len(order)) or "")
    with torch.no_grad():
        for parameter in output.parameters():
            parameter.copy_(parameter[list(order)].clone())


def find_head_modules(weights: TaskWeights, source: str) -> tuple[str, ...]:
    """Return the topmost modules that make up the head: all beside the backbone, and a pooler that the weights lack.

    Raises:
        GeloraError: the model has no backbone apart from its head, or the weights lack more than the head.
    """
    model, missing, mismatched = weights.model, weights.missing, weights.mismatched
    if model.base_model is model:
        raise GeloraError(
            f"{type(model).__name__} of {source} doesn't set its head apart from a backbone; take another."
        )
    names = {name for name, _ in model.named_parameters()}
    pooler = {name for name in names if name.startswith(f"{model.base_model_prefix}.pooler.")}
    head = _beside_backbone(model) | (pooler if pooler <= missing else set())
    if misfits := sorted((missing | mismatched) - head):
        shown = ", ".join(name + (" (another shape)" if name in mismatched else "") for name in misfits[:3])
        raise GeloraError(
            f"The weights of {source} don't fit its config.json ({type(model).__name__}): {len(misfits)} of "
            f"{len(names)} tensors are missing or have another shape, the first: {shown}. Weights and configuration "
            "of one model are accepted; write both again with save_pretrained."
        )
    return tuple(_topmost(model, head))


def modules_outside_backbone(model: PreTrainedModel) -> tuple[str, ...]:
    """Return the topmost modules beside the backbone of a model as it is; none of a bare backbone."""
    return tuple(_topmost(model, set() if model.base_model is model else _beside_backbone(model)))


def _beside_backbone(model: PreTrainedModel) -> set[str]:
    """Return the parameters outside the backbone of a model that sets it apart."""
    prefix = f"{model.base_model_prefix}."
    return {name for name, _ in model.named_parameters() if not name.startswith(prefix)}


def _topmost(module: nn.Module, names: set[str], prefix: str = "") -> Iterator[str]:
    """Yield the names of the topmost modules all of whose parameters are among `names`."""
    for child_name, child in module.named_children():
        name = prefix + child_name
        inside = {f"{name}.{parameter}" for parameter, _ in child.named_parameters()}
        if inside and inside <= names:
            yield name
        elif inside & names:
            yield from _topmost(child, names, f"{name}.")
