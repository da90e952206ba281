"""The panels of `profile.png` that show an idim against its scale."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.plots.run_profile import profile_figure
from gelora_cli.plots.scales import draw_scales, named_layers
from gelora_cli.plots.style import new_figure
from tests.helpers.plans import make_profile, scaled

NUMBERS = (1, 2, 4, 8)


def profile_of(layers: int) -> IdProfile:
    """Return a profile with scales, whose layer 0 is constant."""
    profile = make_profile((0.0, *(5.0 + layer for layer in range(1, layers))))
    return replace(profile, layers=tuple(scaled(row, NUMBERS) for row in profile.layers))


@pytest.mark.parametrize(("layers", "named"), [(3, [0, 1, 2]), (7, [0, 3, 6]), (25, [0, 12, 24])])
def test_a_few_layers_are_named_and_all_are_drawn(layers: int, named: list[int]) -> None:
    profile = profile_of(layers)
    assert [row.layer for row in named_layers(profile)] == named
    figure = profile_figure(profile)
    _, scales, samples = figure.axes
    assert len(scales.lines) == len(samples.lines) == layers
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [f"layer {number}" for number in named] + ["other layers"] * (layers > 3)
    curve = scales.lines[1]  # of the second named layer; the first is constant
    assert np.allclose(curve.get_ydata(), [scale.idim for scale in profile.layers[named[1]].scales])
    assert np.allclose(curve.get_xdata(), NUMBERS, rtol=0.06)  # moved aside, so that intervals stand apart
    last = profile.layers[named[-1]]
    sizes = samples.lines[len(named) - 1]
    means = (last.eighth, last.quarter, last.half, last.idim)
    assert np.allclose(sizes.get_ydata(), np.array(means, float))
    assert np.allclose(sizes.get_xdata(), (1 / 8, 1 / 4, 1 / 2, 1), rtol=0.06)
    assert [text.get_text() for text in samples.get_xticklabels()] == ["N/8\n498", "N/4\n997", "N/2\n1,994", "N\n3,988"]


def test_a_plateau_is_a_thick_part_of_its_line() -> None:
    profile = profile_of(3)
    _, (axis,) = new_figure(3, (1,))
    draw_scales(axis, profile, {2: (2, 4)})
    (flat,) = [line for line in axis.lines if line.get_label() == "plateau"]
    assert np.allclose(flat.get_ydata(), [scale.idim for scale in profile.layers[2].scales[1:3]])
    curve = axis.lines[axis.lines.index(flat) - 1]
    assert flat.get_linewidth() > 2 * curve.get_linewidth()
    assert (flat.get_color(), flat.get_marker()) == (curve.get_color(), curve.get_marker())
    assert (curve.get_markerfacecolor(), flat.get_markerfacecolor()) == ("white", flat.get_color())
    assert axis.get_title(loc="left").endswith("plateau in 1 layer")


def test_without_scales_the_picture_has_one_panel() -> None:
    profile = make_profile()
    assert len(profile_figure(profile).axes) == 1
    (axis,) = profile_figure(replace(profile, settings=replace(profile.settings, tokens=4, control="shuffled"))).axes
    (note,) = [text.get_text() for text in axis.texts if "examples" in text.get_text()]
    assert note.endswith("N = 3,988 examples, 4 tokens of each, shuffled tokens")
