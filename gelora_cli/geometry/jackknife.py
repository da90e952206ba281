"""Tenths of the texts that are left out in turn, the same ones in every layer.

Letters: n points, t texts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gelora_cli.core.errors import GeloraError
from gelora_cli.geometry.points import Rows

FOLDS = 10
"""Parts of the texts, each of which is left out once."""


def fold_of_texts(texts: npt.NDArray[np.integer[Any]], folds: int, seed: int) -> Rows:
    """Return the part 0 .. folds - 1 of each text, (n,).

    The numbers 0 .. t - 1, with t the largest text plus one, are put in an order that is drawn from `(seed, folds)`,
    and the order is cut into parts of equal size. So a text is in the same part wherever seed and t are the same, such
    as in every layer of a profile.

    Args:
        texts: (n,) the text that each point belongs to, a number from 0 up.
        folds: number of parts.
        seed: of the order.

    Raises:
        GeloraError: `texts` are no whole numbers from 0 up.
    """
    if texts.ndim != 1 or texts.dtype.kind not in "iu" or texts.min(initial=0) < 0:
        raise GeloraError(
            f"texts of shape {texts.shape} and type {texts.dtype} given; one whole number from 0 up is accepted for "
            "each point."
        )
    count = int(texts.max(initial=0)) + 1
    places = np.random.default_rng([seed, folds]).permutation(count)  # (t,)
    return np.asarray(places[texts] * folds // count)


def points_left(representatives: Rows, fold: Rows, left_out: int) -> npt.NDArray[np.bool_]:
    """Return which of the distinct points (used,) are left without one part of the texts.

    A set of duplicates stays while any of its members does.

    Args:
        representatives: (n,) the first row of every point's set of duplicates.
        fold: (n,) the part of every point's text.
        left_out: the part that is left out.
    """
    is_left = np.zeros(len(fold), dtype=np.bool_)
    is_left[representatives[fold != left_out]] = True
    rows = np.flatnonzero(representatives == np.arange(len(fold)))
    return np.asarray(is_left[rows])
