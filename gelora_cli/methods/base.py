"""What a method gives to the loop: a model with trainable parts, and hooks that do nothing unless it needs them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from gelora_cli.artifacts import ModelMap, RankPlan


@dataclass(frozen=True)
class AttachRequest:
    """What a method may need to attach itself; `seed` draws its new parameters."""

    model: PreTrainedModel
    model_map: ModelMap
    plan: RankPlan
    dropout: float
    seed: int


@dataclass(frozen=True)
class Attached:
    """A model ready to train.

    `extra_loss()` is added to the loss of every step; `after_step(step)` runs after every optimizer step and returns
    values for `metrics.jsonl`; `effective_ranks()` are the blocks' ranks as they are now; `save(directory)` writes
    what the method's adapter needs to be loaded again.
    """

    model: nn.Module
    effective_ranks: Callable[[], tuple[int, ...]]
    save: Callable[[Path], None]
    extra_loss: Callable[[], torch.Tensor] | None = None
    after_step: Callable[[int], dict[str, float]] | None = None

    def trainable(self) -> dict[str, nn.Parameter]:
        """Name to parameter, of what trains."""
        return {name: tensor for name, tensor in self.model.named_parameters() if tensor.requires_grad}
