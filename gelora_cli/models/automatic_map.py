"""Find the blocks of a model, and what each linear layer in them does, in the model itself.

This is for kinds of models that are declared nowhere. The list of blocks is the longest list of like modules. The role
of a linear layer follows from its name, and its shape must agree (`linear_roles`). Whatever leaves a doubt is refused
with the reason, and named by hand. The rules are [ours].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gelora_cli.core.errors import GeloraError
from gelora_cli.models.kinds.base import ROLES, is_causal
from gelora_cli.models.linear_roles import (
    FoundLinear,
    NotFoundError,
    Shape,
    arrow,
    find_roles,
    has_attention,
    linear_shapes,
)
from gelora_cli.models.structure import check_blocks_alike, check_tensors

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class FoundMap:
    """What was found in a model whose kind is declared nowhere.

    Attributes:
        kind: `model_type` of config.json.
        blocks: name of the list of blocks, below the base model.
        count: how many blocks there are.
        block_class: the class of block 1.
        linears: the linears that have a role, in the order of `ROLES`.
        unassigned: names and shapes of the others in block 1; they are never adapted.
        is_causal: whether a token sees only those before it.
        list_evidence: why `blocks` is the list, in words.
    """

    kind: str
    blocks: str
    count: int
    block_class: str
    linears: tuple[FoundLinear, ...]
    unassigned: tuple[tuple[str, Shape], ...]
    is_causal: bool
    list_evidence: str = "the longest list of like modules"

    @property
    def names(self) -> dict[str, str]:
        """Return role -> name of the linear in a block."""
        return {linear.role: linear.name for linear in self.linears}

    def table(self) -> str:
        """Return the map as a short table (role, name, shape, evidence), and in which direction it reads."""
        rows = [("blocks", self.blocks, f"{self.count} of {self.block_class}", self.list_evidence)]
        for linear in self.linears:
            rows.append((linear.role, linear.name, arrow(linear.shape), linear.evidence))
        for name, shape in self.unassigned:
            rows.append(("-", name, arrow(shape), "no role, never adapted"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:3]  # the evidence needs no padding
        lines = []
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
            lines.append("  ".join([*cells, row[3]]).rstrip())
        direction = "a decoder: a token sees those before it" if self.is_causal else "an encoder: tokens see each other"
        return "\n".join(f"    {line}" for line in [*lines, f"read as {direction}"])


def find_map(
    model: PreTrainedModel, *, blocks: str | None = None, linears: Mapping[str, str] | None = None
) -> FoundMap:
    """Return the blocks and linear layers of a model of any kind. Its weights are not read, so it may be on `meta`.

    Args:
        model: a model of transformers, with or without a head.
        blocks: the list of blocks, if it is known already.
        linears: role -> name in a block, if they are known already.

    Raises:
        GeloraError: why the map can't be told for sure, and how to name it by hand; or blocks that can't get a rank
            each, whatever their names (`models.structure`).
    """
    kind = str(model.config.model_type)
    try:
        list_name, members = _find_list(model, blocks)
        shapes = [linear_shapes(block) for block in members]
        what = f"{type(model).__name__}, {list_name}"
        check_blocks_alike(members, what)
        if blocks is None:
            _check_runs_once(model, list_name, len(members))
        roles = _given_roles(linears, shapes[0]) if linears else find_roles(members[0], shapes)
        check_tensors(members, what)
    except NotFoundError as error:
        raise GeloraError(explain_by_hand(model, str(error))) from error
    named = {linear.name for linear in roles}
    return FoundMap(
        kind=kind,
        blocks=list_name,
        count=len(members),
        block_class=type(members[0]).__name__,
        linears=tuple(sorted(roles, key=lambda linear: ROLES.index(linear.role))),
        unassigned=tuple((name, shape) for name, shape in shapes[0].items() if name not in named),
        is_causal=is_causal(model.config.to_dict()),
        list_evidence="named by hand" if blocks else FoundMap.list_evidence,
    )


def _given_roles(linears: Mapping[str, str], shapes: Mapping[str, Shape]) -> list[FoundLinear]:
    """Return the linears that were named by hand."""
    roles = []
    for role, name in linears.items():
        if role not in ROLES or name not in shapes:
            raise NotFoundError(f"model.linears.{role}={name} names no role or no linear layer of its blocks")
        roles.append(FoundLinear(role, name, shapes[name], "named by hand"))
    return roles


def explain_unaccepted(found: FoundMap) -> str:
    """Return the message that shows a map that was found, and says how to accept or replace it."""
    linears = ", ".join(f"{role}: {name}" for role, name in found.names.items())
    return (
        f"Model type {found.kind!r} is declared nowhere. This map was found in the model itself:\n{found.table()}\n"
        "    Compare it with the model's code. To accept it, give the same command with model.accept_map=true (once is "
        "enough for a runs_dir; in Python accept_map=True). Or name it by hand: "
        f"model.blocks={found.blocks} '+model.linears={{{linears}}}'"
    )


def explain_by_hand(model: PreTrainedModel, reason: str) -> str:
    """Return the error message of a model whose map can't be found, with how to name it by hand."""
    lists = []
    for name, blocks in block_lists(model).items():
        lists.append(f"{name} ({len(blocks)} blocks; linears: {', '.join(linear_shapes(blocks[0])) or 'none'})")
    return (
        f"Model type {model.config.model_type!r} is declared nowhere, and its map can't be told from the model itself: "
        f"{reason}. If you know it, name it by hand, as in model.blocks=encoder.layer "
        f"'+model.linears={{query: attention.self.query, value: attention.self.value}}' (roles: {', '.join(ROLES)}). "
        f"This model has these lists of blocks: {'; '.join(lists) or 'none'}."
    )


