"""Fine-tuning methods: what each attaches to the model, and how a saved adapter comes back, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn
from transformers import PreTrainedModel

from gelora_cli.core.artifacts import SavedAdapter
from gelora_cli.core.rundir import PEFT_CONFIG
from gelora_cli.methods.adalora import attach_adalora
from gelora_cli.methods.base import Attached, AttachRequest
from gelora_cli.methods.bottleneck import attach_bottlenecks, rebuild_bottlenecks
from gelora_cli.methods.eva import attach_eva
from gelora_cli.methods.lora import attach_lora, load_peft
from gelora_cli.methods.saved import load_own
from gelora_cli.methods.sora import attach_sora, rebuild_sora
from gelora_cli.methods.subset import attach_bitfit, attach_full

METHODS: dict[str, Callable[[AttachRequest], Attached]] = {
    **dict.fromkeys(("gelora", "lora", "shuffled", "random", "reversed"), attach_lora),
    "adalora": attach_adalora,
    "sora": attach_sora,
    "eva": attach_eva,
    "bitfit": attach_bitfit,
    "houlsby": attach_bottlenecks,
    "pfeiffer": attach_bottlenecks,
    "full": attach_full,
}

REBUILD: dict[str, Callable[[nn.Module, SavedAdapter], None]] = {
    "sora": rebuild_sora,
    "houlsby": rebuild_bottlenecks,
    "pfeiffer": rebuild_bottlenecks,
    "bitfit": lambda model, saved: None,
    "full": lambda model, saved: None,
}
"""Methods that PEFT does not have -> what puts a saved adapter's modules into a fresh base model."""


def load_adapter(model: PreTrainedModel, directory: Path) -> nn.Module:
    """A fresh base model with the adapter and head saved in a directory, in PEFT's format or in ours, for inference.

    Raises:
        GeloraError: an adapter in our format is damaged, or of another model.
    """
    if (directory / PEFT_CONFIG).exists():
        return load_peft(model, directory)
    return load_own(model, directory, REBUILD)


__all__ = ["METHODS", "AttachRequest", "Attached", "attach_lora", "load_adapter"]
