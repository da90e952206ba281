"""`course-N`: how ranks move while a method such as AdaLoRA or SoRA trains; no torch, readable in grey."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean
from typing import TYPE_CHECKING

from gelora_cli.core.registries import REPORT_PICTURES
from gelora_cli.plots.base import Picture, ReportPicture
from gelora_cli.plots.report_rows import (
    MOST_LINES,
    RowFamily,
    bound,
    chunks,
    draw_curve,
    mean_over_seeds,
    part_name,
    row_families,
    row_styles,
)
from gelora_cli.plots.style import INK, head, name_panel, new_figure, step_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gelora_cli.report.rows import Row
    from gelora_cli.report.runs import Run


@dataclass(frozen=True)
class RankSnapshot:
    """The ranks of all planned modules after `step` optimizer steps, and the parameters that they cost."""

    step: int
    adapter_params: int
    ranks: list[int]


Course = list[RankSnapshot]
"""The ranks of one run over time."""


@REPORT_PICTURES.register
class RankCoursesPicture(ReportPicture):
    """One picture for each family of rows whose runs logged ranks while they trained."""

    name = "course"

    def draw(self, rows: Sequence[Row]) -> Iterator[Picture]:
        """Draw the adapter's parameters over the steps, and below them each block's mean rank, a panel per row."""
        courses: dict[int, list[Course]] = {}  # of each row's runs
        for row in rows:
            first = rank_course(row.runs[0])
            if first:  # the other runs are read only of a row that is drawn
                courses[id(row)] = [first, *map(rank_course, row.runs[1:])]
        moving = [row for row in rows if id(row) in courses]
        for number, family in enumerate(row_families(moving), start=1):
            for part, members in enumerate(chunks(family.rows, MOST_LINES)):
                yield _draw_family(part_name(f"course-{number}", part), RowFamily(family.title, members), courses)


def rank_course(run: Run) -> Course:
    """Return the ranks at the start and wherever a run logged them; nothing of a method whose ranks stay."""
    lines = [line for line in run.metric_lines() if "ranks" in line]
    if not lines:
        return []
    ranks: list[int] = []
    for block in run.plan.blocks:
        ranks += [block.rank] * len(block.modules)
    # A pruning method logs its ranks only once it has pruned; before that they are those of the plan.
    start = RankSnapshot(0, run.result.trained_params, ranks)
    return [start, *(RankSnapshot(line["step"], line["adapter_params"], line["ranks"]) for line in lines)]


def _draw_family(name: str, family: RowFamily, courses: Mapping[int, Sequence[Course]]) -> Picture:
    """Draw the parameters of all rows in one panel, and below it a panel of ranks for each row."""
    rows = family.rows
    panels = (2,) * (1 + len(rows))
    figure, axes = new_figure(height_inches=1.2 + 1.9 * len(panels), panels=panels)
    _draw_params(axes[0], rows, courses)
    for axis, row in zip(axes[1:], rows, strict=True):
        _draw_block_ranks(figure, axis, row, courses[id(row)][0])
    axes[-1].set_xlabel("optimizer step")
    seed = rows[0].runs[0].result.seed
    for axis in axes:
        step_ticks(axis)
    head(axes[0], "Ranks over time", f"{family.title}; blocks: seed {seed}, darker is higher")
    names = ", ".join(row.name for row in rows)
    caption = f"Adapter parameters (mean over seeds) and mean rank of each block's modules, of {names}."
    title = f"Ranks over time: {family.title}"
    return Picture(name, title, caption, figure, task=rows[0].task, budget=bound(rows[0]))


def _draw_params(axis: Axes, rows: Sequence[Row], courses: Mapping[int, Sequence[Course]]) -> None:
    """Draw the adapter's parameters over the steps, and the budget that they come down to."""
    styles = row_styles(rows)
    for row in rows:
        curves = []
        for course in courses[id(row)]:
            curves.append([(snapshot.step, snapshot.adapter_params) for snapshot in course])
        draw_curve(axis, row, styles[id(row)], mean_over_seeds(curves), marker_every=0.12)
    if rows[0].budget_params:
        axis.axhline(rows[0].budget_params, color=INK, linewidth=1, linestyle=(0, (1, 1)), label="budget")
    axis.set_ylabel("adapter parameters")
    axis.margins(y=0.1)
    last = max(courses[id(row)][0][-1].step for row in rows)
    axis.set(ylim=(0, None), xlim=(-0.02 * last, 1.02 * last))
    axis.yaxis.set_major_formatter("{x:,.0f}")


def _draw_block_ranks(figure: Figure, axis: Axes, row: Row, course: Course) -> None:
    """Draw steps to the right, blocks upwards, and the mean rank of a block's modules as a shade.

    The course is that of one seed: a mean over seeds would blur which block loses its ranks.
    """
    shades = _block_means(course, [len(block.modules) for block in row.runs[0].plan.blocks])
    steps = [snapshot.step for snapshot in course]
    # A shade reaches halfway to its neighbours in time, since the ranks are known at these steps only.
    halfway = [(step + following) / 2 for step, following in pairwise(steps)]
    edges = [steps[0], *halfway, steps[-1]]
    block_edges = [number + 0.5 for number in range(len(shades) + 1)]
    mesh = axis.pcolormesh(edges, block_edges, shades, cmap="Blues", vmin=0, rasterized=True)
    figure.colorbar(mesh, ax=axis, label="mean rank", pad=0.01)
    axis.grid(visible=False)
    axis.set_ylabel("block")
    name_panel(axis, row.name)
    axis.locator_params(axis="y", nbins=6, integer=True)


def _block_means(course: Sequence[RankSnapshot], sizes: Sequence[int]) -> list[list[float]]:
    """Return the mean rank of each block at each snapshot, (blocks, snapshots).

    Args:
        course: the ranks of all modules, block after block.
        sizes: how many modules each block has.
    """
    means = []
    first = 0
    for size in sizes:
        ranks = [snapshot.ranks[first : first + size] for snapshot in course]
        means.append([mean(of_block) if of_block else 0.0 for of_block in ranks])
        first += size
    return means
