"""Tell what each linear layer of a block does by its name, and check that the shapes agree; weights are not read.

Where names and shapes disagree, or two layers claim one role, nothing is guessed. The rules are [ours].
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

# The last part of a linear's name without an ending such as `_proj`, for each role. Names that the attention and the
# feed-forward share, such as `c_proj`, are told apart by where the layer is.
ENDING = re.compile(r"(?<=[a-z])_(proj|lin|linear|head|layer)$")
ANCHORS = {
    "query": re.compile(r"w?q|query"),
    "key": re.compile(r"w?k|key"),
    "value": re.compile(r"w?v|value"),
    "qkv": re.compile(r"w?qkv|query_key_value|in|c_attn"),
}
"""Names that the attention alone has. Where these are is the attention."""
OUTPUT = re.compile(r"w?o|out|output|dense|c|post")
FEED_FORWARD = {
    "up": re.compile(r"up|wi|ffn|intermediate|c_fc|fc_in|fc_?1|lin_?1|linear_?1|layer_?1|dense_h_to_4h"),
    "gate": re.compile(r"gate"),
    "gate_up": re.compile(r"gate_up"),
    "down": re.compile(r"down|wo|ffn_output|output|c|fc_out|fc_?2|lin_?2|linear_?2|layer_?2|dense_4h_to_h"),
}

Shape = tuple[int, int]
"""What a linear layer reads, and what it gives."""


@dataclass(frozen=True)
class FoundLinear:
    """A linear layer to which a role was given.

    Attributes:
        role: one of `ROLES`.
        name: its name inside a block.
        shape: what it reads and gives in block 1.
        evidence: how its shape agrees with the other layers, in words.
    """

    role: str
    name: str
    shape: Shape
    evidence: str


class NotFoundError(Exception):
    """Why a map can't be told for sure, as a clause without a full stop."""


def linear_shapes(block: nn.Module) -> dict[str, Shape]:
    """Return the name in the block -> (read, given) of every linear layer."""
    from gelora_cli.models.conv1d import linear_sizes

    sizes = {name: linear_sizes(module) for name, module in block.named_modules()}
    return {name: size for name, size in sizes.items() if size is not None}


def find_roles(block: nn.Module, shapes: list[dict[str, Shape]]) -> list[FoundLinear]:
    """Return the linears with a role; names and shapes agree in every block."""
    names = _claim_anchors(block, shapes[0])
    place = _attention_place(names.values(), shapes[0])
    others = [name for name in shapes[0] if name not in names.values()]
    inside = [name for name in others if name.startswith(place)]
    names |= _claim(inside, {"output": OUTPUT})
    if "output" not in names:
        _refuse_unnamed_output(inside, names, shapes[0])
    outside = [name for name in others if not place or not name.startswith(place)]
    names |= _claim([name for name in outside if name not in names.values()], FEED_FORWARD)
    # A fused projection may be named like a plain one (ModernBERT's `Wi`): its size tells.
    is_plain = {"up", "down"} <= names.keys() and not {"gate", "gate_up"} & names.keys()
    if is_plain and shapes[0][names["up"]][1] == 2 * shapes[0][names["down"]][0]:
        names["gate_up"] = names.pop("up")
    evidence = _check_shapes(names, shapes[0])
    for block_shapes in shapes[1:]:
        _check_shapes(names, block_shapes)
    return [FoundLinear(role, name, shapes[0][name], evidence[role]) for role, name in names.items()]


def has_attention(block: nn.Module) -> bool:
    """Return whether a linear layer of a block is named as a query, a key or a value."""
    return any(_roles_named(name, ANCHORS) for name in linear_shapes(block))


def _claim_anchors(block: nn.Module, shapes: Mapping[str, Shape]) -> dict[str, str]:
    """Return the projections of the attention: query, key and value, or the fused one."""
    names = _claim(shapes, ANCHORS)
    if names.keys() == {"qkv"} or names.keys() == {"query", "key", "value"}:
        return names
    if names:
        raise NotFoundError(f"of the attention only {', '.join(sorted(names))} is named")
    bare = _bare_matrices(block, shapes)
    instead = f"; {', '.join(bare)} are parameters, not linear layers" if bare else ""
    raise NotFoundError(f"no linear layer is named as query, key and value{instead}")


def _refuse_unnamed_output(inside: Iterable[str], names: Mapping[str, str], shapes: Mapping[str, Shape]) -> None:
    """Refuse an attention in which a layer has the shape of the output and another name."""
    if "qkv" in names:
        width, queries = shapes[names["qkv"]][0], shapes[names["qkv"]][1] // 3
    else:
        width, queries = shapes[names["query"]]
    for name in inside:
        if shapes[name] == (queries, width):
            raise NotFoundError(f"{name} has the shape of the attention's output, and its name does not say so")


def _bare_matrices(block: nn.Module, shapes: Mapping[str, Shape]) -> list[str]:
    """Return the names of the first matrices of a block that belong to no linear layer."""
    matrices = [name for name, parameter in block.named_parameters() if parameter.ndim > 1]
    return [name for name in matrices if name.rpartition(".")[0] not in shapes][:5]


