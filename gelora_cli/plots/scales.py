"""Panels that show an idim against the scale at which it is measured; no torch, readable in grey.

A dimension that is a property of the data is flat over some range of scales, its plateau. A curve that only falls says
how the points lie, not how many dimensions they have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gelora_cli.core.artifacts.profile import IdProfile, LayerIdim
from gelora_cli.plots.style import LIGHT, LineStyle, line_style, name_panel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

LINE: LineStyle = {"linewidth": 1.1, "markersize": 4, "markerfacecolor": "white"}
FLAT: LineStyle = {"linewidth": 2.8, "markersize": 6.5, "solid_capstyle": "round"}
"""The look of a plateau beside the layer's own: a thick line with filled markers."""
NAMED = 3
"""Layers that are named: the first, the middle and the last; more lines with intervals can't be told apart."""
OTHER: LineStyle = {"color": LIGHT, "linewidth": 0.8, "zorder": 1}
OTHER_LABEL, PLATEAU_LABEL = "other layers", "plateau"
NUDGE = 1.025
"""Factor between the places of neighbouring layers on a logarithmic axis, so that their intervals stand apart."""
PARTS = (("eighth", 8), ("quarter", 4), ("half", 2))
"""Field of a layer's mean over disjoint parts, and the number of these parts; the smallest first."""


def named_layers(profile: IdProfile) -> list[LayerIdim]:
    """Return the layers that are drawn with a name: at most three, the first, the middle and the last."""
    layers = profile.layers
    count = min(len(layers), NAMED)
    steps = max(count - 1, 1)
    return [layers[round(number * (len(layers) - 1) / steps)] for number in range(count)]


def draw_scales(axis: Axes, profile: IdProfile, plateaus: dict[int, tuple[int, int]]) -> None:
    """Draw idim against the size of the neighbourhood, a line per layer, thick where it is flat.

    Args:
        axis: the panel.
        profile: with scales.
        plateaus: of each layer that has one, the first and the last n1 of it.
    """
    named = named_layers(profile)
    for number, row in enumerate(named):
        style = line_style(number)
        idims = [scale.idim for scale in row.scales]
        places = _nudged([scale.n1 for scale in row.scales], number, len(named))
        axis.plot(places, idims, label=f"layer {row.layer}", **style, **LINE)
        low, high = [scale.low for scale in row.scales], [scale.high for scale in row.scales]
        axis.vlines(places, low, high, color=style["color"], linewidth=1)
        if row.layer in plateaus:
            first, last = plateaus[row.layer]
            within = [index for index, scale in enumerate(row.scales) if first <= scale.n1 <= last]
            flat_places, flat_idims = [places[index] for index in within], [idims[index] for index in within]
            axis.plot(flat_places, flat_idims, label=_once(axis, PLATEAU_LABEL), **style, **FLAT)
    for row in _others(profile, named):
        idims = [scale.idim for scale in row.scales]
        axis.plot([scale.n1 for scale in row.scales], idims, label=_once(axis, OTHER_LABEL), **OTHER)
    numbers = profile.measured_scales
    _log_axis(axis, numbers, [str(number) for number in numbers])
    axis.set_xlabel("$n_1$, the nearer of neighbours $n_1$ and $2 n_1$")
    axis.set_ylabel("intrinsic dimension")
    flat = f"plateau in {len(plateaus)} layer{'s' * (len(plateaus) > 1)}" if plateaus else "no plateau"
    name_panel(axis, f"neighbourhood (GRIDE), {flat}")


def draw_sample_sizes(axis: Axes, profile: IdProfile) -> None:
    """Draw idim against the number of texts: the means over disjoint eighths, quarters and halves, and all of them."""
    named = named_layers(profile)
    sizes: dict[float, str] = {1.0: "N"}
    for number, row in enumerate(named):
        style = line_style(number)
        curve = _sample_curve(row)
        sizes |= {share: f"N/{round(1 / share)}" for share, _ in curve if share < 1}
        places = _nudged([share for share, _ in curve], number, len(named))
        axis.plot(places, [idim for _, idim in curve], **style, **LINE)
        axis.vlines(places[-1], row.low, row.high, color=style["color"], linewidth=1)
    for row in _others(profile, named):
        axis.plot(*zip(*_sample_curve(row), strict=True), **OTHER)
    shares = sorted(sizes)
    labels = [f"{sizes[share]}\n{round(share * profile.examples_used):,}" for share in shares]
    _log_axis(axis, shares, labels)
    axis.set_xlabel("texts")
    name_panel(axis, "number of texts (disjoint parts)")


def legend_entries(axis: Axes) -> tuple[list[Artist], list[str]]:
    """Return the handles and labels of a panel's legend: the named layers, then what they share."""
    handles, labels = axis.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda index: labels[index] in (OTHER_LABEL, PLATEAU_LABEL))
    return [handles[index] for index in order], [labels[index] for index in order]


def _sample_curve(row: LayerIdim) -> list[tuple[float, float]]:
    """Return the shares of the texts with their idims, for the parts that were large enough to be measured."""
    means = [(1 / parts, getattr(row, name)) for name, parts in PARTS]
    return [(share, mean) for share, mean in means if mean is not None] + [(1.0, row.idim)]


def _nudged(places: Sequence[float], number: int, count: int) -> list[float]:
    """Return places on a logarithmic axis, moved for line `number` of `count` so that intervals stand apart."""
    return [place * NUDGE ** (number - (count - 1) / 2) for place in places]


def _others(profile: IdProfile, named: Sequence[LayerIdim]) -> list[LayerIdim]:
    """Return the layers that are drawn without a name."""
    names = {row.layer for row in named}
    return [row for row in profile.layers if row.layer not in names]


def _once(axis: Axes, label: str) -> str:
    """Return a label for the first line that has it; the legend leaves out those that begin with an underscore."""
    _, labels = axis.get_legend_handles_labels()
    return f"_{label}" if label in labels else label


def _log_axis(axis: Axes, places: Sequence[float], labels: Sequence[str]) -> None:
    axis.set_xscale("log", base=2)
    axis.set_xticks(places, labels)
    axis.minorticks_off()
