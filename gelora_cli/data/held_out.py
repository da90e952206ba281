"""Hold out rows for validation if the user gives no validation rows.

Rows of equal texts stay on one side, so that no validation text was trained on, and so do rows of one group.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from gelora_cli.config.schema import DataConfig, TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.data.completions import CompletionSplit
from gelora_cli.data.reading import once_while_reading
from gelora_cli.data.splits import TextSplit, number_groups

# These four decide which rows are held out: another value changes the numbers of every run on your own data.
HELD_OUT_EVERY = 10
HELD_OUT_SEED = 0
SHARE = 0.1
SCORE_STRATA = 4
"""Ranges of scores that take the place of labels: quarters by rank."""

HeldSplit = TypeVar("HeldSplit", TextSplit, CompletionSplit)
Read = Callable[[TaskConfig, DataConfig, str], HeldSplit]
HoldOut = Callable[[HeldSplit, TaskConfig], tuple[HeldSplit, HeldSplit]]
Labels = NDArray[np.int64] | NDArray[np.float32]


def load_side(
    read: Read[HeldSplit], hold_out: HoldOut[HeldSplit], task: TaskConfig, data: DataConfig, split: str
) -> HeldSplit:
    """Return the rows to train on, or those held out of them for validation.

    Args:
        read: returns the rows of a split as its files have them.
        hold_out: divides the training rows, `hold_out_tenth` or `hold_out_prompts`.
        task: the task.
        data: where its rows are.
        split: `train` or `validation`.
    """
    if split == "train" and (rows := read(task, data, "train")).labels is None:
        return rows  # without labels the rows can only be profiled, and all of them serve
    train, validation = _divide_training_rows(read, hold_out, task, data)
    return train if split == "train" else validation


@once_while_reading
def _divide_training_rows(
    read: Read[HeldSplit], hold_out: HoldOut[HeldSplit], task: TaskConfig, data: DataConfig
) -> tuple[HeldSplit, HeldSplit]:
    return hold_out(read(task, data, "train"), task)


def hold_out_tenth(split: TextSplit, task: TaskConfig) -> tuple[TextSplit, TextSplit]:
    """Return training and validation rows, each in their order in the file.

    Every label keeps a row in the training rows. The note of the validation rows says how they were chosen.

    Raises:
        GeloraError: there are no labels, or too few rows or groups.
    """
    if split.labels is None:
        raise GeloraError(
            f"task={task.name}: validation rows are held out by label, but no label is named. Name the column of "
            "labels by task.label=COLUMN, or give data.text_validation=FILE"
        )
    title = "label" if split.labels.ndim == 2 else task.label
    share = "in its share" if split.group_names is None else "as near to its share as whole groups come"
    return _hold_out(
        split, task, split.labels, duplicate="copies of others", equal="equal texts", note=f", each {title} {share}"
    )


def hold_out_prompts(split: CompletionSplit, task: TaskConfig) -> tuple[CompletionSplit, CompletionSplit]:
    """Return training and validation rows of prompts, each in their order in the file.

    Rows of equal prompts stay on one side, and so do rows of one group.

    Raises:
        GeloraError: there are too few rows or groups.
    """
    return _hold_out(split, task, None, duplicate="with the prompt of another", equal="equal prompts")


def _hold_out(
    split: HeldSplit, task: TaskConfig, labels: Labels | None, *, duplicate: str, equal: str, note: str = ""
) -> tuple[HeldSplit, HeldSplit]:
    """Return training and validation rows: a tenth of the rows, and of each label if there are labels.

    Messages call rows with the texts of others `duplicate`, and these texts `equal`. `note` says for the validation
    rows what else decided.

    Raises:
        GeloraError: there are too few rows or groups.
    """
    first_equal = first_equal_rows(split)  # (n,)
    duplicates = int((first_equal != np.arange(len(split))).sum())
    groups_text = ""
    if split.group_names is None or task.group is None:
        is_held = _draw_rows(labels, first_equal)
    else:
        merged_groups = merge_groups_by_text(split.groups(), first_equal)
        strata = np.zeros(len(split), np.int64) if labels is None else labels
        is_held = choose_held_out_groups(strata, merged_groups, seed=HELD_OUT_SEED)
        groups_text = _describe_groups(task.group, split, merged_groups, is_held)
    own_file = f"data.{task.source}_validation=FILE"
    if not is_held.any():
        duplicates_text = f", {duplicates} of them {duplicate}," if duplicates else ""
        raise GeloraError(
            f"{len(split)} rows{groups_text}{duplicates_text} are too few to hold out a tenth; give {own_file}"
        )
    note = f"{is_held.sum()} of {len(split)} rows{groups_text} held out, seed {HELD_OUT_SEED}{note}"
    if duplicates:
        note += f"; {duplicates} {duplicate}, {equal} on one side"
    note += f"; to give your own: {own_file}"
    validation = replace(split.take(np.flatnonzero(is_held)), name="validation", note=note)
    return replace(split.take(np.flatnonzero(~is_held)), note=split.note), validation


def first_equal_rows(split: TextSplit | CompletionSplit) -> NDArray[np.int64]:
    """Return for each row the first row with the same texts, (n,); rows of equal texts are held out together."""
    first_row: dict[tuple[str, ...], int] = {}
    texts_of_row = zip(*split.columns, strict=True)
    return np.array([first_row.setdefault(texts, row) for row, texts in enumerate(texts_of_row)], dtype=np.int64)


def choose_held_out_groups(labels: Labels, groups: NDArray[np.int64], *, seed: int) -> NDArray[np.bool_]:
    """Return which rows are held out, (n,): whole groups with about a tenth of the rows of each label.

    The groups are looked at in an order drawn from `seed`. A group is held out if two things hold afterwards: the rows
    held out are nearer to a tenth of each label, measured by chi-square,

        sum over labels of (held - tenth)^2 / tenth,

    and a row of each label is left to train on. If no group meets both, the groups are few and large. Then the group
    that comes nearest to a tenth is held out, or none if every group holds all rows of some label.

    Args:
        labels: classes, or scores, which count as four labels by the quarter of their rank; (n,). Of sets of labels,
            (n, C), a row counts for each of its labels, and one without any as a label of its own.
        groups: the group of each row, numbered from 0; (n,).
        seed: seed of the order.
    """
    counts = _count_by_group(labels, groups)  # (groups, labels)
    counts = counts[:, counts.sum(0) > 0]  # a label without rows would divide by 0 in chi-square
    total = counts.sum(0)  # (labels that occur,)
    wanted = SHARE * total  # (labels,)
    order = np.random.default_rng(seed).permutation(len(counts)).tolist()
    held = np.zeros_like(total)  # (labels,)
    chosen: list[int] = []
    for group in order:
        held_with_group = held + counts[group]
        leaves_each_label = (held_with_group < total).all()
        if leaves_each_label and _chi_square(held_with_group, wanted) < _chi_square(held, wanted):
            held = held_with_group
            chosen.append(group)
    possible = [group for group in order if (counts[group] < total).all()]
    if not chosen and possible:
        chosen = [min(possible, key=lambda group: _chi_square(counts[group], wanted))]
    return np.isin(groups, chosen)


def _count_by_group(labels: Labels, groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many rows of each label each group has, (groups, labels); for the arguments see above."""
    if labels.ndim == 2:
        counts = np.zeros((int(groups.max()) + 1, labels.shape[1] + 1), np.int64)
        np.add.at(counts, groups, _with_none(labels))
        return counts
    if labels.dtype.kind == "i":
        strata = labels  # (n,)
    else:
        # Quarters by rank. side="left" puts equal scores into the same quarter.
        ends = np.quantile(labels, np.arange(1, SCORE_STRATA) / SCORE_STRATA)
        strata = np.searchsorted(ends, labels, side="left").astype(np.int64)  # (n,)
    strata_count = int(strata.max()) + 1
    group_count = int(groups.max()) + 1
    # One number for each pair of group and stratum, so that a single bincount counts all pairs.
    cells = np.bincount(groups * strata_count + strata, minlength=group_count * strata_count)
    return cells.reshape(-1, strata_count)


