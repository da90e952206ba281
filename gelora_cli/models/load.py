"""Load a task model, backbone and head, from safetensors only and without remote code; and write one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.core.heavy_imports import import_heavy
from gelora_cli.core.messages import first_line
from gelora_cli.models.block_map import is_inside, map_model
from gelora_cli.models.files import weight_files
from gelora_cli.models.head_weights import (
    TaskWeights,
    choose_head,
    find_head_modules,
    modules_outside_backbone,
    reorder_rows,
)
from gelora_cli.models.heads import HeadSpec
from gelora_cli.models.kinds.base import kind_of
from gelora_cli.models.locate import ResolvedModel
from gelora_cli.models.pretrained import build_empty, quiet_transformers, read_config
from gelora_cli.models.task_config import task_config

if TYPE_CHECKING:
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForQuestionAnswering,
        AutoModelForSequenceClassification,
        PreTrainedConfig,
        PreTrainedModel,
        PreTrainedTokenizerBase,
    )

    TaskFactory: TypeAlias = (
        type[AutoModelForCausalLM] | type[AutoModelForQuestionAnswering] | type[AutoModelForSequenceClassification]
    )


@dataclass(frozen=True)
class LoadedModel:
    """A task model in evaluation mode.

    Attributes:
        model: the model, in float32, unless it was loaded `as_published` or its weights were stored by `store_weights`.
        map: its blocks, linear layers and parameter counts.
        head_origin: where the head comes from and why, in words.
        arguments: what `from_pretrained` needs, besides the directory, to load such a model.
        outside_blocks: the linears that lie in no block, which `models.quantized` leaves unquantised.
    """

    model: PreTrainedModel
    map: ModelMap
    head_origin: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    outside_blocks: tuple[str, ...] = ()


def load_model(
    resolved: ResolvedModel,
    head: HeadSpec,
    *,
    seed: int,
    dropout: float | None = None,
    blocks: str | None = None,
    linears: Mapping[str, str] | None = None,
    positional: bool = False,
    as_published: bool = False,
) -> LoadedModel:
    """Load the backbone in float32 with the task's head, in evaluation mode, and map it.

    Tensors that the weights lack (the head, DeBERTa's pooler) are drawn from `seed`. The result doesn't depend on what
    ran before, and the global random state stays as it was.

    A classification head in the weights is used if config.json names the task's labels for it, in any order and case;
    its rows are then brought into the task's order. A head of another kind is used if its size fits. In all other cases
    the head is drawn from `seed`, as if the weights held none. The head is trained either way.

    A head that is pretrained (`LanguageHead`) must be in the weights. It counts as a part of the backbone.

    GPT-2's `Conv1D` layers become linears (`models.conv1d`).

    Args:
        resolved: where the model is.
        head: the head of the task.
        seed: seed of the tensors that the weights lack.
        dropout: replaces every dropout probability of config.json; None keeps them.
        blocks: name of the list of blocks (see `map_model`).
        linears: role -> name of a linear layer (see `map_model`).
        positional: use the rows of a classification head as they are, whatever their names.
        as_published: leave weights in bfloat16 that are published so, where the head is pretrained and nothing is
            drawn: half the memory until `models.quantized.store_weights` brings all else to float32, exactly.

    Raises:
        GeloraError: weights that can't be read, don't fit or aren't finite, or a model that can't be mapped.
    """
    import_heavy("torch", "transformers.modeling_utils", "peft")
    import torch

    from gelora_cli.models.conv1d import convert_conv1d

    with quiet_transformers():
        # Read twice, because `task_config` changes what it reads. `base_config` says what the weights were saved with.
        base_config = read_config(resolved)
        config = task_config(resolved, head, dropout)
        if blocks or linears or not kind_of(config.model_type).blocks:
            _check_map(config, head, blocks, linears)
        in_bf16 = as_published and loads_in_bf16(resolved, head)
        weights = _load_weights(resolved, config, head, seed, dtype=torch.bfloat16 if in_bf16 else torch.float32)
        # Of the first load: a later load with this call meets the same files, a head of another size included.
        arguments = _loading_arguments(weights, head, base_config)
        choice = choose_head(weights, head, base_config, positional)
        if not choice.take_over:
            # Loading a second time without the head lets the seed draw it as if the weights held none.
            weights = _load_weights(resolved, config, head, seed, dtype=torch.float32, without=weights.model)
    if choice.order:
        reorder_rows(weights, choice.order)
    model = weights.model
    head_modules = find_head_modules(weights, head, resolved.source)
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise GeloraError(
                f"The weights of {resolved.source} hold NaN or infinite values, first in {name}; finite ones are "
                "accepted. The file is damaged or was saved in half precision after an overflow: fetch it again or use "
                "another model."
            )
    convert_conv1d(model)
    kind_of(model.config.model_type).prepare_model(model)
    model_map = map_model(model, blocks=blocks, linears=linears, head_modules=head_modules)
    return LoadedModel(model, model_map, choice.origin, arguments)


def loads_in_bf16(resolved: ResolvedModel, head: HeadSpec) -> bool:
    """Return whether `as_published` leaves a model in bfloat16 while it is loaded.

    All its tensors must be in it, since others would be rounded. Where they are missing, config.json says what they
    are in. The head must be pretrained: one that is drawn is drawn in float32.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    if not head.is_pretrained:
        return False
    if not resolved.has_weights:
        return bool(read_config(resolved).dtype == torch.bfloat16)
    types: set[str] = set()
    for file in weight_files(resolved.directory, resolved.source):
        try:
            with safe_open(resolved.directory / file, framework="pt") as tensors:
                types.update(tensors.get_slice(name).get_dtype() for name in tensors.keys())  # noqa: SIM118
        except (OSError, SafetensorError):  # loading it says what is wrong
            return False
    return types == {"BF16"}


def empty_task_model(
    resolved: ResolvedModel, head: HeadSpec, *, blocks: str | None = None, linears: Mapping[str, str] | None = None
) -> tuple[PreTrainedModel, ModelMap]:
    """Return the task model that config.json describes, without weights (on the device `meta`), and its map.

    Raises:
        GeloraError: transformers can't build it, or it can't be mapped.
    """
    from gelora_cli.models.conv1d import convert_conv1d

    with quiet_transformers():
        model = build_empty(_factory(head), task_config(resolved, head, None))
    convert_conv1d(model)
    head_modules = () if head.is_pretrained else modules_outside_backbone(model)
    return model, map_model(model, blocks=blocks, linears=linears, head_modules=head_modules)


def _check_map(config: PreTrainedConfig, head: HeadSpec, blocks: str | None, linears: Mapping[str, str] | None) -> None:
    """Map a model without weights, so that one that can't be mapped is refused before its weights are read.

    Raises:
        GeloraError: as `map_model`.
    """
    try:
        model = build_empty(_factory(head), config)
    except (StoppedError, MemoryError):
        raise
    except Exception:  # a class without such a head, or odd values: loading the weights says it
        return
    head_modules = () if head.is_pretrained else modules_outside_backbone(model)
    map_model(model, blocks=blocks, linears=linears, head_modules=head_modules)


def _load_weights(
    resolved: ResolvedModel,
    config: PreTrainedConfig,
    head: HeadSpec,
    seed: int,
    *,
    dtype: torch.dtype,
    without: PreTrainedModel | None = None,
) -> TaskWeights:
    """Return the task model with its weights; the seed draws what they lack.

    If `without` is given, the weights of its head are left out, so that the seed draws the head. It is the same model,
    loaded before.
    """
    import torch

    factory: Any = _factory(head)
    source: dict[str, Any] = {"pretrained_model_name_or_path": resolved.directory, "use_safetensors": True}
    try:
        if without is not None:
            # A state_dict takes the place of the directory, in which an auto class would look for the model's class.
            factory = type(without)
            source = {"pretrained_model_name_or_path": None, "state_dict": _tensors_without_head(resolved, without)}
        with torch.random.fork_rng(devices=[]):  # restores the global random state
            # Only the CPU's generator is used: the model is built there, whatever device it trains on.
            torch.default_generator.manual_seed(seed)
            model, info = factory.from_pretrained(
                **source,
                config=config,
                dtype=dtype,
                trust_remote_code=False,
                local_files_only=True,
                ignore_mismatched_sizes=True,  # for a head of another size; `find_head_modules` refuses any other
                output_loading_info=True,
                key_mapping=_backbone_renaming(_factory(head), config),
            )
    except (StoppedError, MemoryError):
        raise  # the command translates them
    except Exception as error:  # OSError, SafetensorError, or any other for values that a class doesn't expect
        raise GeloraError(
            f"The weights of {resolved.source} can't be loaded as a {head.model_type} model: {first_line(error)}. "
            f"Undamaged safetensors of a {config.model_type} model are accepted; fetch or write them again."
        ) from error
    model.name_or_path = str(resolved.directory)
    return TaskWeights(model, set(info["missing_keys"]), {entry[0] for entry in info["mismatched_keys"]})


def _tensors_without_head(resolved: ResolvedModel, model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Return all tensors of the weights except those of the model's head, by name."""
    from safetensors.torch import load_file

    head = modules_outside_backbone(model)
    tensors: dict[str, torch.Tensor] = {}
    for file in weight_files(resolved.directory, resolved.source):
        for name, tensor in load_file(resolved.directory / file).items():
            if not is_inside(name, head):
                tensors[name] = tensor
    return tensors


def _loading_arguments(weights: TaskWeights, head: HeadSpec, base: PreTrainedConfig) -> dict[str, Any]:
    """Return the arguments of `from_pretrained` that build this task model from a model of configuration `base`."""
    import torch

    # Only what differs from the saved model is named: the model card shows these arguments.
    config: Any = weights.model.config
    arguments = head.loading_arguments(config)
    if config.pad_token_id != base.pad_token_id:
        arguments |= {"pad_token_id": config.pad_token_id}
    if base.dtype not in (None, torch.float32):
        arguments |= {"dtype": "float32"}
    if weights.mismatched:  # the weights hold a head of another size, which the adapter's replaces
        arguments |= {"ignore_mismatched_sizes": True}
    if renamed := _backbone_renaming(_factory(head), config):
        arguments |= {"key_mapping": renamed}
    return arguments


def _backbone_renaming(factory: TaskFactory, config: PreTrainedConfig) -> dict[str, str] | None:
    """Return the renaming of weights for a task model whose backbone has another name than in the pretrained model.

    Llama's and Qwen2's question answering models call it `transformer.` instead of `model.`. Without the renaming
    transformers finds no weight for it and leaves it random. None if the names are the same.
    """
    from transformers import MODEL_MAPPING

    task_class: Any = factory._model_mapping.get(type(config), None)
    base_class: Any = MODEL_MAPPING.get(type(config), None)
    if task_class is None or base_class is None or task_class.base_model_prefix == base_class.base_model_prefix:
        return None
    return {rf"^{base_class.base_model_prefix}\.": f"{task_class.base_model_prefix}."}


def _factory(head: HeadSpec) -> TaskFactory:
    """Return the class of transformers that loads a model with this head."""
    import transformers

    factory: TaskFactory = getattr(transformers, head.auto_class)
    return factory


def save_exported(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
    """Write a task model and its tokenizer, with its weights under the names that the class of the model has."""
    with quiet_transformers():
        model.save_pretrained(directory, save_original_format=False)  # else reading them would need `key_mapping`
        tokenizer.save_pretrained(directory)


def load_exported(directory: Path, head: HeadSpec) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return a task model and its tokenizer as a user without gelora loads them: by transformers alone."""
    from transformers import AutoTokenizer

    with quiet_transformers():
        model = _factory(head).from_pretrained(directory, use_safetensors=True, local_files_only=True)
        return model.eval(), AutoTokenizer.from_pretrained(directory, local_files_only=True)
