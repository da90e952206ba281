"""LoRA whose A and B start from given values and whose update is how far their product has moved.

B examples, T tokens, r the planned rank of a linear.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn

from gelora_cli.config.schema import PlannedLoraConfig
from gelora_cli.core.run_files import PEFT_CONFIG, PEFT_WEIGHTS
from gelora_cli.methods.base import AdaptedModel, MethodContext
from gelora_cli.methods.updates.checks import ADAPTER
from gelora_cli.methods.updates.lora import attach_lora, layers_of, save_peft, saved_name, write_peft
from gelora_cli.models.operations import decomposition_operations


class Start(NamedTuple):
    """The first values of a linear's A (r, in) and B (out, r)."""

    A: torch.Tensor
    B: torch.Tensor


def attach_moved_lora(context: MethodContext[PlannedLoraConfig], starts: Mapping[str, Start]) -> AdaptedModel:
    """Add `scaling * (B A - B0 A0)` to every linear of the plan, with A = A0 and B = B0 at the start.

    PEFT's PiSSA and LoRA-GA put `W - scaling * B0 A0` in the place of W and add `scaling * B A`, which is the same
    function of A and B. Here W stays as it is [ours]. So the outputs before the first step are those of the base to
    the last bit, in every precision, and a killed training needs no residual weight to go on.

    Dropout acts on the whole update, as on that of plain LoRA [ours].

    Args:
        context: model, plan and settings.
        starts: A0 and B0 of every planned linear, the same in every process.

    Raises:
        GeloraError: PEFT did not do what the plan says.
    """
    attached = attach_lora(context)
    model = cast(PeftModel, attached.model)
    layers = layers_of(model, LoraLayer)
    updates = {name: MovedUpdate(layer) for name, layer in layers.items()}

    def set_starts(values: Mapping[str, Start]) -> None:
        for name, update in updates.items():
            update.start = Start(*(tensor.to(update.weight_A) for tensor in values[name]))

    def load_state(state: dict[str, torch.Tensor]) -> None:
        set_starts({name: Start(state[f"{name}.A0"], state[f"{name}.B0"]) for name in updates})

    set_starts(starts)
    with torch.no_grad():
        for update in updates.values():
            update.weight_A.copy_(update.start.A)
            update.weight_B.copy_(update.start.B)
    adapted = [linear for block in context.model_map.blocks for linear in block.linears if linear.name in updates]
    return replace(
        attached,
        attach_operations=sum(decomposition_operations(linear) for linear in adapted),
        save=lambda directory: save_peft(model, directory, partial(_double_rank, updates)),
        state=lambda: _state(updates),
        load_state=load_state,
        updates=lambda: {name: update.delta_weight() for name, update in updates.items()},
    )


class MovedUpdate:
    """The update of one of PEFT's linears, which asks it instead of computing `scaling * B A x` itself.

    Its tensors are no part of PEFT's layer, so that PEFT saves A and B alone.
    """

    def __init__(self, layer: Any) -> None:
        self.weight_A: nn.Parameter = layer.lora_A[ADAPTER].weight  # (r, in)
        self.weight_B: nn.Parameter = layer.lora_B[ADAPTER].weight  # (out, r)
        self.scaling: float = layer.scaling[ADAPTER]
        self.dropout: nn.Module = layer.lora_dropout[ADAPTER]
        self.start = Start(self.weight_A.detach().clone(), self.weight_B.detach().clone())
        layer.lora_variant[ADAPTER] = self

    def forward(self, module: Any, active_adapter: str, x: torch.Tensor, result: torch.Tensor, **_: Any) -> Any:
        """Return the linear's output plus the update, both (B, T, out), for its input x (B, T, in).

        `B A - B0 A0 = (B - B0) A + B0 (A - A0)`. The right side is exactly zero at the start, and its rounding is that
        of what has moved.
        """
        linear = nn.functional.linear
        x = self.dropout(x)
        by_b = linear(linear(x, self.weight_A), self.weight_B - self.start.B)  # (B, T, out)
        by_a = linear(linear(x, self.weight_A - self.start.A), self.start.B)  # (B, T, out)
        return result + (by_b + by_a) * self.scaling

    @torch.no_grad()
    def delta_weight(self) -> torch.Tensor:
        """Return how far the weight has moved from the base's, (out, in)."""
        by_b = (self.weight_B - self.start.B) @ self.weight_A
        by_a = self.start.B @ (self.weight_A - self.start.A)
        return (by_b + by_a) * self.scaling


def _state(updates: Mapping[str, MovedUpdate]) -> dict[str, torch.Tensor]:
    """Return what a checkpoint holds beside A and B: where they started."""
    starts = {f"{name}.A0": update.start.A for name, update in updates.items()}
    return starts | {f"{name}.B0": update.start.B for name, update in updates.items()}


def _double_rank(updates: Mapping[str, MovedUpdate], directory: Path) -> None:
    """Rewrite the saved A and B as plain LoRA of rank 2r on the base's own weights: `[A | A - A0]`, `[B - B0 | B0]`.

    The product is that of `[A | A0]` and `[B | -B0]`, to which PEFT converts. Those factors nearly cancel, so
    that whatever rounds them (bf16, in which adapters are served) loses the update; these don't [ours].
    `alpha = scaling * rank` doubles with the rank, so that the scaling stays. PEFT's own conversion fails for models
    that save a head, and needs the first adapter on the disk.
    """
    from safetensors.torch import load_file

    tensors = load_file(directory / PEFT_WEIGHTS)
    for name, update in updates.items():
        rows, columns = saved_name(name, "A"), saved_name(name, "B")
        moved = Start(tensors[rows] - update.start.A.cpu(), tensors[columns] - update.start.B.cpu())
        tensors[rows] = torch.cat([tensors[rows], moved.A], dim=0)  # (2r, in)
        tensors[columns] = torch.cat([moved.B, update.start.B.cpu()], dim=1)  # (out, 2r)
    config = json.loads((directory / PEFT_CONFIG).read_text(encoding="utf-8"))
    for key in ("r", "lora_alpha"):
        config[key] *= 2
    for key in ("rank_pattern", "alpha_pattern"):
        config[key] = {name: 2 * value for name, value in config[key].items()}
    write_peft(directory, tensors, config)