def block_lists(model: PreTrainedModel) -> dict[str, nn.ModuleList]:
    """Return the outermost lists of modules that are not empty, by their names below the base model."""
    from torch import nn

    lists: dict[str, nn.ModuleList] = {}
    for name, module in model.base_model.named_modules():
        is_inside_another = any(name.startswith(f"{outer}.") for outer in lists)
        if isinstance(module, nn.ModuleList) and len(module) and not is_inside_another:
            lists[name] = module
    return lists


def _find_list(model: PreTrainedModel, blocks: str | None) -> tuple[str, list[nn.Module]]:
    """Return the name of the list of blocks, and its blocks."""
    from torch import nn

    if getattr(model.config, "is_encoder_decoder", False):
        raise NotFoundError("it is an encoder-decoder, whose two lists of blocks have no common order")
    lists = {name: module for name, module in block_lists(model).items() if linear_shapes(module)}
    if blocks is not None:
        # The full name of the task model is accepted, too, as it is by `map_model`.
        name = blocks.removeprefix(f"{model.base_model_prefix}.")
        if name not in lists:
            raise NotFoundError(f"model.blocks={blocks} is none of its lists of blocks")
        return name, list(lists[name])
    if not lists:
        raise NotFoundError("it has no list of like modules with linear layers")
    longest = max(len(module) for module in lists.values())
    candidates = [name for name, module in lists.items() if len(module) == longest]
    if len(candidates) > 1:
        raise NotFoundError(f"several lists are the longest ({', '.join(candidates)}), so none is the list of blocks")
    name = candidates[0]
    towers = [other for other in lists if other != name and has_attention(lists[other][0])]
    if towers:
        raise NotFoundError(f"beside {name} it has {', '.join(towers)}: several towers have no common order")
    if isinstance(lists[name][0], nn.ModuleList):
        raise NotFoundError(f"{name} is a list of lists, whose blocks are not alike")
    return name, list(lists[name])


def _check_runs_once(model: PreTrainedModel, list_name: str, count: int) -> None:
    """Refuse blocks that run several times, as ALBERT's: which one makes which layer only their code says."""
    layers = getattr(model.config, "num_hidden_layers", None)
    if layers not in (None, count):
        raise NotFoundError(f"{list_name} has {count} blocks, and config.json names {layers} layers")
