"""Where a task's rows come from: generated, the user's own files, a local directory, or the hub; one dictionary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gelora_cli.config.schema import DataConfig, TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import TASK_KINDS
from gelora_cli.data.demo import demo_splits
from gelora_cli.data.glue import load_split
from gelora_cli.data.hub import fetch_dataset
from gelora_cli.data.questions import QuestionSplit
from gelora_cli.data.splits import TextSplit
from gelora_cli.data.squad import load_questions
from gelora_cli.data.tables import task_folder
from gelora_cli.data.user_data import complete_user_task, find_user_files, load_user_split, load_user_text
from gelora_cli.data.user_questions import find_question_files, is_question_json, load_user_questions

Split = TextSplit | QuestionSplit


@dataclass(frozen=True)
class Source:
    """How a source gives rows; `data` is the configuration of that name.

    `split(task, data, name)` reads one split. `complete(task, data)` fills in what the rows say of the task.
    `files(task, data)` are the keys of `data` with the directory or file that each stands for, and the files that are
    needed of it. `text(task, data)` gives the completed task and the training rows where only their text is looked at,
    of a source whose rows may lack labels then.
    """

    split: Callable[[TaskConfig, DataConfig, str], Split]
    complete: Callable[[TaskConfig, DataConfig], TaskConfig] = lambda task, data: task
    files: Callable[[TaskConfig, DataConfig], dict[str, tuple[Path, list[Path]]]] = lambda task, data: {}
    text: Callable[[TaskConfig, DataConfig], tuple[TaskConfig, Split]] | None = None


def load_task_split(task: TaskConfig, data: DataConfig, split: str) -> Split:
    """One split of a task."""
    return SOURCES[task.source].split(task, data, split)


def load_unlabelled_split(task: TaskConfig, data: DataConfig, split: str) -> Split:
    """A split to be labelled; the labels that it may have are checked like any others, and forgotten."""
    return load_task_split(replace(task, test_splits=[split]), data, split).without_labels()


def complete_task(task: TaskConfig, data: DataConfig) -> TaskConfig:
    """The task with what only its rows can say: label names that were not given."""
    return SOURCES[task.source].complete(task, data)


def load_training_text(task: TaskConfig, data: DataConfig) -> tuple[TaskConfig, Split]:
    """The completed task and its training rows, where nothing but their text is looked at."""
    read = SOURCES[task.source].text
    return read(task, data) if read else (complete_task(task, data), load_task_split(task, data, "train"))


def _demo_split(_: TaskConfig, __: DataConfig, split: str) -> TextSplit:
    splits = demo_splits()
    if split not in splits:
        raise GeloraError(f"task=demo has no split {split}; accepted: {', '.join(splits)}")
    rows = splits[split]
    ids = np.array([row.id for row in rows], dtype=np.int64)
    labels = np.array([row.label for row in rows], dtype=np.int64)
    return TextSplit(split, ids, ([row.sentence for row in rows],), labels)


def _layout_split(task: TaskConfig, data: DataConfig, split: str) -> Split:
    if (place := _own_questions(task, data)) is not None:
        return load_user_questions(place, task, split)
    load = load_questions if _asks(task) else load_split
    return load(source_directory(task, data), task, split)


def _layout_files(task: TaskConfig, data: DataConfig) -> dict[str, tuple[Path, list[Path]]]:
    if (place := _own_questions(task, data)) is not None:
        return {task.source: (place, find_question_files(place, task))}
    directory = source_directory(task, data)
    return {task.source: (directory, sorted((directory / task_folder(task)).glob("*.parquet")))}


def _own_questions(task: TaskConfig, data: DataConfig) -> Path | None:
    """The user's JSON file or directory of them, of a task of questions; None for the hub's layout."""
    place = Path(getattr(data, task.source))
    if not _asks(task) or list(place.glob(f"{task_folder(task)}/*.parquet")):
        return None
    return place if is_question_json(place) else None


def _asks(task: TaskConfig) -> bool:
    """Return whether a task's rows are questions."""
    return TASK_KINDS.get(task.kind).target == "answers"


def source_directory(task: TaskConfig, data: DataConfig) -> Path:
    """Where the files of a task in the hub's layout lie: a local directory, or of a hub id its snapshot."""
    given, patterns = getattr(data, task.source), [f"{task_folder(task)}/*.parquet"]
    return Path(given) if Path(given).is_absolute() else fetch_dataset(given, patterns, f"data.{task.source}")


def _question_text(task: TaskConfig, data: DataConfig) -> tuple[TaskConfig, Split]:
    """The training questions; those of a user's file without their answers where a run would refuse these."""
    try:
        return task, load_task_split(task, data, "train")
    except GeloraError as error:
        place = _own_questions(task, data)
        if place is None:
            raise
        split = load_user_questions(place, replace(task, test_splits=[*task.test_splits, "train"]), "train")
        return task, replace(split, note=f"answers left out: {error}")


_LAYOUT = Source(_layout_split, files=_layout_files)
_QUESTIONS = Source(_layout_split, files=_layout_files, text=_question_text)
SOURCES: dict[str, Source] = {
    "demo": Source(_demo_split),
    "text": Source(load_user_split, complete_user_task, find_user_files, load_user_text),
    "glue": _LAYOUT,
    "squad": _QUESTIONS,
    "squad_v2": _QUESTIONS,
}
