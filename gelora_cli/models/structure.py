"""Refuse models whose blocks can't get one rank each in the same sense, with what is different about them.

Blocks of other sizes are fine, since every block has a cost of its own. Blocks with other linear layers are not: a
rank would mean something else in each kind of block. Nor are weights that no linear layer holds, such as the experts
of a mixture in one tensor: neither adapters nor counts of operations would cover them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import join_texts
from gelora_cli.models.files import read_config_json
from gelora_cli.models.kinds.base import kind_of
from gelora_cli.models.locate import ResolvedModel

if TYPE_CHECKING:
    from torch import nn

MOST_NAMES = 4
"""Names in a message."""


def check_structure(resolved: ResolvedModel) -> None:
    """Refuse a model of a declared kind whose config.json alone says that its blocks can't get a rank each.

    Raises:
        GeloraError: as the declaration says.
    """
    check_config(read_config_json(resolved.directory, resolved.source), resolved.source)


def check_config(config: Mapping[str, Any], source: str) -> None:
    """Refuse what `check_structure` refuses.

    Args:
        config: the content of config.json.
        source: how messages name the model.

    Raises:
        GeloraError: as the declaration says.
    """
    if problem := kind_of(config.get("model_type")).structure_problem(config):
        raise GeloraError(f"{source}: {problem}")


def check_blocks_alike(blocks: Sequence[nn.Module], what: str) -> None:
    """Refuse blocks with other linear layers than the first one.

    Args:
        blocks: the modules of a list of blocks; their weights may be on the meta device.
        what: the model and its list, for the message.

    Raises:
        GeloraError: it says which two kinds of blocks there are.
    """
    if difference := find_difference(blocks):
        raise GeloraError(
            f"{what}: its blocks differ from one another, and one rank for each would not mean the same in all: "
            f"{difference}. Models whose blocks all have the same linear layers are accepted, of any size."
        )


def check_tensors(blocks: Sequence[nn.Module], what: str) -> None:
    """Refuse blocks with weights in tensors of three or more dimensions that are no convolutions.

    Arguments and errors are those of `check_blocks_alike`.
    """
    for number, block in enumerate(blocks, start=1):
        if tensors := weight_tensors(block):
            raise GeloraError(
                f"{what}: block {number} holds weights in tensors that are no linear layers, so that no rank could be "
                f"given to them: {_shortened(tensors)}. That is how mixtures of experts are built, and few others. "
                "Models whose blocks are made of linear layers are accepted."
            )


def find_difference(blocks: Sequence[nn.Module]) -> str:
    """Return in what some block differs from the first one, as a clause; empty if all have the same linear layers."""
    for number, block in enumerate(blocks[1:], start=2):
        if linear_names(block) != linear_names(blocks[0]):
            return _compare(blocks[0], block, number)
    return ""


def linear_names(block: nn.Module) -> list[str]:
    """Return the names, inside a block, of the modules whose weight is a matrix, without embeddings."""
    from torch import nn

    names = []
    for name, module in block.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter) and weight.ndim == 2 and not isinstance(module, nn.Embedding):
            names.append(name)
    return sorted(names)


def weight_tensors(block: nn.Module) -> list[str]:
    """Return the parameters of a block with three dimensions or more outside of convolutions, with their shapes."""
    from torch import nn

    tensors = []
    for name, module in block.named_modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            continue
        for parameter_name, parameter in module.named_parameters(recurse=False):
            # Factors beside a size of 1 are no matrices, such as a gate for each head.
            if sum(size > 1 for size in parameter.shape) >= 3:
                full_name = f"{name}.{parameter_name}" if name else parameter_name
                tensors.append(f"{full_name} {tuple(parameter.shape)}")
    return tensors


def _compare(first: nn.Module, other: nn.Module, number: int) -> str:
    """Return in what a block differs from the first, by its class or by the parts that it is made of."""
    if type(first) is not type(other):
        return f"block 1 is a {type(first).__name__}, block {number} a {type(other).__name__}"
    parts, other_parts = dict(first.named_children()), dict(other.named_children())
    only_first = [f"{name} ({type(parts[name]).__name__})" for name in parts if name not in other_parts]
    only_other = [f"{name} ({type(other_parts[name]).__name__})" for name in other_parts if name not in parts]
    if only_first or only_other:
        return f"block 1 has {_shortened(only_first)}, block {number} has {_shortened(only_other)} in its place"
    for name, part in parts.items():
        if linear_names(part) != linear_names(other_parts[name]):
            deeper = f"{name} of block 1 is a {type(part).__name__}, that of block {number} a "
            if type(part) is not type(other_parts[name]):
                return f"{deeper}{type(other_parts[name]).__name__}"
            missing = sorted(set(linear_names(part)) ^ set(linear_names(other_parts[name])))
            return f"{name} of block 1 and of block {number} have not the same linear layers ({_shortened(missing)})"
    return f"block 1 and block {number} have not the same linear layers"


def _shortened(names: Sequence[str]) -> str:
    return join_texts(names, most=MOST_NAMES) or "nothing"
