"""The estimators of the intrinsic dimension by name; each reads the ratio of two neighbours' distances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gelora_cli.core.artifacts.profile import FEWEST_POINTS
from gelora_cli.core.errors import GeloraError
from gelora_cli.geometry.fit import fit, fit_influence
from gelora_cli.geometry.gride import gride, gride_influence
from gelora_cli.geometry.mle import mle, mle_influence
from gelora_cli.geometry.points import Array

GRIDE = "gride"
ESTIMATORS = ("fit", "mle", GRIDE)
POINTS_PER_NEIGHBOUR = 3
"""An estimate needs so many times n2 points [ours]: a neighbourhood of more than a third of all has nothing local."""


@dataclass(frozen=True)
class Estimator:
    """An estimate from the ratios `mu = r_far / r_near`, (n,), and the influence of every point on it.

    Attributes:
        title: what messages call it.
        estimate: mu to the idim.
        influence: (mu, idim) to the influence (n,) of every point, up to a constant.
        near: number of the nearer neighbour.
        far: number of the farther one.
    """

    title: str
    estimate: Callable[[Array], float]
    influence: Callable[[Array, float], Array]
    near: int = 1
    far: int = 2

    @property
    def fewest_points(self) -> int:
        """Return how many distinct points it needs."""
        return max(FEWEST_POINTS, POINTS_PER_NEIGHBOUR * self.far)


def find_estimator(name: str, *, discard: float = 0.1, scale: int = 1) -> Estimator:
    """Return the estimator of this name.

    Args:
        name: `fit`, `mle` or `gride`.
        discard: share of the largest ratios that `fit` and `mle` leave out; `gride` has a cut of its own.
        scale: n1 of `gride`.

    Raises:
        GeloraError: there is none; a scale below 1.
    """
    if name == "fit":
        return Estimator(
            "TwoNN",
            lambda mu: fit(mu, discard=discard),
            lambda mu, _: fit_influence(np.log(mu), discard),
        )
    if name == "mle":
        return Estimator(
            "TwoNN",
            lambda mu: mle(mu, discard=discard),
            lambda mu, idim: mle_influence(np.log(mu), idim, discard),
        )
    if name != GRIDE:
        raise GeloraError(f"Estimator {name!r} given; accepted: {', '.join(ESTIMATORS)}.")
    if scale < 1:
        raise GeloraError(f"scale={scale} given; a neighbour's number from 1 up is accepted.")
    return Estimator(
        "TwoNN" if scale == 1 else f"GRIDE at n1={scale}",
        lambda mu: gride(mu, scale, 2 * scale),
        lambda mu, idim: gride_influence(mu, idim, scale, 2 * scale),
        near=scale,
        far=2 * scale,
    )
