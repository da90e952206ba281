"""Hold out training rows to score on, instead of the task's own evaluated splits: `data.holdout`.

A search of settings that is scored on these rows has seen no row that any protocol selects by or reports.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gelora_cli.core.artifacts.result import HOLDOUT_SPLIT
from gelora_cli.core.errors import GeloraError
from gelora_cli.data.held_out import first_equal_rows, merge_groups_by_text
from gelora_cli.data.protocol import SEED, draw_groups, held_out_size, unit_of_groups
from gelora_cli.data.questions import QuestionSplit
from gelora_cli.data.sources import Split
from gelora_cli.data.splits import TextSplit, count_distinct, number_groups

HOLDOUT_SEED = 3
"""Seed of the rows that are held out: another value changes the numbers of every run with `data.holdout`."""
FEWEST_ROWS = 2
"""Fewer rows than these give no value of a metric that says anything."""


def hold_out_rows(train: Split, share: float) -> tuple[Split, Split]:
    """Return the rows to train on and the rows to score on, both in the order of the training split.

    About `share` of the rows is drawn by a seed of its own, the same for every method, seed and protocol. Whole groups
    are drawn, and rows of equal texts stay on one side. The rows that `protocol=split` would select by with
    `task.split=held_out` are never scored on.

    Args:
        train: all training rows.
        share: how many of them to hold out, between 0 and 1.

    Raises:
        GeloraError: there are too few rows or groups, or the rows that are left have one label.
    """
    groups = _inseparable_groups(train)  # (n,)
    selecting = draw_groups(train.groups(), held_out_size(len(train)), SEED)  # (n,)
    may_be_drawn = ~np.isin(groups, groups[selecting])  # (n,)
    is_held = np.zeros(len(train), dtype=np.bool_)
    if may_be_drawn.any():
        pool = number_groups(groups[may_be_drawn].tolist())
        is_held[may_be_drawn] = draw_groups(pool, round(share * len(train)), HOLDOUT_SEED)
    held, rest = int(is_held.sum()), int((~is_held).sum())
    if held < FEWEST_ROWS or held > rest:
        raise GeloraError(
            f"data.holdout={share:g}: {len(train):,} training rows are of too few {unit_of_groups(train)} to hold out "
            f"that share: {held:,} rows would be scored on and {rest:,} trained on. Give more rows or another share"
        )
    _check_labels(train, is_held, share)
    note = f"{held:,} of {len(train):,} training rows, held out by data.holdout={share:g} and not trained on"
    scored = replace(train.take(np.flatnonzero(is_held)), name=HOLDOUT_SPLIT, note=note)
    return replace(train.take(np.flatnonzero(~is_held)), note=train.note), scored


def _inseparable_groups(train: Split) -> NDArray[np.int64]:
    """Return the group of each row, (n,), after joining rows of equal texts."""
    if isinstance(train, QuestionSplit):
        return train.groups()
    first_equal = first_equal_rows(train)
    if train.group_names is None:
        return number_groups(first_equal.tolist())
    return merge_groups_by_text(train.groups(), first_equal)


def _check_labels(train: Split, is_held: NDArray[np.bool_], share: float) -> None:
    """Refuse rows to train on of which every one has the same label.

    Raises:
        GeloraError: they have.
    """
    if not isinstance(train, TextSplit) or train.labels is None:
        return
    if count_distinct(train.labels[~is_held]) < min(2, count_distinct(train.labels)):
        raise GeloraError(
            f"data.holdout={share:g}: all rows that are left to train on have one label, and a model learns nothing "
            "from one value. Give more rows or a smaller share"
        )