def _with_none(sets: Labels) -> NDArray[np.int64]:
    """Return sets of labels (n, C) with a further label for the rows without any, (n, C + 1)."""
    return np.column_stack([sets, sets.sum(1) == 0]).astype(np.int64)


def _rarest_labels(sets: Labels) -> NDArray[np.int64]:
    """Return the label of each row (n, C) that the fewest rows have, (n,); C for a row without any."""
    with_none = _with_none(sets)
    counts = with_none.sum(0)  # (C + 1,)
    return np.asarray(np.where(with_none == 1, counts, len(sets) + 1).argmin(1), np.int64)


def merge_groups_by_text(groups: NDArray[np.int64], first_equal: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the groups (n,) after merging those that share a text.

    Args:
        groups: the group of each row, numbered from 0; (n,).
        first_equal: for each row the first row with the same texts; (n,).
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    # A graph whose nodes are rows and, behind them, groups. Each row is linked to its first equal and to its group.
    rows = np.arange(len(groups))
    linked = np.concatenate([first_equal, len(groups) + groups])
    size = len(groups) + int(groups.max()) + 1
    graph = coo_array((np.ones(len(linked)), (np.concatenate([rows, rows]), linked)), shape=(size, size))
    _, component = connected_components(graph, directed=False)
    return number_groups(component[: len(groups)].tolist())


def _draw_rows(labels: Labels | None, first_equal: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which rows are held out, (n,): every tenth distinct text, with its duplicates.

    Rows are shuffled and then sorted by label, if there is one, so each label is held out in its share. Sets of labels
    (n, C) are sorted by the rarest label of each row, whose share matters most [ours].
    """
    order = np.random.default_rng(HELD_OUT_SEED).permutation(len(first_equal))
    if labels is not None:
        order = _sort_by_label(order, labels, first_equal)
    distinct = order[first_equal[order] == order]
    # Starting in the middle of the first ten lets six distinct texts give one row.
    return np.isin(first_equal, distinct[HELD_OUT_EVERY // 2 :: HELD_OUT_EVERY])


def _sort_by_label(order: NDArray[np.int64], labels: Labels, first_equal: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return an order of rows sorted by label, without what must stay in the training rows."""
    sorted_by = _rarest_labels(labels) if labels.ndim == 2 else labels  # (n,)
    order = order[np.argsort(sorted_by[order], kind="stable")]  # stable: the shuffled order stays within a label
    if labels.ndim == 2 or labels.dtype.kind == "i":
        # The first row of each label, and rows with its text, stay in the training rows.
        first_of_label = order[_first_of_each_label(labels[order])]
        order = order[~np.isin(first_equal[order], first_equal[first_of_label])]
    return order


def _first_of_each_label(labels: Labels) -> NDArray[np.int64]:
    """Return the first row of each label that occurs; labels are classes (n,), or sets (n, C)."""
    if labels.ndim == 1:
        return np.unique(labels, return_index=True)[1]
    present = labels[:, labels.any(0)]  # (n, labels that occur)
    return np.unique(present.argmax(0))


def _describe_groups(
    column: str, split: TextSplit | CompletionSplit, merged_groups: NDArray[np.int64], is_held: NDArray[np.bool_]
) -> str:
    """Return how many groups there are, how many of them are held out, and to how many equal texts join them."""
    groups = split.groups()
    count = int(groups.max()) + 1
    merged_count = int(merged_groups.max()) + 1
    if is_held.any():
        text = f"{len(np.unique(groups[is_held]))} of {count} groups of {column}"
    else:
        text = f"{count} group{'' if count == 1 else 's'}"
    if merged_count < count:
        text += f", which equal texts join to {merged_count}"
    return f" ({text})"


def _chi_square(held: NDArray[np.int64], wanted: NDArray[np.float64]) -> float:
    return float((np.square(held - wanted) / wanted).sum())
