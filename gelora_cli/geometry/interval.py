"""The 95 % interval of an estimate by a grouped jackknife."""

from __future__ import annotations

import math

import numpy as np

from gelora_cli.geometry.points import Array, Rows

NORMAL_95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


def jackknife_interval(idim: float, influence: Array, neighbours: Rows) -> tuple[float, float]:
    """Return the 95 % interval from the influence (n,) of every point and its nearest neighbours (n, k).

    `twonn.estimate_idim` gives the formula.
    """
    n = len(influence)
    # Centred, because an influence is known up to a constant only (`mle_influence`).
    psi = influence - influence.mean()
    point, neighbour = np.repeat(np.arange(n), neighbours.shape[1]), neighbours.ravel()
    # Each pair once, as smaller * n + larger, also if each is the other's neighbour.
    links = np.sort(np.minimum(point, neighbour) * n + np.maximum(point, neighbour))
    links = links[np.diff(links, prepend=-1) > 0]
    # Twice, for both orders of each pair. Negative sums are chance and would make the interval too short.
    shared = max(0.0, 2 * float(psi[links // n] @ psi[links % n]))
    # On the scale of log idim, so that the lower end stays above 0.
    factor = math.exp(NORMAL_95 * math.sqrt(float(psi @ psi) + shared) / n / idim)
    return idim / factor, idim * factor
