"""A user's own questions: files in SQuAD's JSON format, for `task=squad` and `task=squad_v2`.

`data.squad=train.json` is the training file alone, or a directory holds `train.json` (or `train-v1.1.json`, ...) and
`validation.json` (or `dev.json`, `dev-v1.1.json`, ...). Without validation file about a tenth of the questions is held
out: whole articles, or paragraphs or single questions where there are fewer than ten of the larger unit.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.data.files import read_text
from gelora_cli.data.questions import QuestionSplit
from gelora_cli.data.splits import number_groups
from gelora_cli.data.squad import check_answers, read_squad_json

HELD_OUT_EVERY = 10
HELD_OUT_SEED = 0
FEWEST_UNITS = 10
NAMES = {"train": ("train",), "validation": ("validation", "dev"), "test": ("test",)}
"""Split -> the beginnings of its file's name."""


def is_question_json(place: Path) -> bool:
    """Whether a local path is a JSON file, or a directory with one for training."""
    return place.suffix.lower() == ".json" or (place.is_dir() and bool(_files(place, "train")))


def find_question_files(place: Path, task: TaskConfig) -> list[Path]:
    """The files that a task needs."""
    if place.suffix.lower() == ".json":
        return [place]
    splits = ("train", *task.eval_splits, *task.test_splits)
    return [file for split in splits for file in _files(place, split)]


def load_user_questions(place: Path, task: TaskConfig, split: str) -> QuestionSplit:
    """One split of a JSON file (`train` and `validation`), or of a directory with a file per split.

    Of a split in `task.test_splits` no answers are read.

    Raises:
        GeloraError: no such file or split, what `read_squad_json` refuses, answers that don't fit the task, or too few
            questions to hold any out.
    """
    held = (
        split in ("train", "validation") and "validation" in task.eval_splits and not _file(place, "validation", task)
    )
    file = _file(place, "train" if held else split, task)
    if file is None:
        raise GeloraError(
            f"data.{task.source}={place} has no split {split}: a file has train and validation, a directory "
            "train.json, validation.json and others by name"
        )
    hidden = split in task.test_splits
    found = replace(read_squad_json(read_text(file), str(file), answered=not hidden), name=split)
    if held:
        found = _held_out(found, split, f"data.{task.source}={place}")
    return found if hidden else check_answers(found, task, str(file))


def _file(place: Path, split: str, task: TaskConfig) -> Path | None:
    """The file of a split; of a single file that is its training split."""
    if place.suffix.lower() == ".json" and not place.is_dir():
        if not place.is_file():
            raise GeloraError(
                f"data.{task.source}={place}: no such file; accepted: a JSON file in SQuAD's own format, or a directory"
            )
        return place if split == "train" else None
    found = _files(place, split)
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise GeloraError(f"data.{task.source}={place} has {names}: which is split {split}? Leave one, or name a file")
    return found[0] if found else None


def _files(place: Path, split: str) -> list[Path]:
    begins = NAMES.get(split, (split,))
    return sorted(
        path for path in place.glob("*.json") if any(path.name.startswith((f"{name}.", f"{name}-")) for name in begins)
    )


def _held_out(whole: QuestionSplit, split: str, where: str) -> QuestionSplit:
    """The training or the validation side of all questions, each in its old order."""
    unit, names = _unit(whole)
    units = number_groups(names)
    if len(set(names)) < FEWEST_UNITS:
        raise GeloraError(
            f"{where}: {len(whole)} questions are too few to hold out a tenth, {FEWEST_UNITS} are needed; give more, "
            "or a directory with train.json and validation.json"
        )
    side = np.isin(units, _drawn(units))
    note = (
        f"{int(side.sum())} of {len(whole)} questions held out, seed {HELD_OUT_SEED}, by {unit}; your own: a directory "
        "with train.json and validation.json"
    )
    taken = whole.take(np.flatnonzero(side if split == "validation" else ~side))
    return replace(taken, name=split, note=note if split == "validation" else "")


def _unit(whole: QuestionSplit) -> tuple[str, list[str]]:
    """What is held out as a whole, the largest unit of which there are enough, and each question's."""
    for unit, names in (("article", whole.titles), ("paragraph", whole.contexts)):
        if names and len(set(names)) >= FEWEST_UNITS:
            return unit, list(names)
    return "question", list(whole.ids)


def _drawn(unit: NDArray[np.int64]) -> NDArray[np.int64]:
    """Units in a random order, until their questions come as near to a tenth as they will."""
    sizes = np.bincount(unit)
    order = np.random.default_rng(HELD_OUT_SEED).permutation(len(sizes))
    distance = np.abs(np.cumsum(sizes[order]) - len(unit) / HELD_OUT_EVERY)
    return np.asarray(order[: min(int(distance.argmin()) + 1, len(sizes) - 1)], np.int64)
