"""What a variant of LoRA's update is; importing this file imports no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from gelora_cli.core.artifacts.model_map import LinearShape

if TYPE_CHECKING:
    from gelora_cli.config.schema import PlannedLoraConfig
    from gelora_cli.methods.base import AdaptedModel, MethodContext


class Variant(ABC):
    """A form of LoRA's update, whatever the ranks; registered in `core.registries.VARIANTS`.

    An allocator says how large a rank each linear gets. A variant says what a unit of rank is there: what it costs
    beside A and B, how it is scaled, how it starts, and how it is saved.

    Attributes:
        name: what a user writes behind `method.variant=`.
        description: what a model card says of it, with its source.
        rank_factor: the rank of the saved adapter over the planned rank.
        from_start: whether the update is what `B A` has moved from where it began, `B A - B0 A0`.
        dtypes: the values of `model.dtype` with which it works; float32 alone, unless it says more.
        peft_arguments: what `peft.LoraConfig` needs of it beside ranks and alphas, in values that JSON holds.
        own_start: how its A and B start, as a clause, where PEFT with these arguments would start them otherwise; empty
            where it would not.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    rank_factor: ClassVar[int] = 1
    from_start: ClassVar[bool] = False
    dtypes: ClassVar[tuple[str, ...]] = ("float32",)
    peft_arguments: ClassVar[Mapping[str, bool | int | str]] = {}
    own_start: ClassVar[str] = ""

    def fixed_params(self, linear: LinearShape) -> int:
        """Return the parameters that an adapted linear costs whatever its rank; the budget pays for them first."""
        return 0

    def scalings(self, scaling: float, ranks: Mapping[str, int], uniform: Mapping[str, int]) -> dict[str, float]:
        """Return `alpha / r` of every adapted linear.

        Args:
            scaling: `method.scaling`.
            ranks: the planned rank of each linear, by its full name.
            uniform: the rank that it has in the uniform plan under the same budget; 1 where the budget holds none.
        """
        return dict.fromkeys(ranks, scaling)

    def call_operations(self, linear: LinearShape, rank: int) -> int:
        """Return the floating-point operations of each call of an adapted linear beside those of A and B on its input.

        They are those that do not depend on how many vectors it reads, such as the product `B A`, with the way back.
        """
        return 0

    @abstractmethod
    def attach(self, context: MethodContext[PlannedLoraConfig]) -> AdaptedModel:
        """Put the planned update on a model, ready to train; its outputs are those of the base until the first step.

        Raises:
            GeloraError: what was attached is not what the plan says.
        """
