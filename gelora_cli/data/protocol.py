"""Decide which rows a protocol trains on, selects the epoch by, and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gelora_cli.config.schema import RunConfig, TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.data.questions import QuestionSplit
from gelora_cli.data.sources import Split
from gelora_cli.data.splits import draw_rows

SEED = 42
"""SoRA's seed of the permutation that separates rows."""
EVALUATION_SEED = 0
"""Seed of the rows that `data.max_eval_examples` draws."""
HELD_OUT = 1_000
"""SoRA's number of held-out training rows."""
SELECTING, REPORTED, HELD_OUT_NAME = "selecting half", "reported half", "held out"


@dataclass(frozen=True)
class ProtocolSplits:
    """The rows of a run under a protocol.

    Attributes:
        train: rows to train on.
        evaluated: splits that are evaluated after each epoch; the first one selects the epoch.
        reported: the names of those of `evaluated` whose values are reported.
        rule: how the epoch is selected, in words; `{epoch}` stands for its number.
    """

    train: Split
    evaluated: tuple[Split, ...]
    reported: tuple[str, ...]
    rule: str


def protocol_splits(task: TaskConfig, protocol: str, splits: Mapping[str, Split]) -> ProtocolSplits:
    """Return the rows to train on, to select by and to report under a protocol.

    `last` and `dev` use the splits as they are. `split` is SoRA's protocol (arXiv 2311.11696), which selects the epoch
    without a look at the reported rows. It depends on `task.split`:

    - `halves`: each evaluated split is halved. The first half of the first split selects, the second halves are
      reported.
    - `held_out`: 1,000 training rows select (a tenth of the rows if there are fewer than 10,000 [ours]), and are not
      trained on.

    The rows are SoRA's own: the first n // 2, or 1,000, of torch's permutation of seed 42. Questions of one article,
    and rows of one `task.group`, stay on one side [ours].

    Args:
        task: the task.
        protocol: `last`, `dev` or `split`.
        splits: `train` and the evaluated splits, the deciding one first, by name.

    Raises:
        GeloraError: there are too few rows, or groups of rows, to separate them.
    """
    train = splits["train"]
    evaluated = tuple(split for name, split in splits.items() if name != "train")
    names = tuple(split.name for split in evaluated)
    if protocol == "last":
        return ProtocolSplits(train, evaluated, names, "no selection: the weights after the last step")
    if protocol == "dev":
        rule = "best epoch on the evaluated split itself (epoch {epoch}): optimistic"
        return ProtocolSplits(train, evaluated, names, rule)
    if task.split == "held_out":
        return _hold_out_training_rows(train, evaluated)
    return _halve_evaluated_splits(train, evaluated)


def training_rows(train: Split, config: RunConfig) -> Split:
    """Return the rows of `ProtocolSplits.train` that a run trains on: all, or `data.max_train_examples` drawn ones."""
    return train.take(draw_rows(len(train), config.data.max_train_examples, config.seed))


def limit_evaluated_rows(splits: ProtocolSplits, at_most: int | None) -> ProtocolSplits:
    """Return the same splits with at most so many rows in each evaluated one; all rows if `at_most` is None.

    The rows are the same in every run and every process, whatever the seed of the run.
    """
    if at_most is None:
        return splits
    drawn = tuple(split.take(draw_rows(len(split), at_most, EVALUATION_SEED)) for split in splits.evaluated)
    return replace(splits, evaluated=drawn)


def _halve_evaluated_splits(train: Split, evaluated: Sequence[Split]) -> ProtocolSplits:
    selecting = []
    reported = []
    for split in evaluated:
        first, second = _separate(split, len(split) // 2, (SELECTING, REPORTED))
        selecting.append(first)
        reported.append(second)
    rule = f"best epoch on the other half of {evaluated[0].name} (epoch {{epoch}})"
    return ProtocolSplits(train, (selecting[0], *reported), tuple(split.name for split in reported), rule)


def _hold_out_training_rows(train: Split, evaluated: tuple[Split, ...]) -> ProtocolSplits:
    held_out, rest = _separate(train, held_out_size(len(train)), (HELD_OUT_NAME, ""))
    rule = f"best epoch on {len(held_out):,} training rows that were held out (epoch {{epoch}})"
    return ProtocolSplits(rest, (held_out, *evaluated), tuple(split.name for split in evaluated), rule)


def held_out_size(rows: int) -> int:
    """Return how many of so many training rows `task.split=held_out` selects by."""
    tenth = -(-rows // 10)  # rounded up, so that a few rows still give one
    return min(HELD_OUT, tenth)


def draw_groups(groups: NDArray[np.int64], size: int, seed: int) -> NDArray[np.bool_]:
    """Return which rows are drawn, (n,): the first groups of a permutation that bring their rows nearest to `size`.

    Args:
        groups: the group of each row, numbered from 0; (n,).
        size: the number of rows that is wanted.
        seed: seed of torch's permutation of the groups.
    """
    import torch  # SoRA's rows come from torch's generator, and numpy's would draw others

    rows_of_group = np.bincount(groups)  # (groups,)
    order = torch.randperm(len(rows_of_group), generator=torch.Generator().manual_seed(seed)).numpy()  # (groups,)
    # As many groups as bring their rows nearest to `size`. [k] is the distance with the first k + 1 groups.
    distance = np.abs(np.cumsum(rows_of_group[order]) - size)  # (groups,)
    drawn: NDArray[np.bool_] = np.isin(groups, order[: int(distance.argmin()) + 1])
    return drawn


def unit_of_groups(split: Split) -> str:
    """Return what is never separated: `rows`, `groups` of rows, or the `articles` of questions."""
    if isinstance(split, QuestionSplit):
        return "articles"
    return "rows" if split.group_names is None else "groups"


def _separate(split: Split, size: int, names: tuple[str, str]) -> tuple[Split, Split]:
    """Return about `size` rows of whole groups, and all other rows; both keep the order of the split.

    Each side is named `split (name)`, or as the split if its name is empty.

    Raises:
        GeloraError: there are too few groups for two sides.
    """
    # Groups are drawn, rows are taken: no group is on both sides. Without groups every row is a group of its own.
    is_first = draw_groups(split.groups(), size, SEED)  # (n,)
    if is_first.all() or not is_first.any():
        raise GeloraError(
            f"protocol=split: the {len(split)} rows of {split.name} can't be separated, they are of too few "
            f"{unit_of_groups(split)}. Give more rows, or use protocol=last or protocol=dev"
        )
    sides = []
    for rows, name in ((np.flatnonzero(is_first), names[0]), (np.flatnonzero(~is_first), names[1])):
        sides.append(replace(split.take(rows), name=f"{split.name} ({name})" if name else split.name))
    return sides[0], sides[1]
