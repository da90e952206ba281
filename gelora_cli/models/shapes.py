"""Read the shapes of all linear layers from a loaded model, for the count of operations."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gelora_cli.core.artifacts.model_map import LinearShape, ModelMap
from gelora_cli.models.block_map import is_inside
from gelora_cli.models.kinds.base import kind_of
from gelora_cli.models.operations import POSITION, ModelShapes

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def read_shapes(model: PreTrainedModel, model_map: ModelMap) -> ModelShapes:
    """Return the linear layers of a model without an adapter: before, in and behind its blocks.

    Args:
        model: the task model.
        model_map: its blocks. Linears of a block that it does not name have no role.
    """
    from torch import nn

    kind = kind_of(model.config.model_type)
    config = model.config.to_dict()
    relative = kind.relative_positions(config)
    backbone = str(model.base_model_prefix)
    block_names = [block.name for block in model_map.blocks]
    roles = {linear.name: linear.role for block in model_map.blocks for linear in block.linears}
    unnamed_role = POSITION if relative and not relative.shared else ""
    outside: dict[bool, list[LinearShape]] = {False: [], True: []}  # whether the blocks were passed
    inside: dict[str, list[LinearShape]] = {name: [] for name in block_names}
    passed = False
    for name, module in model.named_modules():
        if name in inside:
            passed = True
        if not isinstance(module, nn.Linear):
            continue
        block = next((block for block in block_names if is_inside(name, [block])), None)
        role = roles.get(name, unnamed_role)
        shape = LinearShape(name, role, module.in_features, module.out_features)
        if block is not None:
            inside[block].append(shape)
        else:
            # The order of declaration is that of running, but for heads and poolers, which some classes declare first.
            runs_last = not is_inside(name, [backbone]) or is_inside(name, [f"{backbone}.pooler"])
            outside[passed or runs_last].append(shape)
    has_spans = type(model).__name__.endswith("ForQuestionAnswering")
    return ModelShapes(
        blocks=tuple(replace(block, linears=tuple(inside[block.name])) for block in model_map.blocks),
        before=tuple(outside[False]),
        after=tuple(outside[True]),
        head_modules=model_map.head_modules,
        backbone=backbone,
        reads_every_token=kind.scores_every_token(config) or has_spans,
        relative=relative,
    )
