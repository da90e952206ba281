"""LoRA with one rank per block through PEFT, read back and compared with the plan."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import PreTrainedModel

from gelora_cli.artifacts import GeloraError, ModelMap, RankPlan
from gelora_cli.methods.base import Attached, AttachRequest
from gelora_cli.ranks import rank_pattern_json

ADAPTER = "default"


def attach_lora(request: AttachRequest) -> Attached:
    """Add `scaling * B A` to every linear of the plan: A (r, in) from Kaiming's rule, B (out, r) zero.

    The newly initialised modules of the model (head, pooler) train too, whole. New parameters are drawn from
    `request.seed`; the global random state is left as it was found.

    Raises:
        GeloraError: PEFT did not do what the plan says.
    """
    config = LoraConfig(
        **rank_pattern_json(request.plan),
        lora_dropout=request.dropout,
        bias="none",
        modules_to_save=list(request.model_map.head_modules),
    )
    with torch.random.fork_rng():
        torch.manual_seed(request.seed)
        model = get_peft_model(request.model, config)
    check_lora(model, request.plan, request.model_map)
    return Attached(
        model=model,
        effective_ranks=lambda: request.plan.ranks,
        save=lambda directory: save_peft(model, directory),
    )


def check_lora(model: PeftModel, plan: RankPlan, model_map: ModelMap, *, trainable: bool = True) -> None:
    """Read ranks, scaling and (of a model that trains) parameter counts back from the modules; compare with the plan.

    Raises:
        GeloraError: a difference, which stops the run.
    """
    found = _lora_layers(model)
    problems = [
        f"{name}: rank {found[name].r[ADAPTER] if name in found else 'none'} instead of {rank}"
        for name, rank in plan.rank_pattern.items()
        if name not in found or found[name].r[ADAPTER] != rank or found[name].lora_A[ADAPTER].out_features != rank
    ]
    problems += [f"{name}: adapted, but not in the plan" for name in found.keys() - plan.rank_pattern.keys()]
    problems += [
        f"{name}: scaling {layer.scaling[ADAPTER]} instead of {plan.scaling}"
        for name, layer in found.items()
        if abs(layer.scaling[ADAPTER] - plan.scaling) > 1e-9 * plan.scaling
    ]
    problems += _count_problems(model, plan, model_map) if trainable else []
    if problems:
        raise GeloraError(f"PEFT's adapter differs from the plan, nothing was trained: {'; '.join(problems[:5])}")


def _count_problems(model: PeftModel, plan: RankPlan, model_map: ModelMap) -> list[str]:
    adapter, head = trainable_params(model)
    counts = (("adapter", adapter, plan.adapter_params), ("head", head, model_map.head_params))
    return [f"{name} parameters {found} instead of {wanted}" for name, found, wanted in counts if found != wanted]


def trainable_params(model: PeftModel) -> tuple[int, int]:
    """Trainable parameters counted in the modules: of the adapter, and of the head."""
    sizes = {name: tensor.numel() for name, tensor in model.named_parameters() if tensor.requires_grad}
    adapter = sum(size for name, size in sizes.items() if ".lora_" in name)
    return adapter, sum(sizes.values()) - adapter


def save_peft(model: PeftModel, directory: Path) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors`, whole or not at all."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".adapter-") as temporary:
        model.save_pretrained(temporary, safe_serialization=True)
        for name in ("adapter_model.safetensors", "adapter_config.json"):
            (Path(temporary) / name).replace(directory / name)


def load_peft(model: PreTrainedModel, directory: Path) -> PeftModel:
    """A fresh base model with the saved adapter and head, loaded by PEFT alone, for inference."""
    return PeftModel.from_pretrained(model, directory, is_trainable=False, low_cpu_mem_usage=False).eval()


def silence_lora(model: PeftModel) -> None:
    """Set every B to zero, which leaves the base model and the trained head alone."""
    for layer in _lora_layers(model).values():
        torch.nn.init.zeros_(layer.lora_B[ADAPTER].get_parameter("weight"))


def _lora_layers(model: PeftModel) -> dict[str, LoraLayer]:
    """Full name in the base model to LoRA layer."""
    modules = model.get_base_model().named_modules()
    return {name: module for name, module in modules if isinstance(module, LoraLayer)}
