"""`ranks-N`: the rank of each block at the end of training, a panel per row; no torch, readable in grey."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import mean, median_low
from typing import TYPE_CHECKING

from gelora_cli.core.registries import REPORT_PICTURES
from gelora_cli.plots.base import Picture, ReportPicture
from gelora_cli.plots.report_rows import bound, chunks, part_name, row_families
from gelora_cli.plots.shared_blocks import name_passes
from gelora_cli.plots.style import DARK, INK, LIGHT, figure_head, name_panel, new_figure, number_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gelora_cli.report.rows import Row

MOST_PANELS = 12
"""Rows of one picture; further ones go into another."""
MOST_BLOCKS_WITH_NUMBERS = 16
"""Blocks up to which a number fits above each bar."""
OWN_SCALE = 3
"""A row has a scale of its own where its highest rank is above so many times that of the middle row."""
HEAD_ROOM, NUMBER_ROOM = 1.12, 1.4
"""Height of a panel by that of its highest line, and by that of its highest bar with a number above it."""


@dataclass(frozen=True)
class BlockRank:
    """The ranks of one block's modules at the end, over all seeds of a row."""

    mean: float
    least: int
    most: int


@REPORT_PICTURES.register
class BlockRanksPicture(ReportPicture):
    """One picture for each family of rows that have ranks."""

    name = "ranks"

    def draw(self, rows: Sequence[Row]) -> Iterator[Picture]:
        """Draw the mean rank over modules and seeds as a bar, with a line from the least to the most."""
        ranked = []
        for row in rows:
            plan = row.runs[0].plan
            if plan.blocks and plan.unit != "bottleneck":  # a bottleneck's width is no rank of an update
                ranked.append(row)
        for number, family in enumerate(row_families(ranked), start=1):
            for part, members in enumerate(chunks(family.rows, MOST_PANELS)):
                yield _draw_rows(part_name(f"ranks-{number}", part), family.title, members)


def _draw_rows(name: str, title: str, rows: Sequence[Row]) -> Picture:
    figure, axes = new_figure(height_inches=1.3 + 0.95 * len(rows), panels=(1,) * len(rows))
    ranks = [block_ranks(row) for row in rows]
    # One scale for all panels, so that bars of different rows can be compared; very high ones would flatten the others.
    most = [_most(blocks) for blocks in ranks]
    limit = OWN_SCALE * max(median_low(most), 1)
    shared = max(_height(blocks) for blocks, highest in zip(ranks, most, strict=True) if highest <= limit)
    apart: list[str] = []
    for axis, row, blocks, highest in zip(axes, rows, ranks, most, strict=True):
        if highest > limit:
            apart.append(row.name)
            _draw_row(axis, f"{row.name} (a scale of its own)", row, blocks, _height(blocks))
        else:
            _draw_row(axis, row.name, row, blocks, shared)
    axes[-1].tick_params(labelbottom=True)
    axes[-1].set_xlabel("block")
    figure_head(figure, "LoRA rank of each block", f"{title}; a bar from the least to the most of modules and seeds")
    names = ", ".join(row.name for row in rows)
    caption = f"Rank at the end of training per block, of {names}."
    if apart:
        caption += f" On a scale of its own, since its ranks are much higher: {', '.join(apart)}."
    return Picture(name, f"Ranks: {title}", caption, figure, task=rows[0].task, budget=bound(rows[0]))


def _most(blocks: Sequence[BlockRank]) -> float:
    """Return the highest rank of any module of a row with any seed."""
    return max(block.most for block in blocks)


def _height(blocks: Sequence[BlockRank]) -> float:
    """Return how high a panel is that has room for the lines and bars of a row, and for the numbers above these."""
    return max(HEAD_ROOM * _most(blocks), NUMBER_ROOM * max(block.mean for block in blocks))


def block_ranks(row: Row) -> list[BlockRank]:
    """Return what each block's ranks came to; a block without modules has 0."""
    block_ranks_of_row = []
    for index, block in enumerate(row.runs[0].plan.blocks):
        ranks: list[int] = []
        for run in row.runs:
            modules = run.plan.blocks[index].modules or block.modules
            ranks += [run.result.effective_ranks.get(module, 0) for module in modules]
        summary = BlockRank(mean(ranks), min(ranks), max(ranks)) if ranks else BlockRank(0.0, 0, 0)
        block_ranks_of_row.append(summary)
    return block_ranks_of_row


def _draw_row(axis: Axes, name: str, row: Row, ranks: Sequence[BlockRank], height: float) -> None:
    blocks = list(range(1, len(ranks) + 1))
    axis.bar(blocks, [rank.mean for rank in ranks], color=LIGHT, edgecolor=DARK, linewidth=0.8, width=0.7)
    for block, rank in zip(blocks, ranks, strict=True):
        if rank.least < rank.most:
            axis.vlines(block, rank.least, rank.most, color=INK, linewidth=1.2)
        if len(blocks) <= MOST_BLOCKS_WITH_NUMBERS:
            text = f"{rank.mean:.1f}".removesuffix(".0")
            # Above the bar: within a low one its edge would strike it through.
            axis.annotate(text, (block - 0.3, rank.mean), (0, 2), textcoords="offset points", fontsize=8, ha="left")
    axis.set_ylim(0, height)
    axis.set_ylabel("rank")
    name_panel(axis, name)
    axis.tick_params(labelbottom=False)
    axis.locator_params(axis="y", nbins=3, integer=True)
    number_ticks(axis, blocks)
    name_passes(axis, row.runs[0].plan.blocks)
