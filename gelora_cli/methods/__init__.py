"""Fine-tuning methods: one file each, registered by name in `core.registries.METHODS`; `updates/` holds their torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


def load_adapter(model: PreTrainedModel, directory: Path) -> nn.Module:
    """Return a fresh base model with the adapter and head saved in a directory, in either format, for inference.

    Raises:
        GeloraError: the adapter is damaged, of another model, or of a method that is not known here.
    """
    from gelora_cli.core.run_files import PEFT_CONFIG
    from gelora_cli.methods.updates.lora import load_peft
    from gelora_cli.methods.updates.saved import load_own

    if (directory / PEFT_CONFIG).exists():
        return load_peft(model, directory)
    return load_own(model, directory)


__all__ = ["load_adapter"]
