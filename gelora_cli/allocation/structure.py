"""What is unusual about a model's structure, as a plan's reader must know it; no torch, no numpy.

Blocks that run several times, fused projections, and blocks whose units of rank cost differently. The sentences stand
in the plan, in the card, and under a profile.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from gelora_cli.core.artifacts.model_map import BlockMap, LinearShape, ModelMap
from gelora_cli.core.budget import adapted_linears
from gelora_cli.core.messages import join_texts

FUSED_ROLES = {"qkv": ("query, key and value", "The three"), "gate_up": ("gate and up", "The two")}
"""Roles of fused projections -> their parts, and how a sentence takes them up."""
MOST_COSTS = 6
"""Different costs in a sentence."""
LORA_UNITS = {"rank": 0, "direction": 0, "triplet": 1, "gate": 1}
"""What plans count that is a row of A and a column of B -> the numbers beside these two.

A bottleneck, which stands behind a linear, is none of them.
"""


def structure_notes(model_map: ModelMap, modules: str, unit: str) -> tuple[str, ...]:
    """Return the sentences on a model's structure; none for a model of equal blocks without fused projections.

    Args:
        model_map: the model.
        modules: `attention` or `all`.
        unit: what the plan counts, such as `rank`.
    """
    notes = [shared_blocks_note(model_map)]
    if unit in LORA_UNITS:
        blocks, extra = adapted_linears(model_map, modules), LORA_UNITS[unit]
        notes += [_fused_note(role, blocks[0], unit, extra) for role in fused_roles(model_map, modules)]
        costs = []
        for linears in blocks:
            costs.append(sum(linear.unit_params + extra for linear in linears))
        notes.append(_costs_note(costs, unit))
    return tuple(filter(None, notes))


def fused_roles(model_map: ModelMap, modules: str) -> tuple[str, ...]:
    """Return the roles of the fused projections that `modules` adapts."""
    roles = {linear.role for linear in adapted_linears(model_map, modules)[0]}
    return tuple(role for role in FUSED_ROLES if role in roles)


def shared_blocks_note(model_map: ModelMap) -> str:
    """Return which layers each shared block produces, and what that means for its rank; empty without such blocks."""
    if not model_map.shares_blocks:
        return ""
    shares = "; ".join(f"block {block.index}: {_passes(block)}" for block in model_map.blocks)
    text = f"Blocks run several times with the same weights ({shares}). A block's rank is paid once and serves all of "
    text += "its passes, and its growth is the largest over them."
    if len(model_map.blocks) == 1:
        text += " With one block, ranks by block can only be the uniform ones."
    return text


def layers_text(layers: Sequence[int]) -> str:
    """Return layers as a clause: `layers 1 to 6`, or `layers 1, 3 and 5`."""
    if len(layers) == 1:
        return f"layer {layers[0]}"
    if list(layers) == list(range(layers[0], layers[-1] + 1)):
        return f"layers {layers[0]} to {layers[-1]}"
    return f"layers {', '.join(map(str, layers[:-1]))} and {layers[-1]}"


def _passes(block: BlockMap) -> str:
    times = "once" if len(block.layers) == 1 else f"{len(block.layers)} times"
    return f"{times}, {layers_text(block.layers)}"


def _fused_note(role: str, linears: Sequence[LinearShape], unit: str, extra: int) -> str:
    """Return what a unit of rank is on a fused projection."""
    first, second = FUSED_ROLES[role]
    linear = next(linear for linear in linears if linear.role == role)
    name = ".".join(linear.name.split(".")[-2:])
    terms = f"{linear.in_features:,} + {linear.out_features:,}{f' + {extra}' if extra else ''}"
    return (
        f"{name} computes {first} in one matrix: {_unit_text(unit)} costs {terms} = {linear.unit_params + extra:,} "
        f"parameters there. {second} share one A, so that rank r, also that of budget=rank:r, is the rank of their "
        "updates together."
    )


def _unit_text(unit: str) -> str:
    return "a unit of rank" if unit == "rank" else f"a {unit}"


def _costs_note(costs: Sequence[int], unit: str) -> str:
    """Return what a unit of rank costs in each block where that differs; empty where it does not."""
    if len(set(costs)) == 1:
        return ""
    parts, first = [], 1
    for cost, group in itertools.groupby(costs):
        last = first + len(list(group)) - 1
        blocks = f"block {first}" if last == first else f"blocks {first} to {last}"
        parts.append(f"{cost:,} in {blocks}")
        first = last + 1
    return (
        f"The blocks differ in size, and so does the cost of {_unit_text(unit)} in parameters: "
        f"{join_texts(parts, most=MOST_COSTS)}. The budget counts parameters: budget=rank:r is what rank r in every "
        "block costs."
    )
