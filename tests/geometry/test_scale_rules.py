"""One scale for all layers, and the plateau of a layer, from numbers alone."""

from __future__ import annotations

import pytest

from gelora_cli.core.artifacts.profile import ScaleIdim
from gelora_cli.geometry.scale_rules import choose_scale, plateau


def curve(*idims: float, half: float = 0.0) -> tuple[ScaleIdim, ...]:
    """Return scales n1 = 1, 2, 4 .. with intervals of `idim / (1 + half) .. idim * (1 + half)`."""
    return tuple(
        ScaleIdim(2**i, idim, idim / (1 + half), idim * (1 + half), 1.0, dropped=0) for i, idim in enumerate(idims)
    )


@pytest.mark.parametrize(
    ("layers", "n1"),
    [
        ([curve(5, 5.1, 5.2)], 1),
        ([curve(9, 7, 5.2, 5, 4.9)], 4),
        ([curve(16, 8, 4, 2)], 8),
        ([curve(5, 7.5, 7.4, 7.3)], 2),
        ([curve(9, 7, 5.2, 5), curve(5, 5, 5, 5), curve(4, 4, 4, 4)], 1),
        ([curve(9, 7, 5.2, 5), ()], 4),
        ([curve(9, 7), curve(9, 7, 5.2, 5)], 2),
        ([(), ()], 1),
    ],
)
def test_the_scale_is_the_first_after_which_the_mean_curve_is_flat(
    layers: list[tuple[ScaleIdim, ...]], n1: int
) -> None:
    assert choose_scale(layers) == n1


@pytest.mark.parametrize(
    ("scales", "run"),
    [
        (curve(9, 7, 5.2, 5, 4.9), (4, 16)),
        (curve(9, 7, 5.2, 5, 4), None),
        (curve(16, 8, 4, 2), None),
        (curve(5, 5), None),
        (curve(5, 5.1, 5.2, 8, 8, 8), (1, 4)),
        (curve(5, 5.1, 5.2, 8, 8, 8, 8.1), (8, 64)),
        (curve(6, 5.7, 5.5, 5.2, 5.0, 4.8), (1, 4)),
        (curve(6, 5, 4.5, half=0.2), (1, 4)),
        ((), None),
    ],
)
def test_a_plateau_is_a_run_of_three_scales_within_a_tenth_or_the_noise(
    scales: tuple[ScaleIdim, ...], run: tuple[int, int] | None
) -> None:
    assert plateau(scales) == run
