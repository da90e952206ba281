"""GRIDE: intrinsic dimension from the ratio of any two neighbours' distances, and every point's influence on it.

Denti, Doimo, Laio and Mira, "The generalized ratios intrinsic dimension estimator", Scientific Reports 12, 20005
(2022). Where the density is constant over the neighbourhood, `mu = r_n2 / r_n1` has the density

    f(mu) = d (mu^d - 1)^(n2 - n1 - 1) / (B(n2 - n1, n1) mu^((n2 - 1) d + 1)),    mu > 1.

With n1 = 1 and n2 = 2 this is the Pareto law of TwoNN. Larger n1 look at larger neighbourhoods of the same points.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gelora_cli.core.errors import GeloraError
from gelora_cli.geometry.points import Array
from gelora_cli.geometry.ratios import GRID_LOG_MU

PRECISION = 1e-13  # relative, of the root


def gride(mu: Array, n1: int, n2: int) -> float:
    """Return the idim d of greatest likelihood.

    It is the root of the score, with the sums over the N kept ratios and x = log mu:
    `(N - 1) / d + (n2 - n1 - 1) * sum x / (1 - exp(-d x)) - (n2 - 1) * sum x`. N - 1 in place of N, as in DADApy and
    scikit-dimension, makes it unbiased at n1 = 1: there `d = (N - 1) / sum x`. `kept_ratios` says which are kept.

    Args:
        mu: (n,), `r_n2 / r_n1`.
        n1: number of the nearer neighbour.
        n2: number of the farther one.

    Raises:
        GeloraError: `mu` not finite or below 1; a grid (nine tenths of all are 1 within 1e-4, or fewer than two kept).
    """
    log_mu = np.log(mu[kept_ratios(mu)])  # (N,)
    n, total = len(log_mu), float(log_mu.sum())
    spread = n2 - n1 - 1
    if spread == 0:
        return (n - 1) / total

    def score(d: float) -> tuple[float, float]:
        """Return the score and its slope, which is negative."""
        terms = log_mu / -np.expm1(-d * log_mu)  # (N,)
        slopes = log_mu / (2 * np.sinh(np.minimum(d * log_mu / 2, 300)))
        return (n - 1) / d + spread * float(terms.sum()) - (n2 - 1) * total, -(n - 1) / d**2 - spread * float(
            slopes @ slopes
        )

    # The mean of log mu is (1 / n1 + .. + 1 / (n2 - 1)) / d under the law, so this is near the root.
    d = float((1 / np.arange(n1, n2)).sum()) * n / total
    low, high = 0.0, np.inf  # the score is positive at `low`, and not at `high`
    for _ in range(200):
        value, slope = score(d)
        low, high = (d, high) if value > 0 else (low, d)
        step = d - value / slope
        following = step if low < step < high else (low + min(high, 3 * low)) / 2
        if abs(following - d) <= PRECISION * d:
            return following
        d = following
    return d


def gride_influence(mu: Array, idim: float, n1: int, n2: int) -> Array:
    """Return `psi_i = N * score_i / information`, (n,), of the kept ratios; 0 of the others.

    `score_i = 1 / d + (n2 - n1 - 1) x_i / (1 - exp(-d x_i)) - (n2 - 1) x_i` with x_i = log mu_i, and the information is
    `N / d^2 + (n2 - n1 - 1) * sum (x / (2 sinh(d x / 2)))^2`.
    """
    kept = kept_ratios(mu)
    log_mu, spread = np.log(mu[kept]), n2 - n1 - 1
    slopes = log_mu / (2 * np.sinh(np.minimum(idim * log_mu / 2, 300)))
    information = len(log_mu) / idim**2 + spread * float(slopes @ slopes)
    scores = 1 / idim + spread * log_mu / -np.expm1(-idim * log_mu) - (n2 - 1) * log_mu
    influence = np.zeros(len(mu))
    influence[kept] = len(mu) * scores / information
    return influence


def kept_ratios(mu: Array) -> npt.NDArray[np.bool_]:
    """Return which ratios are kept, (n,).

    Ties (mu = 1) are dropped, as in scikit-dimension; DADApy adds ten roundings to them and keeps them. Of the others
    those below `q50 + 20 * (q95 - q50)`, their quantiles, are kept, as in both libraries: larger ones come from points
    that nearly coincide.

    Raises:
        GeloraError: see `gride`.
    """
    bad = np.count_nonzero(~(np.isfinite(mu) & (mu >= 1)))
    if bad:
        raise GeloraError(f"{bad} of {mu.size} mu are not finite or below 1; collapse duplicates before the search.")
    is_apart = mu > 1
    kept = is_apart
    if is_apart.any():
        q95, q50 = np.percentile(mu[is_apart], [95, 50])
        kept = is_apart & (mu < q50 + 20 * (q95 - q50))
    if np.count_nonzero(np.log(mu) <= GRID_LOG_MU) >= 0.9 * len(mu) or np.count_nonzero(kept) < 2:
        raise GeloraError(
            f"Most of {mu.size} points have both neighbours equally far (mu = 1), or all the same mu, as on a grid; "
            "GRIDE needs points drawn from a density. Take the values before they are rounded."
        )
    return np.asarray(kept)
