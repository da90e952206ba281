"""The head of a loaded task model: which modules it is, and whether the one in the weights is used."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gelora_cli.core.errors import GeloraError
from gelora_cli.models.heads import HeadChoice, HeadSpec

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel


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
    if head.is_pretrained:
        return HeadChoice(True, "that of the pretrained model, which an adapter leaves as it is")
    output = weights.output_layer(head.rows)
    if output is None or f"{output}.weight" in weights.missing:
        # Nothing was loaded into the head, so it already is drawn from the seed.
        return HeadChoice(True, "drawn from the seed: the weights hold none")
    if f"{output}.weight" in weights.mismatched:
        return HeadChoice(False, f"drawn from the seed: that of the weights has not {head.rows} rows")
    if not positional and (misfit := head.misfit(saved)):
        return HeadChoice(False, f"drawn from the seed: {misfit} (model.head=positional keeps it)")
    return head.choose(label_names(saved), positional)


def reorder_rows(weights: TaskWeights, order: tuple[int, ...]) -> None:
    """Bring the rows of the head's output layer into the order of the task's labels."""
    import torch

    output = weights.model.get_submodule(weights.output_layer(len(order)) or "")
    with torch.no_grad():
        for parameter in output.parameters():  # weight (labels, D) and bias (labels,)
            parameter.copy_(parameter[list(order)].clone())


def find_head_modules(weights: TaskWeights, head: HeadSpec, source: str) -> tuple[str, ...]:
    """Return the topmost modules of a new head: all outside the backbone, and a pooler that the weights lack.

    Such a pooler is drawn from the seed like the rest of the head, so it is trained with it. A pretrained head is not
    new: the result is empty, and the weights must hold it.

    Raises:
        GeloraError: the model has no backbone apart from its head, or the weights lack more than a new head.
    """
    model = weights.model
    if model.base_model is model:
        raise GeloraError(
            f"{type(model).__name__} of {source} has no backbone apart from its head, so the head can't be replaced; "
            "use another model."
        )
    names = {name for name, _ in model.named_parameters()}
    outside = _params_outside_backbone(model)
    if head.is_pretrained:
        _check_pretrained_head(weights, outside, source)
        new = set()
    else:
        new = outside
    pooler = {name for name in names if name.startswith(f"{model.base_model_prefix}.pooler.")}
    if pooler <= weights.missing:
        new |= pooler
    misfits = sorted((weights.missing | weights.mismatched) - new)
    if misfits:
        first = [name + (" (another shape)" if name in weights.mismatched else "") for name in misfits[:3]]
        raise GeloraError(
            f"The weights of {source} don't fit its config.json ({type(model).__name__}): {len(misfits)} of "
            f"{len(names)} tensors are missing or have another shape, the first: {', '.join(first)}. Weights and "
            "configuration of one model are accepted; write both again with save_pretrained."
        )
    return tuple(_topmost_modules(model, new))


def _check_pretrained_head(weights: TaskWeights, outside: set[str], source: str) -> None:
    """Refuse weights without the pretrained head, which would be drawn at random and never trained.

    Args:
        weights: the loaded model.
        outside: names of its parameters outside the backbone. A head that is tied to the embeddings has none.
        source: how messages name the model.

    Raises:
        GeloraError: naming the first tensor.
    """
    misfits = sorted((weights.missing | weights.mismatched) & outside)
    if misfits:
        problem = "another shape of" if misfits[0] in weights.mismatched else "no"
        raise GeloraError(
            f"The weights of {source} hold {problem} {misfits[0]}, with which a model scores the next token. They were "
            f"saved without it or for another task; weights saved as {type(weights.model).__name__} are accepted."
        )


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
