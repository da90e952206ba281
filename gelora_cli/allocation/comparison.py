"""Plans side by side: a column for each, how far they agree, and which are equal; no torch, no numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gelora_cli.allocation.apportionment import Ranks
from gelora_cli.allocation.stability import agreement
from gelora_cli.core.artifacts.plan import BlockRank, RankPlan

GAP = "  "


@dataclass(frozen=True)
class PlanColumn:
    """One of several plans.

    Attributes:
        titles: the lines above its column.
        plan: the plan; None if the budget can't be met.
        reason: why there is none.
    """

    titles: tuple[str, ...]
    plan: RankPlan | None
    reason: str = ""

    @property
    def name(self) -> str:
        """Return the titles in one line."""
        return " ".join(filter(None, self.titles))


def plan_agreement(plan: RankPlan, other: RankPlan) -> float | None:
    """Return how far two plans agree (`stability.agreement`), over their modules.

    Plans of a rank per block and of a rank per module can so be compared: a block's rank is that of its modules.
    None if they are for models with other blocks or adapt other modules.
    """
    if [len(row.modules) for row in plan.blocks] != [len(row.modules) for row in other.blocks]:
        return None
    return agreement(module_ranks(plan), module_ranks(other))


def module_ranks(plan: RankPlan) -> Ranks:
    """Return the rank of every module that the plan may adapt, block by block."""
    ranks: list[int] = []
    for row in plan.blocks:
        ranks += row.module_ranks or (row.rank,) * len(row.modules)
    return tuple(ranks)


def comparison_table(columns: Sequence[PlanColumn], *, width: int | None, reference: bool) -> str:
    """Return a row per block with its rank in each plan, the totals, and the agreement with the first plan.

    A plan that gives every module a rank of its own shows the mean rank of a block's modules.

    Args:
        columns: the plans.
        width: columns of text; a wider table goes on below in further tables. None: one table.
        reference: whether there is a row with the agreement with the first plan.
    """
    plans = [column.plan for column in columns]
    blocks = max(len(plan.blocks) if plan else 0 for plan in plans)
    height = max(len(column.titles) for column in columns)
    labels = [*[""] * (height - 1), "block", *map(str, range(1, blocks + 1)), "units", "parameters"]
    if reference:
        labels.append("agreement")
    cells = []
    for column in columns:
        titles = [*column.titles, *[""] * (height - len(column.titles))]
        cells.append([*titles, *_ranks(column.plan, blocks), *_totals(column.plan)])
        if reference:
            cells[-1].append(_agreement_text(plans[0], column.plan))
    return side_by_side(labels, cells, width=width)


def agreement_table(columns: Sequence[PlanColumn], *, width: int | None) -> str:
    """Return the agreement of each plan with each other one."""
    names = [column.name for column in columns]
    cells = []
    for column in columns:
        agreements = [_agreement_text(column.plan, other.plan) for other in columns]
        cells.append([column.name, *agreements])
    return side_by_side(["agreement", *names], cells, width=width)


def equal_plans(columns: Sequence[PlanColumn]) -> list[list[str]]:
    """Return the names of the plans that are equal, in groups of two or more."""
    groups: dict[tuple[Ranks, tuple[str, ...]], list[str]] = {}
    for column in columns:
        if column.plan is not None:
            modules = tuple(name for row in column.plan.blocks for name in row.modules)
            groups.setdefault((module_ranks(column.plan), modules), []).append(column.name)
    return [names for names in groups.values() if len(names) > 1]


def side_by_side(labels: Sequence[str], columns: Sequence[Sequence[str]], *, width: int | None) -> str:
    """Return columns of cells with their labels on the left; columns that don't fit go on in a table below.

    Args:
        labels: of each line.
        columns: the cells of each column, as many as labels.
        width: columns of text; None: one table.
    """
    label_width = max(map(len, labels))
    groups: list[list[Sequence[str]]] = [[]]
    used = label_width
    for column in columns:
        added = len(GAP) + max(map(len, column))
        if width is not None and groups[-1] and used + added > width:
            groups.append([])
            used = label_width
        groups[-1].append(column)
        used += added
    return "\n\n".join(_table(labels, group, label_width) for group in groups)


def _table(labels: Sequence[str], columns: Sequence[Sequence[str]], label_width: int) -> str:
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for row, label in enumerate(labels):
        cells = [column[row].rjust(size) for column, size in zip(columns, widths, strict=True)]
        lines.append(GAP.join([label.ljust(label_width), *cells]).rstrip())
    return "\n".join(lines)


def _ranks(plan: RankPlan | None, blocks: int) -> list[str]:
    """Return the cells of the blocks, `-` for those that a plan doesn't have."""
    cells = [] if plan is None else [_rank_text(row) for row in plan.blocks]
    return [*cells, *["-"] * (blocks - len(cells))]


def _rank_text(row: BlockRank) -> str:
    if row.module_ranks is None:
        return str(row.rank)
    return f"{sum(row.module_ranks) / len(row.module_ranks):.1f}"


def _totals(plan: RankPlan | None) -> list[str]:
    """Return the units of rank over all modules, and the parameters."""
    return ["-", "-"] if plan is None else [f"{sum(module_ranks(plan)):,}", f"{plan.adapter_params:,}"]


def _agreement_text(plan: RankPlan | None, other: RankPlan | None) -> str:
    value = None if plan is None or other is None else plan_agreement(plan, other)
    return "-" if value is None else f"{value:.2f}"
