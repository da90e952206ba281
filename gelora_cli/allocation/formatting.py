"""A plan as text: the table for a terminal, and the line that says how much of the budget it uses; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from gelora_cli.allocation.apportionment import Ranks
from gelora_cli.allocation.stability import STABLE, describe_stability
from gelora_cli.core.artifacts.plan import BlockRank, RankPlan
from gelora_cli.core.registries import VARIANTS

EXEMPT_BUDGET = "exempt"
"""The `budget` of a plan whose method has no budget."""


def format_plan(plan: RankPlan) -> str:
    """Return the plan as a table for a terminal: a line per block, then parameters, budget, notes and warnings."""
    lines = plan_table(plan)
    share = 100 * plan.adapter_params / plan.backbone_params
    # A method that prunes trains more parameters than it keeps.
    peak = f", at most {plan.trained_params:,} trained" if plan.trained_params != plan.adapter_params else ""
    lines.append(
        f"adapter {plan.adapter_params:,} parameters ({share:.3f} % of the backbone){peak}, head {plan.head_params:,}, "
        f"backbone {plan.backbone_params:,}"
    )
    lines.append(budget_line(plan))
    lines += variant_lines(plan)
    lines += plan.structure
    if any(row.module_ranks for row in plan.blocks):
        lines.append(f"modules of a block: {' '.join(_short_names(plan.blocks[0].modules))}")
    if plan.auto_ranks:
        lines.append(f"rule's own (auto) ranks: {_join_ranks(plan.auto_ranks)} = {plan.auto_params:,} parameters")
    if plan.uniform_ranks:
        lines.append(f"uniform ranks: {_join_ranks(plan.uniform_ranks)}")
    lines += [plan.note] if plan.note else []
    lines += stability_lines(plan)
    return "\n".join([*lines, *(f"warning: {text}" for text in plan.warnings)])


def plan_table(plan: RankPlan) -> list[str]:
    """Return a header and a line for each block; none of a plan without blocks.

    A plan that follows another signal than the idim shows its weights; one of modules also the rank of each.
    """
    if not plan.blocks:
        return []
    if _shows_weights(plan):
        header = f"{'block':>5} {'weight':>10} {'rank':>5} {'params':>9}"
        lines = [header, *map(_weight_line, plan.blocks)]
    else:
        idims = f"{'idim in':>8} {'out':>7} {'growth':>7} {'real':>7}"
        header = f"{'block':>5} {idims} {'rank':>5} {'low..high':>10} {'params':>9}"
        lines = [header, *map(_block_line, plan.blocks)]
    if spreads := rank_spreads(plan):
        lines = [f"{line} {cell:>7}" for line, cell in zip(lines, ["spread", *spreads], strict=True)]
    if any(row.module_ranks for row in plan.blocks):
        cells = ["modules", *(_join_ranks(row.module_ranks or ()) for row in plan.blocks)]
        lines = [f"{line}  {cell}" for line, cell in zip(lines, cells, strict=True)]
    return lines


def variant_lines(plan: RankPlan) -> list[str]:
    """Return the form of the update and what it adds to ranks, scalings and parameters; nothing of plain LoRA."""
    if plan.variant == "lora":
        return []
    lines = [f"variant {plan.variant}: {VARIANTS.get(plan.variant).description}"]
    if plan.fixed_params:
        lines.append(f"fixed parameters: {plan.fixed_params:,} of the {plan.adapter_params:,}, whatever the ranks")
    if plan.rank_factor != 1:
        saved = _join_ranks(tuple(plan.rank_factor * rank for rank in plan.ranks))
        lines.append(f"ranks of the saved adapter ({plan.rank_factor} r): {saved}; the budget counts r")
    if any(row.module_scalings for row in plan.blocks):
        scalings = ", ".join(_scalings_of_block(row, plan.scaling) for row in plan.blocks)
        lines.append(f"alpha / r, block 1 to {len(plan.blocks)}: {scalings} (at the uniform ranks {plan.scaling:g})")
    return lines


def _scalings_of_block(row: BlockRank, scaling: float) -> str:
    """Return `alpha / r` of a block; that of each module where they differ."""
    scalings = row.module_scalings or (scaling,) * len(row.modules)
    return " ".join(f"{value:.4g}" for value in (scalings if len(set(scalings)) > 1 else scalings[:1]))


def rank_spreads(plan: RankPlan) -> list[str]:
    """Return the standard error of each block's rank.

    Empty where it is not measured, where modules have ranks of their own, and where the uniform ranks are taken, which
    no sample moves.
    """
    stability = plan.stability
    if stability is None or stability.agreement is None or not stability.is_used or plan.granularity != "block":
        return []
    return [f"{error:.1f}" for error in stability.spread]


def stability_lines(plan: RankPlan) -> list[str]:
    """Return the verdict on a plan with its numbers, and a warning if the plan rests on noise; empty without one."""
    if plan.stability is None:
        return []
    lines = [f"stability: {describe_stability(plan.stability)}"]
    return lines if stability_warning(plan) is None else [*lines, f"warning: {stability_warning(plan)}"]


def stability_warning(plan: RankPlan) -> str | None:
    """Return that a plan which differs from the uniform one is not stable, and what to do; None if it needs no warning.

    The uniform ranks need none: they follow no measurement.
    """
    stability = plan.stability
    if stability is None or stability.agreement is None or stability.verdict == STABLE:
        return None
    is_even_in_blocks = all(set(row.module_ranks or ()) <= {row.rank} for row in plan.blocks)
    if is_even_in_blocks and plan.ranks == plan.uniform_ranks:
        return None
    return f"these ranks rest on noise ({stability.verdict}): {stability.advice}"


def budget_line(plan: RankPlan) -> str:
    """Return the budget and how much of it the plan uses."""
    if plan.budget == EXEMPT_BUDGET:
        return f"exempt from the budget: {plan.method} costs what it costs, {plan.adapter_params:,} parameters"
    if plan.budget_params is None and plan.method != "gelora":
        used = f"{plan.adapter_params:,} of {plan.auto_params:,} parameters used"
        return f"budget {plan.budget}, which is what the rule's own ranks cost: {used}"
    if plan.budget_params is None:
        return f"budget {plan.budget}: the rule's own ranks, no bound"
    share = 100 * plan.adapter_params / plan.budget_params
    return f"budget {plan.budget}: {plan.adapter_params:,} of {plan.budget_params:,} parameters used ({share:.1f} %)"


def _shows_weights(plan: RankPlan) -> bool:
    """Return whether weights decide the plan that are no growth of the idim."""
    has_idim = any(row.idim_in is not None for row in plan.blocks)
    return not has_idim and any(row.weight is not None for row in plan.blocks)


def _short_names(names: Sequence[str]) -> list[str]:
    """Return the names of a block's modules without the part that they share, which names the block."""
    parts = [name.split(".") for name in names]
    shared = 0
    while len({tuple(row[: shared + 1]) for row in parts}) == 1 and shared + 1 < min(map(len, parts)):
        shared += 1
    return [".".join(row[shared:]) for row in parts]


def _join_ranks(ranks: Ranks) -> str:
    return " ".join(map(str, ranks))


def _block_line(row: BlockRank) -> str:
    ends = f"{_or_dash(row.rank_low)}..{_or_dash(row.rank_high)}"
    idims = f"{_or_dash(row.idim_in, '.3f'):>8} {_or_dash(row.idim_out, '.3f'):>7}"
    growth = f"{_or_dash(row.growth, '.3f'):>7} {_or_dash(row.real_rank, '.3f'):>7}"
    return f"{row.block:5d} {idims} {growth} {row.rank:5d} {ends:>10} {row.params:9,}"


def _weight_line(row: BlockRank) -> str:
    """Return a block with its weight, the mean over its modules where each has its own."""
    weight = row.weight if row.module_weights is None else fmean(row.module_weights)
    return f"{row.block:5d} {_or_dash(weight, '.4g'):>10} {row.rank:5d} {row.params:9,}"


def _or_dash(value: float | None, form: str = "") -> str:
    return "-" if value is None else format(value, form)
