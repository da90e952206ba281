"""The ratios mu = r2 / r1 that an estimator reads: their checks, and how many of them it keeps."""

from __future__ import annotations

import numpy as np

from gelora_cli.core.errors import GeloraError
from gelora_cli.geometry.points import Array

GRID_LOG_MU = 1e-4  # nine tenths of log mu below it would be an idim above 20,000


def check_discard(discard: float) -> None:
    """Check the share of ratios that is left out.

    Raises:
        GeloraError: it is not in [0, 1).
    """
    if not 0 <= discard < 1:
        raise GeloraError(f"discard={discard} given; a share from 0 up to, but not including, 1 is accepted.")


def sorted_logs(mu: Array, discard: float) -> Array:
    """Return log mu, ascending, (n,).

    Raises:
        GeloraError: `mu` not finite or below 1, too few values, or a grid.
    """
    mu = np.asarray(mu, dtype=np.float64)
    bad = np.count_nonzero(~(np.isfinite(mu) & (mu >= 1)))
    if bad:
        raise GeloraError(f"{bad} of {mu.size} mu are not finite or below 1; collapse duplicates before the search.")
    log_mu = np.sort(np.log(mu))
    # The values are ascending: if this one is about 0, so are all before it, and there is no slope to fit.
    decisive = min(count_fitted(len(log_mu), discard), int(0.9 * len(log_mu))) - 1
    if log_mu[decisive] <= GRID_LOG_MU:
        raise GeloraError(
            f"At least {decisive + 1} of {mu.size} points have both nearest neighbours equally far (mu = 1), as on a "
            "grid; TwoNN needs points drawn from a density. Take the values before they are rounded."
        )
    return log_mu


def count_kept(n: int, discard: float) -> int:
    """Return how many of n ratios are kept.

    Raises:
        GeloraError: `discard` outside [0, 1), or fewer than two kept.
    """
    check_discard(discard)
    kept = int(n * (1 - discard))
    if kept < 2:
        raise GeloraError(f"discard={discard} keeps {kept} of {n} mu; at least 2 are needed. Give more points.")
    return kept


def count_fitted(n: int, discard: float) -> int:
    """Return how many of n ratios are fitted: the largest has no finite `-log(1 - F)`."""
    return min(count_kept(n, discard), n - 1)