def _attention_place(anchors: Iterable[str], names: Iterable[str]) -> str:
    """Return how the names of all linears of the attention begin, as `attention.`; empty if nothing tells.

    That is the part of the query's name behind what all linears of the block have in common.
    """
    paths = [name.split(".") for name in names]
    common = 0
    while all(len(path) > common + 1 for path in paths) and len({path[common] for path in paths}) == 1:
        common += 1
    places = {".".join(name.split(".")[: common + 1]) + "." for name in anchors if name.count(".") > common}
    if not places:  # the projections lie beside the layers of the feed-forward
        return ""
    if len(places) > 1:
        raise NotFoundError(f"query, key and value are in different places ({', '.join(sorted(places))})")
    return places.pop()


def _claim(names: Iterable[str], patterns: Mapping[str, re.Pattern[str]]) -> dict[str, str]:
    """Return role -> linear, of those whose names say what they are."""
    claimed: dict[str, list[str]] = {}
    for name in names:
        for role in _roles_named(name, patterns):
            claimed.setdefault(role, []).append(name)
    for role, claiming in claimed.items():
        if len(claiming) > 1:
            raise NotFoundError(f"several layers are named as {role}: {', '.join(claiming)}")
    return {role: claiming[0] for role, claiming in claimed.items()}


def _roles_named(name: str, patterns: Mapping[str, re.Pattern[str]]) -> list[str]:
    """Return the roles whose pattern fits the last part of a linear's name."""
    parts = name.lower().split(".")
    last = parts[-1]
    # BERT calls every linear layer `dense`; the module around it says which one it is.
    if last == "dense" and len(parts) > 1 and parts[-2] in ("output", "intermediate"):
        last = parts[-2]
    word = ENDING.sub("", last)
    return [role for role, pattern in patterns.items() if pattern.fullmatch(word)]


def _check_shapes(names: Mapping[str, str], shapes: Mapping[str, Shape]) -> dict[str, str]:
    """Check that the shapes of a block's linears agree with their roles; return what agrees, by role.

    With d the width of the block, a that of the queries, k that of keys and values, and m that of the feed-forward:
    query (d -> a), key and value (d -> k), qkv (d -> a + 2k), output (a -> d), up and gate (d -> m), gate_up (d -> 2m),
    down (m -> d). Queries are shared out equally to keys: k divides a.
    """
    shape = {role: shapes[name] for role, name in names.items()}
    first = "qkv" if "qkv" in names else "query"
    width = shape[first][0]
    evidence = _check_projections(names, shape)
    if "output" in names:
        given = shape["output"][1]
        _require(given == width, names["output"], f"gives {given}, and {first} reads {width}")
    inner = [role for role in ("up", "gate", "gate_up") if role in names]
    if "down" in names or inner:
        evidence |= _check_feed_forward(names, shape, inner, width)
    return evidence


def _check_projections(names: Mapping[str, str], shape: Mapping[str, Shape]) -> dict[str, str]:
    """Check the shapes of query, key and value, or of the fused projection, against those of the output."""
    if "qkv" in names:
        read, given = shape["qkv"]
        queries = shape["output"][0] if "output" in names else given // 3
        rest = given - queries
        fits = rest > 0 and rest % 2 == 0 and queries % (rest // 2) == 0
        _require(fits, names["qkv"], f"gives {given}, which is not queries of {queries}, keys and values")
        evidence = {"qkv": f"gives query, key and value: {queries} + {rest // 2} + {rest // 2}"}
    else:
        (read, queries), keys, values = shape["query"], shape["key"], shape["value"]
        _require(keys == values, names["value"], f"is {arrow(values)}, and key is {arrow(keys)}")
        fits = keys[0] == read and queries % keys[1] == 0
        _require(fits, names["key"], f"is {arrow(keys)}, which does not fit query ({read} -> {queries})")
        same = "reads what query reads; key and value give the same"
        evidence = {"query": "named so", "key": same, "value": same}
    if "output" in names:
        source = "the queries of qkv" if "qkv" in names else "query"
        read = shape["output"][0]
        _require(read == queries, names["output"], f"reads {read}, and query gives {queries}")
        evidence["output"] = f"in the attention; reads the {queries} of {source}"
    return evidence


def _check_feed_forward(
    names: Mapping[str, str], shape: Mapping[str, Shape], inner: list[str], width: int
) -> dict[str, str]:
    """Check that the second layer of the feed-forward reads what the first one gives."""
    if "down" not in names or not inner or inner == ["gate"] or len({"up", "gate_up"} & {*inner}) != 1:
        named = ", ".join(role for role in ("up", "gate", "gate_up", "down") if role in names)
        raise NotFoundError(f"of the feed-forward only {named} is named")
    read, given = shape["down"]
    _require(given == width, names["down"], f"gives {given}, not the {width} that the attention reads")
    evidence = {"down": f"reads the {read} of {' and '.join(inner)}"}
    for role in inner:
        times = 2 if role == "gate_up" else 1
        fits = shape[role] == (width, times * read)
        _require(fits, names[role], f"is {arrow(shape[role])}, and {names['down']} is {arrow(shape['down'])}")
        evidence[role] = "gives twice what down reads" if times == 2 else "gives what down reads"
    return evidence


def _require(fits: bool, name: str, problem: str) -> None:
    if not fits:
        raise NotFoundError(f"names and shapes disagree: {name} {problem}")


def arrow(shape: Shape) -> str:
    """Return a shape as `32 -> 64`: what is read, and what is given."""
    return f"{shape[0]} -> {shape[1]}"
