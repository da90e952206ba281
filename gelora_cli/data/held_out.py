"""Which groups of rows are held out for validation where the user gives no validation rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.data.splits import TextSplit, number_groups

HELD_OUT_EVERY = 10

HELD_OUT_SEED = 0

SHARE = 0.1

PARTS_OF_A_RANGE = 4


def hold_out_tenth(whole: TextSplit, task: TaskConfig) -> tuple[TextSplit, TextSplit]:
    """Training and validation rows, in their order; a row of every label in training.

    Rows of equal texts are on one side, and rows of a group.

    Raises:
        GeloraError: no labels, or too few rows or groups.
    """
    if whole.labels is None:
        raise GeloraError(f"task={task.name}: no rows are held out without labels; name them by task.label=...")
    first = _first_equals(whole.columns)
    copies = int((first != np.arange(len(whole))).sum())
    if whole.group_names is None or task.group is None:
        held, groups = _held_rows(whole.labels, first), ""
    else:
        joined_groups = merge_groups_by_text(whole.groups(), first)
        held = choose_held_out_groups(whole.labels, joined_groups, seed=HELD_OUT_SEED)
        groups = _described_groups(task.group, whole, joined_groups, held)
    if not held.any():
        rows = f"{len(whole)} rows{groups}" + (f", {copies} of them copies of others," if copies else "")
        raise GeloraError(f"{rows} are too few to hold out a tenth; give data.text_validation=FILE")
    train, validation = (whole.take(np.flatnonzero(rows)) for rows in (~held, held))
    share = "in its share" if whole.group_names is None else "as near to its share as whole groups come"
    note = f"{len(validation)} of {len(whole)} rows{groups} held out, seed {HELD_OUT_SEED}, each {task.label} {share}; "
    note += f"{copies} copies of others, equal texts on one side; " if copies else ""
    held_out = replace(validation, name="validation", note=note + "your own: data.text_validation=FILE")
    return replace(train, note=whole.note), held_out


def _described_groups(column: str, whole: TextSplit, joined_groups: NDArray[Any], held: NDArray[np.bool_]) -> str:
    """Say how many groups there are, how many of them are held out, and how many share a text with another one."""
    groups = whole.groups()
    count, apart = int(groups.max()) + 1, int(joined_groups.max()) + 1
    what = f"{count} group{'' if count == 1 else 's'}"
    if held.any():
        what = f"{len(np.unique(groups[held]))} of {count} groups of {column}"
    shared = f", which equal texts join to {apart}" if apart < count else ""
    return f" ({what}{shared})"


def _first_equals(columns: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """For each row the first one of the same texts, (n,)."""
    seen: dict[tuple[str, ...], int] = {}
    return np.array([seen.setdefault(texts, row) for row, texts in enumerate(zip(*columns, strict=True))])


def _held_rows(labels: NDArray[Any], first: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows are held out, (n,): every tenth distinct text, with its copies."""
    order = np.random.default_rng(HELD_OUT_SEED).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    if labels.dtype.kind == "i":
        kept = order[np.unique(labels[order], return_index=True)[1]]
        order = order[~np.isin(first[order], first[kept])]
    distinct = order[first[order] == order]
    return np.isin(first, distinct[HELD_OUT_EVERY // 2 :: HELD_OUT_EVERY])


def choose_held_out_groups(labels: NDArray[Any], groups: NDArray[np.int64], *, seed: int) -> NDArray[np.bool_]:
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


def merge_groups_by_text(groups: NDArray[np.int64], first: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return groups (n,) joined where they share a text; `first` (n,) is for each row the first one of its texts."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows = np.arange(len(groups))
    ends = np.concatenate([first, len(groups) + groups])
    size = len(groups) + int(groups.max()) + 1
    graph = coo_array((np.ones(len(ends)), (np.concatenate([rows, rows]), ends)), shape=(size, size))
    _, component = connected_components(graph, directed=False)
    return number_groups(component[: len(groups)].tolist())


def _parts_of_range(scores: NDArray[Any]) -> NDArray[np.int64]:
    """Return the quarter of each score by rank, (n,) from 0; equal scores lie in one."""
    ends = np.quantile(scores, np.arange(1, PARTS_OF_A_RANGE) / PARTS_OF_A_RANGE)
    return np.searchsorted(ends, scores, side="left").astype(np.int64)


def _distance(held: NDArray[np.int64], wanted: NDArray[np.float64]) -> float:
    return float((np.square(held - wanted) / wanted).sum())
