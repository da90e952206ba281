"""Decide about the head of a task model: which modules it is, and whether the one in the weights is used."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from gelora_cli.core.errors import GeloraError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel

MOST_NAMES = 6
"""Label names in a message."""
LONGEST_NAME = 40
"""Characters of a label name in a message."""
MULTI_LABEL: Literal["multi_label_classification"] = "multi_label_classification"
"""The `problem_type` in config.json by which transformers takes the sigmoid of each label's logit."""


@dataclass(frozen=True)
class HeadChoice:
    """What becomes of the head that the weights hold.

    Attributes:
        take_over: whether it is used; else the head is drawn from the seed.
        origin: where the head comes from and why, in words, for the log and the model card.
        order: the order into which its rows are brought; empty if they stay as they are.
    """

    take_over: bool
    origin: str
    order: tuple[int, ...] = ()


class HeadSpec(ABC):
    """The head that a task puts on a model.

    Attributes:
        auto_class: the class of transformers that loads a model with such a head.
        model_type: what a message calls such a model.
    """

    auto_class: ClassVar[str] = "AutoModelForSequenceClassification"
    model_type: ClassVar[str]

    @property
    @abstractmethod
    def rows(self) -> int:
        """Return the number of outputs of the head's last linear layer."""

    @abstractmethod
    def configure(self, config: PreTrainedConfig) -> None:
        """Set the entries of config.json that give a model this head."""

    def loading_arguments(self, config: PreTrainedConfig) -> dict[str, Any]:
        """Return the arguments of `from_pretrained` that give a model the head that `config` describes."""
        return {"num_labels": config.num_labels}

    def choose(self, saved: tuple[str, ...], positional: bool) -> HeadChoice:
        """Decide about a head of the same size in the weights, whose labels are `saved`."""
        return HeadChoice(True, "that of the weights")

    def misfit(self, config: PreTrainedConfig) -> str:
        """Return why the head of weights with this config.json is another kind of head; empty if it may be used."""
        return ""


@dataclass(frozen=True)
class LabelHead(HeadSpec):
    """One output per label, in the order of `label_names`."""

    model_type: ClassVar[str] = "classification"
    label_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.label_names) < 2:
            raise ValueError(f"a classification head needs two or more label names, not {self.label_names}")

    @property
    def rows(self) -> int:
        """Return the number of labels."""
        return len(self.label_names)

    def configure(self, config: PreTrainedConfig) -> None:
        """Set the names of the labels."""
        config.id2label = dict(enumerate(self.label_names))
        config.label2id = {name: index for index, name in config.id2label.items()}
        config.problem_type = "single_label_classification"

    def loading_arguments(self, config: PreTrainedConfig) -> dict[str, Any]:
        """Return the names of the labels."""
        return {"id2label": dict(config.id2label or {}), "label2id": dict(config.label2id or {})}

    def choose(self, saved: tuple[str, ...], positional: bool) -> HeadChoice:
        """Take a head over if it names the same labels; `positional` takes its rows as they are."""
        if positional:
            names = f"{_join_labels(saved) or 'no names'} for {_join_labels(self.label_names)}"
            return HeadChoice(True, f"that of the weights by position (model.head=positional): {names}")
        if not saved:
            return HeadChoice(
                False, "drawn from the seed: that of the weights names no labels (model.head=positional keeps it)"
            )
        # Names match whatever their case. A label that the weights lack gets row -1, so the order is no permutation.
        saved_row = {name.strip().casefold(): row for row, name in enumerate(saved)}
        order = tuple(saved_row.get(name.strip().casefold(), -1) for name in self.label_names)
        saved_names, task_names = _join_labels(saved), _join_labels(self.label_names)
        if sorted(order) != list(range(len(saved))):
            return HeadChoice(False, f"drawn from the seed: that of the weights is for {saved_names}, not {task_names}")
        if list(order) == sorted(order):
            return HeadChoice(True, "that of the weights, whose labels have the same names")
        moved = f"reordered from {saved_names} to {task_names}"
        return HeadChoice(True, f"that of the weights by the names of its labels, its rows {moved}", order)


@dataclass(frozen=True)
class LabelSetHead(LabelHead):
    """One output per label, each of which is decided by itself."""

    model_type: ClassVar[str] = "multi-label classification"

    def configure(self, config: PreTrainedConfig) -> None:
        """Set the names of the labels, and that each has a probability of its own."""
        super().configure(config)
        config.problem_type = MULTI_LABEL

    def loading_arguments(self, config: PreTrainedConfig) -> dict[str, Any]:
        """Return the names of the labels, and that each has a probability of its own."""
        return super().loading_arguments(config) | {"problem_type": MULTI_LABEL}

    def misfit(self, config: PreTrainedConfig) -> str:
        """Return that the saved head was trained to choose one label, whose logits say nothing about each by itself."""
        saved = getattr(config, "problem_type", None)
        if saved == MULTI_LABEL:
            return ""
        return f"that of the weights was not trained for several labels (problem_type={saved} in config.json)"


@dataclass(frozen=True)
class ScoreHead(HeadSpec):
    """One output, the score."""

    model_type: ClassVar[str] = "regression"

    @property
    def rows(self) -> int:
        """Return 1."""
        return 1

    def configure(self, config: PreTrainedConfig) -> None:
        """Set one output that is trained on scores."""
        config.num_labels = 1
        config.problem_type = "regression"


@dataclass(frozen=True)
class SpanHead(HeadSpec):
    """Two outputs per token: whether an answer starts there, and whether it ends there."""

    auto_class: ClassVar[str] = "AutoModelForQuestionAnswering"
    model_type: ClassVar[str] = "question answering"

    @property
    def rows(self) -> int:
        """Return 2."""
        return 2

    def configure(self, config: PreTrainedConfig) -> None:
        """Set two outputs per token."""
        config.num_labels = 2
        config.problem_type = None


