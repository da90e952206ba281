"""TwoNN by maximum likelihood, and the influence of every point on it."""

from __future__ import annotations

import numpy as np

from gelora_cli.geometry.points import Array
from gelora_cli.geometry.ratios import count_kept, sorted_logs


def mle(mu: Array, *, discard: float = 0.1) -> float:
    """Return the idim of greatest likelihood under the Pareto law, in which the discarded values are censored.

    The factor k - 1 in place of k makes it unbiased on independent values.

    `idim = (k - 1) / (sum_{i <= k} log mu_(i) + (N - k) log mu_(k))` with the k = `int(N * (1 - discard))` smallest
    of N kept; `(N - 1) / sum log mu` with nothing discarded.

    Args:
        mu: (N,), `r2 / r1`.
        discard: share of the largest values that is censored.

    Raises:
        GeloraError: as `fit`.
    """
    log_mu = sorted_logs(mu, discard)
    kept = count_kept(len(log_mu), discard)
    return float((kept - 1) / (log_mu[:kept].sum() + (len(log_mu) - kept) * log_mu[kept - 1]))


def mle_influence(log_mu: Array, idim: float, discard: float) -> Array:
    """Return `psi_i = idim^2 / p * ((1 - p) * slope * (log mu_i <= q) - min(log mu_i, q))`, (n,), up to a constant.

    p is the share kept, q = log mu_(k) the largest kept, `slope = dq / dp` a difference quotient around it. Real mu
    have heavier tails than the Pareto law, whose `1 / (idim * (1 - p))` would make the interval too short.
    """
    n, x = len(log_mu), np.sort(log_mu)
    kept = count_kept(n, discard)
    # The quotient reaches over a third of the values on the shorter side of q, so that single gaps don't decide it.
    largest, reach = x[kept - 1], (min(kept, n - kept) + 2) // 3
    slope = (x[kept - 1 + reach] - x[kept - 1 - reach]) * n / (2 * reach) if reach else 0.0
    scores: Array = (1 - kept / n) * slope * (log_mu <= largest) - np.minimum(log_mu, largest)
    scores *= idim**2 * n / kept
    return scores
