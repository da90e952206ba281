"""Which rows a protocol trains on, selects the epoch by, and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.data.sources import Split
from gelora_cli.data.splits import draw_rows

SEED = 42
EVALUATION_SEED = 0  # of the rows that data.max_eval_examples draws
HELD_OUT = 1_000
SELECTING, REPORTED, HELD_OUT_NAME = "selecting half", "reported half", "held out"


@dataclass(frozen=True)
class ProtocolSplits:
    """The rows of a run: to train on, to evaluate after each epoch (the deciding split first), and what is reported.

    `reported` are names of `evaluated`; `rule` says in words how the epoch is selected, `{epoch}` stands for it.
    """

    train: Split
    evaluated: tuple[Split, ...]
    reported: tuple[str, ...]
    rule: str


def protocol_splits(task: TaskConfig, protocol: str, splits: Mapping[str, Split]) -> ProtocolSplits:
    """The parts of `splits` (`train` and the task's evaluated ones) under a protocol.

    `last` and `dev` take them as they are. `split` is SoRA's (arXiv 2311.11696) and needs no look at what is reported:
    by `task.split` either each evaluated split is halved, the first one's first half selects and the others are
    reported, or 1,000 training rows select (a tenth of the rows where there are fewer than 10,000 [ours]), which are
    not trained on. The rows are SoRA's own: the first n // 2, or 1,000, of torch's permutation of seed 42. Questions
    of one article, and rows of one `task.group`, stay on one side [ours].

    Raises:
        GeloraError: too few rows to part.
    """
    evaluated = tuple(splits[name] for name in task.eval_splits)
    names = tuple(split.name for split in evaluated)
    if protocol == "last":
        return ProtocolSplits(splits["train"], evaluated, names, "no selection: the weights after the last step")
    if protocol == "dev":
        rule = "best epoch on the evaluated split itself (epoch {epoch}): optimistic"
        return ProtocolSplits(splits["train"], evaluated, names, rule)
    return (_held_out if task.split == "held_out" else _halves)(splits["train"], evaluated)


def limit_evaluated_rows(parts: ProtocolSplits, at_most: int | None) -> ProtocolSplits:
    """Draw at most so many rows of each evaluated part: the same rows in every run and process, whatever its seed."""
    if at_most is None:
        return parts
    drawn = tuple(split.take(draw_rows(len(split), at_most, EVALUATION_SEED)) for split in parts.evaluated)
    return replace(parts, evaluated=drawn)


def _halves(train: Split, evaluated: Sequence[Split]) -> ProtocolSplits:
    pairs = [_cut(split, len(split) // 2, (SELECTING, REPORTED)) for split in evaluated]
    reported = tuple(second for _, second in pairs)
    rule = f"best epoch on the other half of {evaluated[0].name} (epoch {{epoch}})"
    return ProtocolSplits(train, (pairs[0][0], *reported), tuple(split.name for split in reported), rule)


def _held_out(train: Split, evaluated: tuple[Split, ...]) -> ProtocolSplits:
    held, rest = _cut(train, min(HELD_OUT, -(-len(train) // 10)), (HELD_OUT_NAME, ""))
    rule = f"best epoch on {len(held):,} training rows that were held out (epoch {{epoch}})"
    return ProtocolSplits(rest, (held, *evaluated), tuple(split.name for split in evaluated), rule)


def _cut(split: Split, size: int, names: tuple[str, str]) -> tuple[Split, Split]:
    """The first `size` rows of the permutation (of groups, about so many), and the others; each in its old order."""
    first = np.isin(split.groups(), _first_groups(split, size))
    if first.all() or not first.any():
        what = "rows" if split.group_names is None else "groups"
        what = "articles" if hasattr(split, "titles") else what
        raise GeloraError(
            f"protocol=split: the {len(split)} rows of {split.name} can't be parted, they are of too few {what}; "
            "give more, or take protocol=last or protocol=dev"
        )
    sides = (split.take(np.flatnonzero(side)) for side in (first, ~first))
    one, two = (
        replace(side, name=f"{split.name} ({name})" if name else split.name)
        for side, name in zip(sides, names, strict=True)
    )
    return one, two


def _first_groups(split: Split, size: int) -> NDArray[np.int64]:
    """Groups in the order of the permutation, until their rows come as near to `size` as they will."""
    import torch

    sizes = np.bincount(split.groups())
    order = torch.randperm(len(sizes), generator=torch.Generator().manual_seed(SEED)).numpy()
    distance = np.abs(np.cumsum(sizes[order]) - size)
    return np.asarray(order[: int(distance.argmin()) + 1], np.int64)
