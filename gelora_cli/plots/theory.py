"""Pictures of the paper's theory: local dimensionality, a helix, Jacobian ranks; no torch, readable in grey."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gelora_cli.plots.style import DARK, DPI, INK, LIGHT, MIDDLE, WIDTH_INCHES, head, new_figure, number_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gelora_cli.geometry.distinct_points import IdimEstimate

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ModelDimensions:
    """One small model: its number of parameters, the rank of its Fisher matrix, the idim of the models around it.

    `low` and `high` bound the 95 % interval of the idim.
    """

    name: str
    parameters: int
    rank: int
    idim: float
    low: float
    high: float


@dataclass(frozen=True)
class BlockRanks:
    """One block: idim at its two ends, and the ranks of its Jacobian over several probes.

    Attributes:
        block: its number, from 1.
        idim_in: idim of the block's input.
        idim_out: idim of its output.
        low: lower end of the 95 % interval of `idim_out`.
        high: its upper end.
        size: the largest rank that the Jacobian could have.
        rank: the smallest rank of all probes.
        stable_ranks: the smallest, median and largest stable rank.
    """

    block: int
    idim_in: float
    idim_out: float
    low: float
    high: float
    size: int
    rank: int
    stable_ranks: tuple[float, float, float]

    @property
    def growth(self) -> float:
        """Return the growth of idim across the block, `max(d_i - d_(i-1), 0)`."""
        return max(self.idim_out - self.idim_in, 0.0)


def loss_figure(ticks: Array, losses: Array, fisher: Array, rank: int) -> Figure:
    """Draw a loss of two parameters as a surface and as contours, with the directions of the Fisher matrix.

    Args:
        ticks: (m,) values of either parameter.
        losses: (m, m), theta_1 along the columns and theta_2 along the rows.
        fisher: (2, 2), at the origin of the arrows.
        rank: that of the Fisher matrix.
    """
    figure, (surface, contours) = _side_by_side(f"Half-squared loss: local dimensionality {rank} of 2 parameters")
    x, y = np.meshgrid(ticks, ticks)
    style: dict[str, Any] = {"rstride": 4, "cstride": 4, "color": "white", "edgecolor": DARK, "linewidth": 0.5}
    surface.plot_surface(x, y, losses, **style)  # type: ignore[attr-defined]
    surface.set(xlabel="theta_1", ylabel="theta_2", zlabel="loss")
    filled = contours.contourf(x, y, losses, levels=8, cmap="Greys", vmax=2 * losses.max())
    figure.colorbar(filled, ax=contours, label="loss", shrink=0.85)
    contours.set(xlabel="theta_1", ylabel="theta_2", aspect="equal")
    values, vectors = np.linalg.eigh(fisher)  # in ascending order, the vectors in columns
    for value, eigenvector in zip(values[::-1], vectors.T[::-1], strict=True):
        is_flat = value <= values[-1] * 1e-12  # 0 but for rounding: along it the model does not change
        label = f"eigenvalue {value:.3g}: " + ("flat, the model stays the same" if is_flat else "the model changes")
        # An eigenvector's sign is arbitrary: both components positive, whatever the library gives.
        arrow_x, arrow_y = zip((0.0, 0.0), 1.4 * np.abs(eigenvector), strict=True)
        line = ":" if is_flat else "-"
        contours.plot(arrow_x, arrow_y, color=INK, linewidth=2, linestyle=line, marker="o", markevery=[1], label=label)
    contours.legend(loc="lower left", bbox_to_anchor=(-0.05, 1.0), fontsize=9, frameon=False)
    return figure


def helix_figure(points: Array, estimate: IdimEstimate) -> Figure:
    """Draw points (n, 3) in space, and seen from the side, with their idim and its interval as title."""
    interval = f"95 % interval {estimate.low:.2f} to {estimate.high:.2f}"
    title = f"A helix in 3-D: idim {estimate.idim:.2f} ({interval}) by TwoNN, N = {estimate.used:,}"
    figure, (space, side) = _side_by_side(title)
    style: dict[str, Any] = {
        "c": points[:, 2],
        "cmap": "Greys",
        "vmin": points[:, 2].min() - 0.6 * np.ptp(points[:, 2]),
    }
    space.scatter(*points.T, s=4, **style)  # type: ignore[misc]
    space.set(xlabel="x", ylabel="y", zlabel="z")
    side.scatter(points[:, 0], points[:, 2], s=4, **style)
    side.set(xlabel="x", ylabel="z")
    return figure


def _side_by_side(title: str) -> tuple[Figure, tuple[Axes, Axes]]:
    """Return a figure with a panel in space and a flat one."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(WIDTH_INCHES, 4.2), dpi=DPI, layout=ConstrainedLayoutEngine(wspace=0.12))
    figure.suptitle(title, x=0.02, ha="left", fontsize=12, fontweight="bold", color=INK)
    space, flat = figure.add_subplot(1, 2, 1, projection="3d"), figure.add_subplot(1, 2, 2)
    space.set_box_aspect(None, zoom=0.88)
    space.locator_params(nbins=5)
    flat.spines[["top", "right"]].set_visible(False)
    return figure, (space, flat)


