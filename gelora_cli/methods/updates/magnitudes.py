"""DoRA's magnitudes in PEFT's layers (arXiv 2402.09353): their norms in float32, and the weights that they give."""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.dora import DoraLinearLayer
from torch import nn

from gelora_cli.methods.updates.checks import ADAPTER
from gelora_cli.models.quantized import linear_weight


class ExactNorms(DoraLinearLayer):
    """PEFT's magnitudes, with the norms of the rows in float32 also under autocast.

    PEFT rounds the norms to the type of the inputs. In bfloat16 the factor `m / norm` of an adapter that changes
    nothing is then off by up to 2^-9, and the model is not the base model at the start.
    """

    def forward(
        self,
        x: torch.Tensor,
        *,
        lora_A: nn.Module,  # noqa: N803 - PEFT's names
        lora_B: nn.Module,  # noqa: N803
        scaling: float,
        base_layer: nn.Linear,
        base_result: torch.Tensor | None = None,
        adapter_name: str = ADAPTER,
    ) -> torch.Tensor:
        """Return what is added to the base layer's output: `(m / norm - 1) W x + m / norm * scaling * B A x`.

        Args:
            x: (B, T, in), after dropout.
            lora_A: A (r, in).
            lora_B: B (out, r).
            scaling: `alpha / r`.
            base_layer: W (out, in) with its bias.
            base_result: (B, T, out), the base layer's output; None where dropout changes its input.
            adapter_name: not used.
        """
        with torch.no_grad():  # no gradient passes through the norm: section 4.3 of the paper
            norms = torch.linalg.norm(updated_directions(base_layer, lora_A, lora_B, scaling), dim=1)  # (out,)
        factor = (self.weight / norms).view(1, -1)  # (1, out)
        if base_result is None:
            without_bias = nn.functional.linear(x, linear_weight(base_layer))
        else:
            without_bias = base_result if base_layer.bias is None else base_result - base_layer.bias
        added: torch.Tensor = (factor - 1) * without_bias + factor * lora_B(lora_A(x)) * scaling  # (B, T, out)
        return added


def updated_directions(
    base_layer: nn.Linear,
    lora_A: nn.Module,  # noqa: N803
    lora_B: nn.Module,  # noqa: N803
    scaling: float,
) -> torch.Tensor:
    """Return `W + scaling * B A`, (out, in) float32."""
    a, b = lora_A.weight, lora_B.weight
    assert isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor)
    with torch.autocast(a.device.type, enabled=False):
        return linear_weight(base_layer) + scaling * (b.float() @ a.float())


def use_exact_norms(model: nn.Module) -> None:
    """Replace PEFT's magnitudes by `ExactNorms` with the same parameters; nothing to do without DoRA."""
    for layer in model.modules():
        if isinstance(layer, LoraLayer) and ADAPTER in layer.lora_magnitude_vector:
            magnitudes: Any = layer.lora_magnitude_vector
            exact: Any = ExactNorms(fan_in_fan_out=False)  # type: ignore[no-untyped-call]
            exact.weight = magnitudes[ADAPTER].weight
            magnitudes[ADAPTER] = exact


def weight_update(layer: Any) -> torch.Tensor:
    """Return how far a layer of PEFT moves the weight of its linear, (out, in)."""
    if ADAPTER not in layer.lora_magnitude_vector:
        added: torch.Tensor = layer.get_delta_weight(ADAPTER)
        return added
    base = layer.get_base_layer()
    directions = updated_directions(base, layer.lora_A[ADAPTER], layer.lora_B[ADAPTER], layer.scaling[ADAPTER])
    factor = layer.lora_magnitude_vector[ADAPTER].weight / torch.linalg.norm(directions, dim=1)  # (out,)
    moved: torch.Tensor = factor.view(-1, 1) * directions - linear_weight(base)
    return moved
