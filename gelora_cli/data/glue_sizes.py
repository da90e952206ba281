"""How many rows GLUE's tasks have as published; no torch, no numpy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class SplitRows(NamedTuple):
    """Numbers of rows: those to train on, and those of the first evaluated split."""

    training: int
    evaluated: int


GLUE_ROWS: Mapping[str, SplitRows] = {
    "cola": SplitRows(8_551, 1_043),
    "sst2": SplitRows(67_349, 872),
    "mrpc": SplitRows(3_668, 408),
    "stsb": SplitRows(5_749, 1_500),
    "qqp": SplitRows(363_846, 40_430),
    "mnli": SplitRows(392_702, 9_815),
    "qnli": SplitRows(104_743, 5_463),
    "rte": SplitRows(2_490, 277),
    "wnli": SplitRows(635, 71),
}
"""Of each task, by its name: those of the train split and of the validation split, of MNLI the matched one.

They are those of the data set nyu-mll/glue on the hub.
"""