@dataclass(frozen=True)
class TaskWeights:
    """A task model after loading.

    Attributes:
        model: the model.
        missing: names of its tensors that the weights lack.
        mismatched: names of its tensors that the weights hold in another shape.
    """

    model: PreTrainedModel
    missing: set[str]
    mismatched: set[str]

    def output_layer(self, rows: int) -> str | None:
        """Return the name of the head's last linear layer with so many outputs; None if the head has no such layer."""
        from torch import nn

        head_params: set[str] = set()
        if self.model.base_model is not self.model:
            head_params = _params_outside_backbone(self.model)
        last = None
        for name, module in self.model.named_modules():
            is_output = isinstance(module, nn.Linear) and module.out_features == rows
            if is_output and f"{name}.weight" in head_params:
                last = name
        return last


def label_names(config: PreTrainedConfig) -> tuple[str, ...]:
    """Return the label names of config.json in the order of their rows.

    The result is empty if the names say nothing, as LABEL_0 does, or if the rows aren't numbered from 0.
    """
    name_of_row: dict[Any, Any] = config.id2label or {}
    if sorted(name_of_row) != list(range(len(name_of_row))):
        return ()
    labels = tuple(str(name_of_row[row]) for row in range(len(name_of_row)))
    if all(re.fullmatch(r"LABEL_\d+", label, re.IGNORECASE) for label in labels):
        return ()
    return labels


def choose_head(weights: TaskWeights, head: HeadSpec, saved: PreTrainedConfig, positional: bool) -> HeadChoice:
    """Decide whether the head in the weights is used.

    Args:
        weights: the task model, loaded with all weights that fit.
        head: the head of the task.
        saved: the config.json of the weights, which names the labels of their head.
        positional: whether the rows of a classification head are used as they are, whatever their names.
    """
    output = weights.output_layer(head.rows)
    if output is None or f"{output}.weight" in weights.missing:
        # Nothing was loaded into the head, so it already is drawn from the seed.
        return HeadChoice(True, "drawn from the seed: the weights hold none")
    if f"{output}.weight" in weights.mismatched:
        return HeadChoice(False, f"drawn from the seed: that of the weights has not {head.rows} rows")
    if not positional and (misfit := head.misfit(saved)):
        return HeadChoice(False, f"drawn from the seed: {misfit} (model.head=positional keeps it)")
    return head.choose(label_names(saved), positional)


def _join_labels(names: Sequence[str]) -> str:
    """Return the first label names for a message, cut if they are long and without what a terminal would obey."""
    printable = [name if name.isprintable() else ascii(name) for name in names[:MOST_NAMES]]
    cut = [name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..." for name in printable]
    return ", ".join(cut) + (", ..." if len(names) > MOST_NAMES else "")


def reorder_rows(weights: TaskWeights, order: tuple[int, ...]) -> None:
    """Bring the rows of the head's output layer into the order of the task's labels."""
    import torch

    output = weights.model.get_submodule(weights.output_layer(len(order)) or "")
    with torch.no_grad():
        for parameter in output.parameters():  # weight (labels, D) and bias (labels,)
            parameter.copy_(parameter[list(order)].clone())


def find_head_modules(weights: TaskWeights, source: str) -> tuple[str, ...]:
    """Return the topmost modules of the head: all outside the backbone, and a pooler that the weights lack.

    Such a pooler is drawn from the seed like the rest of the head, so it is trained with it.

    Raises:
        GeloraError: the model has no backbone apart from its head, or the weights lack more than the head.
    """
    model = weights.model
    if model.base_model is model:
        raise GeloraError(
            f"{type(model).__name__} of {source} has no backbone apart from its head, so the head can't be replaced; "
            "use another model."
        )
    names = {name for name, _ in model.named_parameters()}
    head = _params_outside_backbone(model)
    pooler = {name for name in names if name.startswith(f"{model.base_model_prefix}.pooler.")}
    if pooler <= weights.missing:
        head |= pooler
    misfits = sorted((weights.missing | weights.mismatched) - head)
    if misfits:
        first = [name + (" (another shape)" if name in weights.mismatched else "") for name in misfits[:3]]
        raise GeloraError(
            f"The weights of {source} don't fit its config.json ({type(model).__name__}): {len(misfits)} of "
            f"{len(names)} tensors are missing or have another shape, the first: {', '.join(first)}. Weights and "
            "configuration of one model are accepted; write both again with save_pretrained."
        )
    return tuple(_topmost_modules(model, head))


def modules_outside_backbone(model: PreTrainedModel) -> tuple[str, ...]:
    """Return the topmost modules outside the backbone of a model; none if the model is a backbone alone."""
    if model.base_model is model:
        return ()
    return tuple(_topmost_modules(model, _params_outside_backbone(model)))


def _params_outside_backbone(model: PreTrainedModel) -> set[str]:
    prefix = f"{model.base_model_prefix}."
    return {name for name, _ in model.named_parameters() if not name.startswith(prefix)}


def _topmost_modules(module: nn.Module, params: set[str], prefix: str = "") -> Iterator[str]:
    """Yield the names of the topmost modules all of whose parameters are among `params`."""
    for child_name, child in module.named_children():
        name = prefix + child_name
        child_params = {f"{name}.{parameter}" for parameter, _ in child.named_parameters()}
        if child_params and child_params <= params:
            yield name
        elif child_params & params:
            yield from _topmost_modules(child, params, f"{name}.")
