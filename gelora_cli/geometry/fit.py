"""TwoNN by least squares (Facco et al. 2017), and the influence of every point on it."""

from __future__ import annotations

import numpy as np

from gelora_cli.geometry.points import Array
from gelora_cli.geometry.ratios import count_fitted, sorted_logs


def fit(mu: Array, *, discard: float = 0.1) -> float:
    """Return TwoNN of Facco et al. (2017): the slope of `-log(1 - F)` over `log mu` by least squares through 0.

    With `mu` ascending, `F(mu_(k)) = k / N` for k = 1 .. N over all N values, of which the
    `int(N * (1 - discard))` smallest are fitted; the largest has no finite `-log(1 - F)` and never is.

    Args:
        mu: (N,), `r2 / r1`.
        discard: share of the largest values that is left out of the fit.

    Raises:
        GeloraError: `mu` not finite or below 1; `discard` outside [0, 1); fewer than two values kept; a grid (all
            values kept, or nine tenths of all, are 1 within 1e-4).
    """
    log_mu = sorted_logs(mu, discard)  # (N,)
    fitted = count_fitted(len(log_mu), discard)
    x, y = log_mu[:fitted], _exceedance(len(log_mu), fitted)  # (fitted,)
    return float(x @ y / (x @ x))


def fit_influence(log_mu: Array, discard: float) -> Array:
    """Return `psi_i = (n - 1) * (mean of the leave-one-out fits - the fit without log_mu[i])`, (n,), in O(n log n)."""
    n, order = len(log_mu), np.argsort(log_mu, kind="stable")
    fitted = count_fitted(n - 1, discard)
    y = _exceedance(n - 1, fitted)  # (fitted,)
    # Without value i the ones before it keep their rank, and those after it lose one. So each leave-one-out fit is a
    # sum over a beginning of one array and the end of another, and running sums give all of them at once.
    before, after = log_mu[order[:fitted]], log_mu[order[1 : fitted + 1]]  # (fitted,)

    def without_each(terms_before: Array, terms_after: Array) -> Array:
        return _sums_before(terms_before) + _sums_before(terms_after[::-1])[::-1]

    left_out = without_each(before * y, after * y) / without_each(before**2, after**2)  # (fitted + 1,)
    # Leaving out any value that is not fitted gives the same fit, which is the last one.
    fits = left_out[np.minimum(np.arange(n), fitted)]  # (n,), in ascending order of mu
    influence = np.empty(n)
    influence[order] = (n - 1) * (fits.mean() - fits)
    return influence


def _exceedance(n: int, count: int) -> Array:
    """Return `-log(1 - k / n)` for k = 1 .. count, (count,)."""
    return -np.log1p(-np.arange(1, count + 1) / n)


def _sums_before(terms: Array) -> Array:
    """Return the sums of the first 0, 1 .. k terms; (k + 1,)."""
    sums = np.zeros(len(terms) + 1)
    np.cumsum(terms, out=sums[1:])
    return sums
