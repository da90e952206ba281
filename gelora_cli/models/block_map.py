"""The map of a model: its blocks, the linears that may be adapted in each, and how many parameters it has."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, cast

from gelora_cli.core.artifacts.model_map import BlockMap, LinearShape, ModelMap
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.base import ROLES, kind_of

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


def map_model(
    model: PreTrainedModel,
    *,
    blocks: str | None = None,
    linears: Mapping[str, str] | None = None,
    head_modules: Iterable[str],
) -> ModelMap:
    """Name the blocks and their adaptable linears, with the shapes that they have in the model.

    `blocks` (a list of modules, below the base model or by its full name) and `linears` (role -> name inside a block)
    replace what the entry of the model's type says, and are needed for a type without an entry. `head_params` are
    the parameters of `head_modules`, `backbone_params` all others; a shared parameter counts once.

    Raises:
        GeloraError: an unlisted type that isn't named by hand, or a name that isn't in the model.
    """
    kind = kind_of(model.config.model_type)
    block_list, roles = blocks or kind.blocks, linears or kind.linears
    if not block_list or not roles:
        raise _unknown_kind(model)
    _check_roles(roles)
    list_name = _block_list_name(model, block_list)
    names = [f"{list_name}.{index}" for index, _ in enumerate(model.get_submodule(list_name).children())]
    mapped = tuple(
        BlockMap(index, name, tuple(_linear_shape(model, name, role, roles[role]) for role in ROLES if role in roles))
        for index, name in enumerate(names, start=1)
    )
    head = tuple(head_modules)
    head_params = sum(count_params(model.get_submodule(name)) for name in head)
    bias, norm = _bias_and_norm_params(model, head)
    return ModelMap(model.config.model_type, mapped, head, head_params, count_params(model) - head_params, bias, norm)


def _unknown_kind(model: PreTrainedModel) -> GeloraError:
    found = [
        f"{name} ({len(candidate)} blocks; linears: {', '.join(_linear_names(candidate[0]))})"
        for name, candidate in _block_lists(model).items()
    ]
    return GeloraError(
        f"Model type {model.config.model_type!r} is not known; known are {', '.join(MODEL_KINDS.names())}. "
        "Name its modules by hand, as in model.blocks=encoder.layer +model.linears.query=attention.self.query "
        f"(roles: {', '.join(ROLES)}). Lists of blocks found: {'; '.join(found) or 'none'}."
    )


def _block_lists(model: PreTrainedModel) -> dict[str, nn.ModuleList]:
    """Return the outermost lists of equal blocks, by their names below the base model."""
    from torch import nn

    lists: dict[str, nn.ModuleList] = {}
    for name, module in model.base_model.named_modules():
        equal = isinstance(module, nn.ModuleList) and len({type(block) for block in module}) == 1
        if equal and not any(name.startswith(f"{outer}.") for outer in lists):
            lists[name] = cast("nn.ModuleList", module)
    return lists


def _linear_names(block: nn.Module) -> list[str]:
    from torch import nn

    return [name for name, module in block.named_modules() if isinstance(module, nn.Linear)]


def _check_roles(roles: Mapping[str, str]) -> None:
    """Refuse unknown roles, and a choice that leaves `method.modules=attention` nothing to adapt."""
    for role in roles:
        if role not in ROLES:
            raise GeloraError(f"model.linears.{role}: roles are {', '.join(ROLES)}.{_did_you_mean(role, ROLES)}")
    if not any(role in ModelMap.ATTENTION_ROLES for role in roles):
        raise GeloraError(
            f"model.linears names no linear of the attention, only {', '.join(roles)}: at least one of "
            f"{', '.join(ModelMap.ATTENTION_ROLES)} is needed."
        )


def _did_you_mean(name: str, accepted: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(accepted), n=1)
    return f" Did you mean {near[0]}?" if near else ""


def _block_list_name(model: PreTrainedModel, blocks: str) -> str:
    """Return the full name, in the task model, of the list of blocks."""
    from torch import nn

    modules = dict(model.named_modules())
    for name in (f"{model.base_model_prefix}.{blocks}", blocks):
        module = modules.get(name)
        if isinstance(module, nn.ModuleList) and len(module):
            return name
    lists = _block_lists(model)
    raise GeloraError(
        f"model.blocks={blocks} names no list of blocks of this {model.config.model_type} model; "
        f"found: {', '.join(lists) or 'none'}.{_did_you_mean(blocks, lists)}"
    )


def _linear_shape(model: PreTrainedModel, block: str, role: str, name: str) -> LinearShape:
    from torch import nn

    module = dict(model.get_submodule(block).named_modules()).get(name)
    if not isinstance(module, nn.Linear):
        accepted = _linear_names(model.get_submodule(block))
        given = "is missing" if module is None else f"is a {type(module).__name__}"
        raise GeloraError(
            f"model.linears.{role}={name} {given} in block {block}; its linear layers are "
            f"{', '.join(accepted) or 'none'}.{_did_you_mean(name, accepted)}"
        )
    return LinearShape(f"{block}.{name}", role, module.in_features, module.out_features)


def count_params(module: nn.Module) -> int:
    """Return the number of parameters, a shared one counted once."""
    return sum(parameter.numel() for parameter in module.parameters())


def block_modules(model: PreTrainedModel, map: ModelMap) -> list[nn.Module]:
    """Return the modules of the map's blocks, in their order."""
    return [model.get_submodule(block.name) for block in map.blocks]


def is_inside(name: str, modules: Iterable[str]) -> bool:
    """Return whether a parameter of this full name lies in one of the modules."""
    return any(name.startswith(f"{module}.") for module in modules)


def bias_names(model: nn.Module, head: Iterable[str]) -> list[str]:
    """Return the names of the backbone's bias terms, by the name that every known kind gives them."""
    head = tuple(head)
    return [name for name, _ in model.named_parameters() if name.endswith("bias") and not is_inside(name, head)]


def norm_names(model: nn.Module, head: Iterable[str]) -> list[str]:
    """Return the names of the parameters of the backbone's norms (LayerNorm, RMSNorm, ...)."""
    head = tuple(head)
    norms = [name for name, module in model.named_modules() if "norm" in type(module).__name__.lower()]
    return [name for name, _ in model.named_parameters() if is_inside(name, norms) and not is_inside(name, head)]


def _bias_and_norm_params(model: nn.Module, head: tuple[str, ...]) -> tuple[int, int]:
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    names = bias_names(model, head), norm_names(model, head)
    return sum(sizes[name] for name in names[0]), sum(sizes[name] for name in names[1])
