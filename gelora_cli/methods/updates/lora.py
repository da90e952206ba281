"""LoRA with the ranks of a plan through PEFT, read back and compared with it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, PeftType, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import PreTrainedModel

from gelora_cli.allocation.peft_pattern import rank_pattern_json
from gelora_cli.config.schema import LowRankConfig
from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.devices import seeded
from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.core.messages import first_line
from gelora_cli.core.run_files import PEFT_CONFIG, PEFT_WEIGHTS
from gelora_cli.methods.base import AdaptedModel, MethodContext
from gelora_cli.methods.updates.checks import ADAPTER, PEFT_PREFIX, count_problems, raise_on_mismatch
from gelora_cli.methods.updates.magnitudes import use_exact_norms, weight_update
from gelora_cli.methods.updates.saved import check_safetensors, staged
from gelora_cli.models.conv1d import convert_conv1d, holds_converted


def attach_lora(context: MethodContext[LowRankConfig]) -> AdaptedModel:
    """Add `scaling * B A` to every linear of the plan: A (r, in) from Kaiming's rule, B (out, r) zero.

    With the variant `dora` the rows of the sum have trained magnitudes (`updates.magnitudes`).

    The newly initialised modules of the model (head, pooler) train in full. New parameters are drawn from
    `context.seed`, without a change to the global random state.

    Raises:
        GeloraError: PEFT did not do what the plan says.
    """
    config = LoraConfig(
        **rank_pattern_json(context.plan),
        lora_dropout=context.settings.dropout,
        bias="none",
        modules_to_save=list(context.model_map.head_modules),
    )
    model = wrap(context, config)
    use_exact_norms(model)
    check_lora(model, context.plan, context.model_map)
    return AdaptedModel(
        model, context.plan, save=lambda directory: save_peft(model, directory), updates=lambda: updates_of(model)
    )


def wrap(context: MethodContext[Any], config: Any) -> PeftModel:
    """Wrap the model in PEFT's adapter, with new parameters drawn from the seed."""
    with seeded(context.seed):
        model = get_peft_model(context.model, config)
    assert isinstance(model, PeftModel)
    return model


def check_lora(model: PeftModel, plan: RankPlan, model_map: ModelMap, *, trainable: bool = True) -> None:
    """Read ranks, scaling and (of a model that trains) parameter counts back from the modules; compare with the plan.

    Raises:
        GeloraError: a difference, which stops the run.
    """
    layers = layers_of(model, LoraLayer)
    problems: list[str] = []
    for name, rank in plan.rank_pattern.items():
        actual = layers[name].r[ADAPTER] if name in layers else "none"
        if actual != rank or layers[name].lora_A[ADAPTER].out_features != rank:
            problems.append(f"{name}: rank {actual} instead of {rank}")
    problems += [f"{name}: adapted, but not in the plan" for name in layers.keys() - plan.rank_pattern.keys()]
    for name, scaling in plan.scaling_pattern.items():
        if name in layers and abs(layers[name].scaling[ADAPTER] - scaling) > 1e-9 * scaling:
            problems.append(f"{name}: scaling {layers[name].scaling[ADAPTER]} instead of {scaling}")
    raise_on_mismatch(problems + (count_problems(model, plan, model_map) if trainable else []))


def save_peft(model: PeftModel, directory: Path, convert: Callable[[Path], None] = lambda directory: None) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors`, whole or not at all.

    `convert(directory)` may rewrite what PEFT has saved before it gets its place.
    """
    with staged(directory, (PEFT_WEIGHTS, PEFT_CONFIG)) as temporary, warnings.catch_warnings():
        # AdaLoRA may leave a module no rank at all, which PEFT takes for an incomplete save.
        warnings.filterwarnings("ignore", message=".*LoRA tensor.* have invalid shape")
        config: Any = model.peft_config[ADAPTER]
        # How a plain model holds these weights, so that PEFT has nothing to warn of.
        config.fan_in_fan_out = holds_converted(model)
        # No method adapts the embeddings, so PEFT need not ask where the base model lay for the size of its vocabulary.
        model.save_pretrained(str(temporary), safe_serialization=True, save_embedding_layers=False)
        convert(temporary)


def saved_name(module: str, factor: str) -> str:
    """Return the name that PEFT gives to A or B of a module where it saves them."""
    return f"{PEFT_PREFIX}{module}.lora_{factor}.weight"


def write_peft(directory: Path, tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> None:
    """Write the tensors and the configuration of an adapter in the place of what PEFT has saved."""
    from safetensors.torch import save_file

    save_file(dict(tensors), directory / PEFT_WEIGHTS, metadata={"format": "pt"})
    (directory / PEFT_CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_peft(model: PreTrainedModel, directory: Path) -> PeftModel:
    """Load the saved adapter and head into a fresh base model by PEFT alone, for inference.

    GPT-2's `Conv1D` layers become linears (`models.conv1d`).

    Raises:
        GeloraError: no safetensors, for which PEFT would unpickle another file; a damaged adapter, or another kind.
    """
    check_safetensors(directory)
    kind = _saved_kind(directory)
    convert_conv1d(model)
    try:
        with warnings.catch_warnings():
            if kind == PeftType.ADALORA:
                # AdaLoRA's keys name parameters, which PEFT then looks for among the modules, and finds by itself.
                warnings.filterwarnings("ignore", message="The following rank_pattern keys did not match")
            config = PeftConfig.from_pretrained(str(directory))
            config.fan_in_fan_out = False  # of the linears that take the place of GPT-2's `Conv1D`
            config.task_type = None  # the class that PEFT takes for QUESTION_ANS drops token_type_ids
            loaded = PeftModel.from_pretrained(
                model, directory, config=config, is_trainable=False, low_cpu_mem_usage=False
            )
            use_exact_norms(loaded)
            return loaded.eval()
    except (StoppedError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:  # what PEFT makes of a damaged file, or of an adapter of another model
        raise GeloraError(
            f"{directory} can't be loaded by PEFT on this model: {first_line(error)}. Restore it, or do the run again "
            "with force=true."
        ) from error


def _saved_kind(directory: Path) -> PeftType:
    """Return the kind of a saved adapter, if it is one that gelora writes: those make PEFT load nothing else."""
    path = directory / PEFT_CONFIG
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        kind = PeftType(values["peft_type"])
        if kind not in (PeftType.LORA, PeftType.ADALORA):
            raise ValueError(f"peft_type={kind.value} is none that gelora writes")
        if values.get("megatron_config"):
            raise ValueError("megatron_config makes PEFT import a module, which gelora's adapters never do")
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise GeloraError(
            f"{path} can't be read as an adapter's configuration: {first_line(error)}. Restore it, or do the run again "
            "with force=true."
        ) from error
    return kind


@torch.no_grad()
def updates_of(model: PeftModel, kind: type = LoraLayer) -> dict[str, torch.Tensor]:
    """Return what PEFT's layers of this kind add to the weights of their linears, (out, in) each."""
    return {name: weight_update(layer) for name, layer in layers_of(model, kind).items()}


def layers_of(model: PeftModel, kind: type) -> dict[str, Any]:
    """Return PEFT's layers of this kind by their full names in the base model."""
    modules: Any = model.get_base_model()
    assert isinstance(modules, nn.Module)
    return {name: module for name, module in modules.named_modules() if isinstance(module, kind)}
