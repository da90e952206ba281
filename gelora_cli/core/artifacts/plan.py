"""The ranks of a model's blocks, `ranks.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class PlanStability:
    """Whether a plan would be the same with another sample of the same texts or batches.

    The sample is left out a tenth at a time. The ten measurements are moved as far apart as those of ten samples would
    be, and each is planned again.

    Attributes:
        verdict: `no preference`, `unstable` or `stable`; `not measured` where the signal has no such measurements.
        agreement: Share of the units of rank above one per target that the plans of two samples have in common, the
            mean over all pairs of the ten plans; None if no sample decides the signal, or it is not measured.
        tau: Kendall's tau-b of the weights of two samples, the mean over the same pairs; None where all weights tie.
        lowest: The lowest rank that each target had.
        highest: The highest rank that each target had.
        spread: Standard error of each target's rank, by the jackknife.
        half_agreement: The agreement of the plan with that from half as much text; None if it is not measured.
        quarter_agreement: The same from a quarter.
        settles_at: Number of examples from which on the plan no longer moves; None if that is not seen.
        advice: What to do, in one clause; empty for `stable`.
        uniform_agreement: The agreement of the plan with the uniform one.
        caveat: What decides the plan in every sample although nothing measured it; empty if nothing does.
        is_used: Whether the ranks are those of the plan that was judged; False where `ranks.when_unstable=uniform` took
            the uniform ones instead.
    """

    verdict: str
    agreement: float | None
    tau: float | None
    lowest: tuple[int, ...]
    highest: tuple[int, ...]
    spread: tuple[float, ...]
    half_agreement: float | None = None
    quarter_agreement: float | None = None
    settles_at: int | None = None
    advice: str = ""
    uniform_agreement: float | None = None
    caveat: str = ""
    is_used: bool = True


@dataclass(frozen=True)
class BlockRank:
    """One block's row of a plan; what comes from the profile is None for a method that does not use one.

    Attributes:
        block: Number of the block, from 1.
        idim_in: The intrinsic dimension at the block's input, of a shared one in the pass with the largest growth.
        idim_out: The intrinsic dimension at its output.
        growth: `max(idim_out - idim_in, 0)`, the largest over the passes of a shared block.
        lower_bound: The rank that the growth needs at least.
        real_rank: The rule's own rank before rounding.
        rank: Rank of each linear layer in `modules`, or the largest of `module_ranks`.
        rank_low: The rank at the lower end of the growth's interval.
        rank_high: The rank at its upper end.
        modules: Full names of the linear layers.
        params: Trainable parameters of the block.
        module_ranks: A rank for each of `modules`, if they differ; a module of rank 0 is not adapted.
        weight: What the allocator's signal asks for here; None for a method without an allocator.
        module_weights: The same for each of `modules`, if each has a rank of its own.
        module_scalings: `alpha / r` of each of `modules`; None where all have the plan's.
        passes: The layers that the block produces, counted from 1, in a model whose blocks run several times; its rank
            is paid once. Empty in any other model, where block i produces layer i.
    """

    block: int
    idim_in: float | None
    idim_out: float | None
    growth: float | None
    lower_bound: int | None
    real_rank: float | None
    rank: int
    rank_low: int | None
    rank_high: int | None
    modules: tuple[str, ...]
    params: int
    module_ranks: tuple[int, ...] | None = None
    weight: float | None = None
    module_weights: tuple[float, ...] | None = None
    module_scalings: tuple[float, ...] | None = None
    passes: tuple[int, ...] = ()

    @property
    def ranks_by_module(self) -> dict[str, int]:
        """Return the rank of each adapted module, by its full name."""
        ranks = self.module_ranks or (self.rank,) * len(self.modules)
        return {name: rank for name, rank in zip(self.modules, ranks, strict=True) if rank}


@dataclass(frozen=True)
class RankPlan:
    """The rank of every block, what it costs, and the budget that it was made for.

    A method that is exempt from the budget has no blocks.

    Attributes:
        method: Name of the method.
        rule: `growth+1`, `growth`, or `-` for a method that does not use the profile.
        rounding: How the rule's own ranks are rounded; `-` for such a method.
        on_deficit: What happens below the lower bounds; `-` for such a method.
        modules: Which linear layers are adapted, `attention` or `all`.
        scaling: `alpha / r`, the same for every block unless its `module_scalings` say otherwise.
        budget: Canonical text of the budget, or `exempt`.
        budget_params: The bound in parameters; None for `auto`, which has none.
        blocks: A row for each block.
        auto_ranks: The rule's own ranks; empty for a method that does not use the profile.
        auto_params: Parameters that the rule's own ranks cost.
        uniform_ranks: Ranks of equal weights under the same budget; empty for a method that does not use the profile.
        gelora_ranks: GeLoRA's ranks under the same budget, with which a control is compared; empty if GeLoRA can't meet
            it, or the method does not use the profile.
        adapter_params: Parameters of the adapter at the end of the training. For `adalora`, `sora`, `eva` and `cut` it
            is an upper bound, since the number is known only after training.
        head_params: Parameters of the head.
        backbone_params: Parameters of the backbone.
        note: What a reader should know of these ranks.
        unit: What a rank counts: units of `rank`, AdaLoRA's `triplet`, SoRA's `gate`, a `direction` that a cut may
            remove, or `bottleneck` units of an adapter.
        trained_params: The most parameters of the adapter that are trained at any time.
        warnings: What to know of the profile: a control, no convergence, and the layers whose idim says little.
        granularity: Whether every `block` has a rank, or every `module`.
        stability: Whether the plan would be the same with another sample; None for a control, for a method without an
            allocator, and in a plan that is older than this.
        variant: The form of LoRA's update.
        fixed_params: Parameters in `adapter_params` that do not depend on the ranks, such as DoRA's magnitudes.
        rank_factor: The rank of the saved adapter over the planned rank.
        structure: Sentences on blocks that share weights, on fused projections, and on blocks of different cost.
        fused_roles: Roles of the adapted fused projections, such as `qkv`.
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
    granularity: str = "block"
    stability: PlanStability | None = None
    variant: str = "lora"
    fixed_params: int = 0
    rank_factor: int = 1
    structure: tuple[str, ...] = ()
    fused_roles: tuple[str, ...] = ()

    FILE: ClassVar[str] = "ranks.json"

    @property
    def ranks(self) -> tuple[int, ...]:
        """Return the ranks r_1 .. r_L."""
        return tuple(block.rank for block in self.blocks)

    @property
    def rank_pattern(self) -> dict[str, int]:
        """Return the rank of each adapted module, by its full name, in the order of the blocks."""
        pattern: dict[str, int] = {}
        for block in self.blocks:
            pattern |= block.ranks_by_module
        return pattern

    @property
    def scaling_pattern(self) -> dict[str, float]:
        """Return `alpha / r` of each adapted module, by its full name, in the order of the blocks."""
        pattern: dict[str, float] = {}
        for block in self.blocks:
            scalings = block.module_scalings or (self.scaling,) * len(block.modules)
            pattern |= {
                name: scaling
                for name, scaling in zip(block.modules, scalings, strict=True)
                if name in block.ranks_by_module
            }
        return pattern
