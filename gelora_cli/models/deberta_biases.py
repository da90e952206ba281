"""DeBERTa v1 under autocast, where the attention of transformers fails."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.models.deberta.modeling_deberta import DisentangledSelfAttention

BIASES = ("q_bias", "v_bias")


class AutocastSelfAttention(DisentangledSelfAttention):
    """The attention of DeBERTa v1 with its two biases in the type of autocast, as those of a linear are.

    In float32 they make the queries float32, whose lowest value transformers then writes into scores of bfloat16. That
    is an error, because bfloat16 has no such value. Without autocast nothing changes.
    """

    def __getattr__(self, name: str) -> Any:
        """Return a bias in the type in which autocast computes, everything else as it is."""
        value = super().__getattr__(name)
        if name not in BIASES or not isinstance(value, torch.Tensor):
            return value
        device = value.device.type
        return value.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else value


def cast_biases(model: nn.Module) -> None:
    """Let every attention of a DeBERTa v1 compute under autocast, too; its parameters stay the same objects."""
    for module in model.modules():
        if type(module) is DisentangledSelfAttention:
            module.__class__ = AutocastSelfAttention
