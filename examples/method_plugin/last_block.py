# gelora run task=demo model=minilm budget=0.05M plugins=examples/method_plugin method=last_block
"""A method of your own: LoRA with rank 1 everywhere, and all that is left of the budget in the last block."""

from gelora_cli.allocation.base import Allocator
from gelora_cli.allocation.problem import AllocationProblem, Weights
from gelora_cli.core.registries import ALLOCATORS, METHODS
from gelora_cli.methods.lora import PlannedLora


@ALLOCATORS.register
class LastBlock(Allocator[None]):
    """Rank 1 everywhere, and every further unit of rank in the last block."""

    name = "last_block"
    signal = ""  # it reads no measurement

    def weigh(self, signal: None, problem: AllocationProblem) -> Weights:
        """Return the weight 1 for the last block and 0 for the others; gelora shares out the budget in proportion."""
        others = len(problem.targets) - 1
        return Weights.proportional([0] * others + [1])


@METHODS.register
class LastBlockLora(PlannedLora):
    """LoRA with the ranks of the allocator `last_block`. Its settings are in method/last_block.yaml."""

    name = "last_block"
    allocator = "last_block"
