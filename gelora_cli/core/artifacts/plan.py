"""The ranks of a model's blocks, `ranks.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class BlockRank:
    """One block's row of a plan: each linear layer in `modules` gets the rank `rank`, or its entry of `module_ranks`.

    What comes from the profile is None for a method that does not use one. With `module_ranks`, `rank` is the largest
    of them, and a module of rank 0 is not adapted.
    """

    block: int
    idim_in: float | None
    idim_out: float | None
    growth: float | None  # max(idim_out - idim_in, 0)
    lower_bound: int | None
    real_rank: float | None  # before rounding
    rank: int
    rank_low: int | None
    rank_high: int | None
    modules: tuple[str, ...]  # full names
    params: int
    module_ranks: tuple[int, ...] | None = None

    @property
    def ranks_by_module(self) -> dict[str, int]:
        """Return the rank of each adapted module, by its full name."""
        ranks = self.module_ranks or (self.rank,) * len(self.modules)
        return {name: rank for name, rank in zip(self.modules, ranks, strict=True) if rank}


@dataclass(frozen=True)
class RankPlan:
    """The rank of every block, what it costs, and the budget that it was made for.

    `budget` is the canonical text, and `budget_params` the bound in parameters (None for `auto`, which has none).
    `auto_ranks` are the rule's own ranks, `uniform_ranks` those of equal weights under the same budget, and
    `gelora_ranks` those of GeLoRA, with which a control is compared (empty if GeLoRA can't meet the budget). All three
    are empty for a method that does not use the profile.

    `unit` says what a rank counts: units of `rank`, AdaLoRA's `triplet`, SoRA's `gate`, or the `bottleneck` units of an
    adapter. `trained_params` is the most that is trained at any time, and `adapter_params` what is left at the end. For
    `adalora`, `sora` and `eva` the latter is an upper bound, since the number is known only after training. A method
    that is exempt from the budget has no blocks, and its `budget` is `exempt`.

    `warnings` name layers of the profile whose idim says little about the task.
    """

    method: str
    rule: str
    rounding: str
    on_deficit: str
    modules: str
    scaling: float
    budget: str
    budget_params: int | None
    blocks: tuple[BlockRank, ...]
    auto_ranks: tuple[int, ...]
    auto_params: int
    uniform_ranks: tuple[int, ...]
    gelora_ranks: tuple[int, ...]
    adapter_params: int
    head_params: int
    backbone_params: int
    note: str
    unit: str
    trained_params: int
    warnings: tuple[str, ...] = ()

    FILE: ClassVar[str] = "ranks.json"

    @property
    def ranks(self) -> tuple[int, ...]:
        """Return the ranks r_1 .. r_L."""
        return tuple(block.rank for block in self.blocks)

    @property
    def total_params(self) -> int:
        """Return the parameters of backbone, head and adapter together."""
        return self.backbone_params + self.head_params + self.adapter_params

    @property
    def rank_pattern(self) -> dict[str, int]:
        """Return the rank of each adapted module, by its full name, in the order of the blocks."""
        pattern: dict[str, int] = {}
        for block in self.blocks:
            pattern |= block.ranks_by_module
        return pattern
