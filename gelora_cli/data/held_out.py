"""Which groups of rows are held out for validation where the user gives no validation rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gelora_cli.data.splits import numbered

SHARE = 0.1
PARTS_OF_A_RANGE = 4


def held_out_groups(labels: NDArray[Any], groups: NDArray[np.int64], *, seed: int) -> NDArray[np.bool_]:
    """Return which rows are held out, (n,): whole groups, about a tenth of the rows of each label.

    Groups (n,), numbered from 0, are looked at in an order drawn from `seed`. One is held out if that brings the held
    rows nearer to a tenth of each label (of scores: of each quarter of their range by rank) in the sense of chi-square,
    sum over labels of (held - tenth)^2 / tenth, and leaves a row of each label to train on. Where no group does, the
    groups are few and large: the one that comes nearest is held out, or none where each holds all rows of some label.
    """
    strata = labels if labels.dtype.kind == "i" else _parts_of_range(labels)
    kinds = int(strata.max()) + 1
    cells = np.bincount(groups * kinds + strata, minlength=(int(groups.max()) + 1) * kinds)
    counts = cells.reshape(-1, kinds)[:, np.bincount(strata, minlength=kinds) > 0]  # (groups, labels that occur)
    total = counts.sum(0)
    wanted = SHARE * total
    order = np.random.default_rng(seed).permutation(len(counts)).tolist()
    held = np.zeros_like(total)
    chosen: list[int] = []
    for group in order:
        after = held + counts[group]
        if (after < total).all() and _distance(after, wanted) < _distance(held, wanted):
            held = after
            chosen.append(group)
    possible = [group for group in order if (counts[group] < total).all()]
    if not chosen and possible:
        chosen = [min(possible, key=lambda group: _distance(counts[group], wanted))]
    return np.isin(groups, chosen)


def joined_by_text(groups: NDArray[np.int64], first: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return groups (n,) joined where they share a text; `first` (n,) is for each row the first one of its texts."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows = np.arange(len(groups))
    ends = np.concatenate([first, len(groups) + groups])
    size = len(groups) + int(groups.max()) + 1
    graph = coo_array((np.ones(len(ends)), (np.concatenate([rows, rows]), ends)), shape=(size, size))
    _, component = connected_components(graph, directed=False)
    return numbered(component[: len(groups)].tolist())


def _parts_of_range(scores: NDArray[Any]) -> NDArray[np.int64]:
    """Return the quarter of each score by rank, (n,) from 0; equal scores lie in one."""
    ends = np.quantile(scores, np.arange(1, PARTS_OF_A_RANGE) / PARTS_OF_A_RANGE)
    return np.searchsorted(ends, scores, side="left").astype(np.int64)


def _distance(held: NDArray[np.int64], wanted: NDArray[np.float64]) -> float:
    return float((np.square(held - wanted) / wanted).sum())
