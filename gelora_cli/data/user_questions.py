"""Load your own questions from files in SQuAD's JSON format, for `task=squad` and `task=squad_v2`.

`data.squad=train.json` is the training file alone. A directory holds `train.json` (or `train-v1.1.json`, ...) and
`validation.json` (or `dev.json`, `dev-v1.1.json`, ...). If there is no validation file about a tenth of the questions
is held out: whole articles, or paragraphs or single questions if there are fewer than ten of the larger unit.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.data.paths import is_directory
from gelora_cli.data.questions import QuestionSplit
from gelora_cli.data.reading import once_while_reading
from gelora_cli.data.splits import number_groups
from gelora_cli.data.squad import check_answers, read_squad_json
from gelora_cli.data.text_input import read_text

# These decide which questions are held out: another value changes the numbers of every run on your own questions.
HELD_OUT_EVERY = 10
HELD_OUT_SEED = 0
FEWEST_UNITS = 10
"""Fewest articles, paragraphs or questions of which a tenth can be held out."""
FILE_PREFIXES = {"train": ("train",), "validation": ("validation", "dev"), "test": ("test",)}
"""Split -> how the name of its file may begin."""


def is_question_json(path: Path) -> bool:
    """Return whether a local path is a JSON file, or a directory with a JSON file to train on."""
    return _is_json(path) or bool(_split_files(path, "train"))


def find_question_files(source: Path, task: TaskConfig) -> list[Path]:
    """Return the files that a task needs of a JSON file or a directory."""
    if _is_json(source):
        return [source]
    files = []
    for split in ("train", *task.eval_splits, *task.test_splits):
        files += _split_files(source, split)
    return files


def load_user_questions(source: Path, task: TaskConfig, split: str) -> QuestionSplit:
    """Return one split of a JSON file (`train` or `validation`), or of a directory with a file per split.

    No answers are read for a split in `task.test_splits`.

    Raises:
        GeloraError: no such file or split, what `read_squad_json` refuses, answers that don't fit the task, or too few
            questions to hold any out.
    """
    must_hold_out = False
    if split in ("train", "validation") and "validation" in task.eval_splits:
        must_hold_out = _find_file(source, "validation", task) is None
    file = _find_file(source, "train" if must_hold_out else split, task)
    if file is None:
        raise GeloraError(
            f"data.{task.source}={source} has no split {split}. A file has train and validation; a directory has "
            "train.json, validation.json and others by name"
        )
    is_test = split in task.test_splits
    # All questions are read before a side is taken, so that both sides see the same file.
    questions = replace(_read_file(file, answered=not is_test), name=split)
    if must_hold_out:
        questions = _take_side(questions, split, f"data.{task.source}={source}")
    return questions if is_test else check_answers(questions, task, str(file))


@once_while_reading
def _read_file(file: Path, *, answered: bool) -> QuestionSplit:
    return read_squad_json(read_text(file), str(file), answered=answered)


def _find_file(source: Path, split: str, task: TaskConfig) -> Path | None:
    """Return the file of a split, or None; a single file is the one of the training split.

    Raises:
        GeloraError: no such file, or several files that could be the split.
    """
    if _is_json(source) and not source.is_dir():
        if not source.is_file():
            raise GeloraError(
                f"data.{task.source}={source}: no such file; accepted: a JSON file in SQuAD's own format, or a "
                "directory"
            )
        return source if split == "train" else None
    files = _split_files(source, split)
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise GeloraError(f"data.{task.source}={source} has {names}: which is split {split}? Leave one, or name a file")
    return files[0] if files else None


def _split_files(directory: Path, split: str) -> list[Path]:
    prefixes = FILE_PREFIXES.get(split, (split,))
    # `train.json` and `train-v1.1.json` are of the training split, `training.json` is not.
    starts = tuple(f"{prefix}{end}" for prefix in prefixes for end in (".", "-"))
    names = [entry.name for entry in directory.iterdir()] if is_directory(directory) else []
    of_split = [name for name in names if name.startswith(starts) and _is_json(Path(name))]
    return [directory / name for name in sorted(of_split)]


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def _take_side(questions: QuestionSplit, split: str, where: str) -> QuestionSplit:
    """Return the training or the validation side of all questions, in their order.

    Raises:
        GeloraError: there are too few questions.
    """
    # The largest unit of which there are enough: articles before paragraphs before single questions.
    unit, unit_names = "question", list(questions.ids)
    for larger_unit, names in (("paragraph", questions.contexts), ("article", questions.titles)):
        if names and len(set(names)) >= FEWEST_UNITS:
            unit, unit_names = larger_unit, list(names)
    if len(set(unit_names)) < FEWEST_UNITS:
        raise GeloraError(
            f"{where}: {len(questions)} questions are too few to hold out a tenth, {FEWEST_UNITS} are needed; give "
            "more, or a directory with train.json and validation.json"
        )
    units = number_groups(unit_names)  # (n,)
    questions_of_unit = np.bincount(units)  # (units,)
    order = np.random.default_rng(HELD_OUT_SEED).permutation(len(questions_of_unit))  # (units,)
    # As many units as bring their questions nearest to a tenth, but never all: some must be left to train on.
    distance = np.abs(np.cumsum(questions_of_unit[order]) - len(units) / HELD_OUT_EVERY)  # (units,)
    count = min(int(distance.argmin()) + 1, len(order) - 1)
    is_held = np.isin(units, order[:count])  # (n,)
    if split == "train":
        return replace(questions.take(np.flatnonzero(~is_held)), name=split)
    note = (
        f"{int(is_held.sum())} of {len(questions)} questions held out, seed {HELD_OUT_SEED}, by {unit}; to give your "
        "own: a directory with train.json and validation.json"
    )
    return replace(questions.take(np.flatnonzero(is_held)), name=split, note=note)
