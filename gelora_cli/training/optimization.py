"""AdamW and its schedule, as transformers' Trainer has them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gelora_cli.methods.base import trainable
from gelora_cli.training.settings import TrainSettings

if TYPE_CHECKING:
    from torch.optim.lr_scheduler import LambdaLR

MAGNITUDES = r"lora_magnitude_vector"
"""DoRA's magnitudes begin as the norms of pretrained weights, which weight decay would shrink."""
NEVER_DECAYED = [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)", MAGNITUDES]
"""Names of parameters without weight decay, in lower case: those that transformers' Trainer leaves out [ours: and the
magnitudes]."""


def make_optimizer(model: nn.Module, settings: TrainSettings, total_steps: int) -> tuple[torch.optim.AdamW, LambdaLR]:
    """Return AdamW over the trainable parameters, and its learning rate schedule.

    With w = ceil(warmup_ratio * total_steps), the learning rate of step s (from 0) is

        learning_rate * s / w                                           if s < w, else
        learning_rate * (total_steps - s) / (total_steps - w).
    """
    from transformers import get_linear_schedule_with_warmup

    groups = parameter_groups(model, settings.weight_decay)
    # The fused step has fewer kernels and other roundings.
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=settings.fast or None)
    # Steps of the whole training, not of an epoch, so that a resumed training follows the same schedule.
    warmup = math.ceil(settings.warmup_ratio * total_steps)
    schedule: LambdaLR = get_linear_schedule_with_warmup(optimizer, warmup, total_steps)  # type: ignore[no-untyped-call]
    return optimizer, schedule


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return AdamW's two groups of trainable parameters: those with weight decay, and biases and norms without it.

    Which parameters are decayed is transformers' own choice (`Trainer.get_decay_parameter_names`), except for DoRA's
    magnitudes.
    """
    from transformers.trainer_pt_utils import get_parameter_names

    decayed = set(get_parameter_names(model, [nn.LayerNorm], NEVER_DECAYED))  # type: ignore[no-untyped-call]
    with_decay = [parameter for name, parameter in trainable(model).items() if name in decayed]
    without_decay = [parameter for name, parameter in trainable(model).items() if name not in decayed]
    return [
        {"params": with_decay, "weight_decay": weight_decay},
        {"params": without_decay, "weight_decay": 0.0},
    ]