def dimensions_figure(models: Sequence[ModelDimensions]) -> Figure:
    """Draw theorem 3.1: each model's parameters, rank of Fisher, and the idim of the models around it."""
    figure, (axis,) = new_figure(height_inches=4.8, panels=(1,))
    positions = np.arange(len(models))
    axis.bar(positions - 0.2, [m.parameters for m in models], 0.36, color="white", edgecolor=DARK, label="parameters")
    ranks = [m.rank for m in models]
    bars = axis.bar(positions + 0.2, ranks, 0.36, color=LIGHT, edgecolor=DARK, label="rank of Fisher, d(phi)")
    axis.bar_label(bars, ["d = 0" if rank == 0 else "" for rank in ranks], padding=3, fontsize=9)
    errors = [[m.idim - m.low for m in models], [m.high - m.idim for m in models]]
    style: dict[str, Any] = {"fmt": "o", "color": INK, "capsize": 3, "markersize": 5}
    axis.errorbar(positions + 0.2, [m.idim for m in models], yerr=errors, label="idim of models around, 95 %", **style)
    axis.set_xticks(positions, [m.name for m in models], fontsize=8)
    axis.set_ylabel("dimensions")
    head(axis, "Intrinsic dimension beside local dimensionality", "TwoNN of models drawn around phi; Fisher at phi")
    return figure


def block_ranks_figure(rows: Sequence[BlockRanks], model: str, note: str) -> Figure:
    """Draw theorem 3.2's quantity: per block the ranks of its Jacobian beside idim, and the growth of idim below."""
    figure, (top, bottom) = new_figure(height_inches=5.6, panels=(5, 2))
    blocks = [row.block for row in rows]
    top.plot(blocks, [row.rank for row in rows], "s", color=DARK, markersize=7, label="rank of the Jacobian")
    least, middle, most = np.array([row.stable_ranks for row in rows]).T
    style: dict[str, Any] = {"capsize": 3, "linestyle": "none"}
    top.errorbar(
        blocks, middle, yerr=[middle - least, most - middle], fmt="^", color=MIDDLE, label="its stable rank", **style
    )
    idims = np.array([row.idim_out for row in rows])
    errors = [idims - [row.low for row in rows], np.array([row.high for row in rows]) - idims]
    top.errorbar(blocks, idims, yerr=errors, fmt="o", color=INK, markersize=5, label="idim of the output", **style)
    top.set(yscale="log", ylabel="dimensions (log scale)", ylim=(0.8, 2 * max(row.size for row in rows)))
    top.tick_params(labelbottom=False)
    bottom.bar(blocks, [row.growth for row in rows], color=LIGHT, edgecolor=DARK, linewidth=0.8)
    bottom.set(ylabel="growth of idim", xlabel="block", ylim=(0, 1.15 * max(*(row.growth for row in rows), 1.0)))
    for axis in (top, bottom):
        number_ticks(axis, blocks)
        axis.set_xlim(blocks[0] - 0.5, blocks[-1] + 0.5)
    head(top, "Rank of each block's Jacobian beside idim", f"{model}: {note}")
    return figure
