"""Spectra of the pretrained weights: what the model alone says of its linear layers; no torch on import.

PEFT's KappaTune (`peft.helpers.find_kappa_target_modules`, 0.21) is near kin. It takes the condition number, the
largest singular value over the smallest, and makes the modules with the smallest ones the targets of LoRA. It gives no
ranks. Here all singular values count, and every linear gets a number.
"""

from __future__ import annotations

from gelora_cli.config.schema import ProfileConfig
from gelora_cli.core.artifacts.signals import LinearWeight, WeightSignal
from gelora_cli.core.distributed import gather_objects
from gelora_cli.core.registries import SIGNALS
from gelora_cli.models.operations import singular_value_operations
from gelora_cli.signals.base import Signal, SignalContext


@SIGNALS.register
class Weights(Signal[WeightSignal]):
    """The effective rank of every linear layer's pretrained weight, which no text changes."""

    name = "weights"
    description = "the effective rank of every pretrained weight"
    artifact = WeightSignal
    settings = ("model.blocks", "model.linears")  # which linears there are
    contents = ("model",)
    passes = "none"

    def untimed(self, profile: ProfileConfig) -> str:
        """Return what a dry run can't time."""
        return "the singular values of every weight, without a text"

    def operations(self, context: SignalContext) -> int:
        """Return those of the singular values of every linear layer."""
        blocks = context.model_map.blocks
        return sum(singular_value_operations(linear) for block in blocks for linear in block.linears)

    def measure(self, context: SignalContext) -> WeightSignal:
        """Return `exp(entropy)` of the singular values of every linear layer of the blocks, shared by the processes."""
        from gelora_cli.geometry.spectrum import effective_rank, singular_values
        from gelora_cli.models.quantized import linear_weight

        names = [linear.name for block in context.model_map.blocks for linear in block.linears]
        accelerator = context.accelerator
        share: dict[str, float] = {}
        for name in names[accelerator.process_index :: accelerator.num_processes]:
            weight = linear_weight(context.model.get_submodule(name))  # (out, in)
            share[name] = effective_rank(singular_values(weight))
        ranks: dict[str, float] = {}
        for measured in gather_objects(accelerator, share):
            ranks |= measured
        return WeightSignal(
            model=context.model_name,
            linears=tuple(LinearWeight(name, ranks[name]) for name in names),
            model_map=context.model_map,
            seconds=round(context.store.seconds, 3),
        )
