"""A saved adapter folded into the weights of its base model."""

from __future__ import annotations

from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from gelora_cli.allocation.planning import ADAPTER_ROLES, NOT_MERGEABLE
from gelora_cli.core.artifacts import SavedAdapter
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.rundir import PEFT_CONFIG
from gelora_cli.methods import load_adapter
from gelora_cli.methods.saved import replace_module
from gelora_cli.methods.sora import GatedLoraLinear


def merge_adapter(model: PreTrainedModel, directory: Path) -> PreTrainedModel:
    """A fresh base model in float32 with the adapter and head saved in a directory merged: `W + scaling * B A`.

    AdaLoRA's and SoRA's updates likewise; trained biases, weights and heads replace the base's. The model given is
    changed, and has its own modules again.

    Raises:
        GeloraError: bottleneck adapters, which can't be merged; a damaged adapter, or one of another model.
    """
    if not (directory / PEFT_CONFIG).exists():
        method = read_artifact(SavedAdapter, directory / SavedAdapter.FILE).method
        if method in ADAPTER_ROLES:
            raise GeloraError(f"{directory} can't be merged: method={method}, {NOT_MERGEABLE}.")
    loaded = load_adapter(model, directory)
    if isinstance(loaded, PeftModel):
        merged: PreTrainedModel = loaded.merge_and_unload()
        return merged.eval()  # type: ignore[no-untyped-call, no-any-return]
    _fold_gates(model)
    return model


@torch.no_grad()
def _fold_gates(model: PreTrainedModel) -> None:
    """SoRA's gated updates into their linears."""
    for name, module in list(model.named_modules()):
        if isinstance(module, GatedLoraLinear):
            module.base.weight += module.update()
            replace_module(model, name, module.base)
