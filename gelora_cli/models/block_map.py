"""Map a model: its blocks, the linear layers that may be adapted in each, and its parameter counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from gelora_cli.core.artifacts.model_map import BlockMap, LinearShape, ModelMap
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import suggest
from gelora_cli.models.automatic_map import block_lists, explain_unaccepted, find_map
from gelora_cli.models.kinds.base import ROLES, UnlistedKind, is_causal, kind_of
from gelora_cli.models.linear_roles import linear_shapes
from gelora_cli.models.structure import check_blocks_alike, check_config, check_tensors

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


def map_model(
    model: PreTrainedModel,
    *,
    blocks: str | None = None,
    linears: Mapping[str, str] | None = None,
    accept_map: bool = False,
    head_modules: Iterable[str],
) -> ModelMap:
    """Return the blocks of a model and their adaptable linear layers, with the shapes that they have in the model.

    Args:
        model: the task model.
        blocks: name of the list of blocks, below the base model or in full. It replaces what the declaration of the
            model's type says. A type without a declaration needs it: `find_map` finds it in the model.
        linears: role -> name of a linear layer inside a block. It replaces and is needed as `blocks` is.
        accept_map: whether what is found in a type without a declaration is taken.
        head_modules: names of the modules of the head. `head_params` counts their parameters, `backbone_params` all
            others; a shared parameter counts once.

    Raises:
        GeloraError: a type without a declaration whose map isn't named by hand nor accepted, a name that isn't in the
            model, or blocks that differ from one another (`models.structure`).
    """
    kind = kind_of(model.config.model_type)
    block_list = blocks or kind.blocks
    name_of_role = linears or kind.linears
    if not block_list or not name_of_role:
        found = find_map(model, blocks=blocks, linears=linears)
        if not accept_map:
            raise GeloraError(explain_unaccepted(found))
        block_list, name_of_role = found.blocks, found.names
    _check_roles(name_of_role)
    list_name = _find_block_list(model, block_list)
    modules = list(model.get_submodule(list_name).children())
    check_config(model.config.to_dict(), type(model).__name__)
    check_tensors(modules, f"{type(model).__name__}, {list_name}")
    # The map lists roles in the order of ROLES, whatever the order of the declaration.
    roles = [role for role in ROLES if role in name_of_role]
    # A name below the base model and one in full may be the same list.
    is_declared = bool(kind.blocks) and list_name.endswith(f".{kind.blocks}")
    passes = kind.passes(model.config.to_dict()) if is_declared or list_name == kind.blocks else ()
    mapped = []
    for index, _ in enumerate(modules):
        block = f"{list_name}.{index}"
        shapes = tuple(_read_shape(model, block, role, name_of_role[role]) for role in roles)
        # Layer 0 is the embeddings.
        mapped.append(BlockMap(index + 1, block, shapes, passes[index] if passes else ()))
    head = tuple(head_modules)
    head_params = sum(count_params(model.get_submodule(name)) for name in head)
    # A subtraction, so that a parameter which head and backbone share counts in the head alone.
    backbone_params = count_params(model) - head_params
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    biases, norms = bias_names(model, head), norm_names(model, head)
    return ModelMap(
        model.config.model_type,
        tuple(mapped),
        head,
        head_params,
        backbone_params,
        bias_params=sum(sizes[name] for name in biases),
        norm_params=sum(sizes[name] for name in norms),
        norm_bias_params=sum(sizes[name] for name in set(biases) & set(norms)),
        causal=is_causal(model.config.to_dict()) if isinstance(kind, UnlistedKind) else None,
    )


def _check_roles(roles: Iterable[str]) -> None:
    """Refuse unknown roles, and a choice with which `method.modules=attention` has nothing to adapt."""
    for role in roles:
        if role not in ROLES:
            raise GeloraError(f"model.linears.{role}: not the role of a linear layer; {suggest(role, ROLES)}")
    if not any(role in ModelMap.ATTENTION_ROLES for role in roles):
        raise GeloraError(
            f"model.linears names no linear layer of the attention, only {', '.join(roles)}: at least one of "
            f"{', '.join(ModelMap.ATTENTION_ROLES)} is needed."
        )


def _find_block_list(model: PreTrainedModel, blocks: str) -> str:
    """Return the name, in the task model, of the list of blocks that is called `blocks`.

    Raises:
        GeloraError: there is no such list, or it is empty.
    """
    from torch import nn

    modules = dict(model.named_modules())
    # A name below the base model is tried first, since declarations have such names.
    for name in (f"{model.base_model_prefix}.{blocks}", blocks):
        module = modules.get(name)
        if isinstance(module, nn.ModuleList) and len(module):
            return name
    raise GeloraError(
        f"model.blocks={blocks} is not a list of blocks of this {model.config.model_type} model; "
        f"{suggest(blocks, block_lists(model))}"
    )


def _read_shape(model: PreTrainedModel, block: str, role: str, name: str) -> LinearShape:
    """Return the shape of a linear layer of a block.

    Raises:
        GeloraError: the block has no such module, or it is not a linear layer.
    """
    from gelora_cli.models.conv1d import linear_sizes

    module = dict(model.get_submodule(block).named_modules()).get(name)
    sizes = linear_sizes(module)
    if sizes is None:
        # Where blocks differ from one another, that is the reason, and no other name would help.
        list_name, _, _ = block.rpartition(".")
        blocks = list(model.get_submodule(list_name).children())
        if any(name in dict(other.named_modules()) for other in blocks):
            check_blocks_alike(blocks, f"{type(model).__name__}, {list_name}")
        problem = "is missing" if module is None else f"is a {type(module).__name__}, no linear layer,"
        raise GeloraError(
            f"model.linears.{role}={name} {problem} in block {block}; "
            f"{suggest(name, linear_shapes(model.get_submodule(block)))}"
        )
    return LinearShape(f"{block}.{name}", role, *sizes)


def count_params(module: nn.Module) -> int:
    """Return the number of parameters; a shared one counts once."""
    return sum(parameter.numel() for parameter in module.parameters())


def block_modules(model: PreTrainedModel, map: ModelMap) -> list[nn.Module]:
    """Return the modules of the map's blocks, in their order."""
    return [model.get_submodule(block.name) for block in map.blocks]


def layer_modules(model: PreTrainedModel, map: ModelMap) -> list[nn.Module]:
    """Return the module that produces each layer 1 .. L; a block that runs several times is there several times."""
    return [model.get_submodule(block.name) for block in map.layers]


def is_inside(name: str, modules: Iterable[str]) -> bool:
    """Return whether a parameter of this full name belongs to one of the modules."""
    return any(name.startswith(f"{module}.") for module in modules)


def bias_names(model: nn.Module, head: Iterable[str]) -> list[str]:
    """Return the names of the backbone's bias terms; every declared kind of model names them `...bias`."""
    head = tuple(head)
    return [name for name, _ in model.named_parameters() if name.endswith("bias") and not is_inside(name, head)]


def norm_names(model: nn.Module, head: Iterable[str]) -> list[str]:
    """Return the names of the parameters of the backbone's norms (LayerNorm, RMSNorm, ...)."""
    head = tuple(head)
    # Norms have no class in common; every one of transformers has "Norm" in the name of its class.
    norms = [name for name, module in model.named_modules() if "norm" in type(module).__name__.lower()]
    return [name for name, _ in model.named_parameters() if is_inside(name, norms) and not is_inside(name, head)]
