"""Load a task's rows from where they come from: generated, your own files, a local directory, or the hub."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path

import numpy as np

from gelora_cli.config.schema import DataConfig, TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import TASK_KINDS
from gelora_cli.data.completions import CompletionSplit
from gelora_cli.data.demo import demo_splits
from gelora_cli.data.demo_plural import plural_splits
from gelora_cli.data.glue import load_split
from gelora_cli.data.hub import fetch_dataset
from gelora_cli.data.instructions import (
    complete_instructions,
    find_instruction_files,
    load_instructions,
    load_prompts,
)
from gelora_cli.data.questions import QuestionSplit
from gelora_cli.data.splits import TextSplit
from gelora_cli.data.squad import load_questions
from gelora_cli.data.tables import task_folder
from gelora_cli.data.user_data import complete_user_task, find_user_files, load_user_split, load_user_text
from gelora_cli.data.user_questions import find_question_files, is_question_json, load_user_questions

Split = TextSplit | QuestionSplit | CompletionSplit


class Source(ABC):
    """How a source gives rows. A source overrides the hooks in which it differs."""

    @abstractmethod
    def load_split(self, task: TaskConfig, data: DataConfig, split: str) -> Split:
        """Return the split of a name."""

    def complete(self, task: TaskConfig, data: DataConfig) -> TaskConfig:
        """Return the task with what only its rows can say, such as label names."""
        return task

    def find_files(self, task: TaskConfig, data: DataConfig) -> dict[str, tuple[Path, list[Path]]]:
        """Return key of the configuration -> (directory or file, the files that the task needs of it)."""
        return {}

    def load_text(self, task: TaskConfig, data: DataConfig) -> tuple[TaskConfig, Split]:
        """Return the completed task and its training rows, if only their text is needed.

        A source whose rows may lack labels overrides this, so that they can still be profiled.
        """
        return self.complete(task, data), self.load_split(task, data, "train")


def load_task_split(task: TaskConfig, data: DataConfig, split: str) -> Split:
    """Return one split of a task."""
    return SOURCES[task.source].load_split(task, data, split)


def load_unlabelled_split(task: TaskConfig, data: DataConfig, split: str) -> Split:
    """Return a split without its labels; labels that it has are checked like any others before."""
    return load_task_split(replace(task, test_splits=[split]), data, split).without_labels()


def complete_task(task: TaskConfig, data: DataConfig) -> TaskConfig:
    """Return the task with what only its rows can say: label names that were not given."""
    return SOURCES[task.source].complete(task, data)


def load_training_text(task: TaskConfig, data: DataConfig) -> tuple[TaskConfig, Split]:
    """Return the completed task and its training rows, of which only the text is used."""
    return SOURCES[task.source].load_text(task, data)


def source_directory(task: TaskConfig, data: DataConfig) -> Path:
    """Return the directory of a task in the hub's layout: a local one, or the snapshot of a hub id."""
    value = getattr(data, task.source)
    if Path(value).is_absolute():  # the configuration makes paths absolute, and leaves a hub id as it is
        return Path(value)
    return fetch_dataset(value, [f"{task_folder(task)}/*.parquet"], f"data.{task.source}")


class _DemoSource(Source):
    """Sentences that are generated; no files."""

    def load_split(self, task: TaskConfig, data: DataConfig, split: str) -> TextSplit:
        splits = demo_splits()
        if split not in splits:
            raise GeloraError(f"task=demo has no split {split}; accepted: {', '.join(splits)}")
        examples = splits[split]
        ids = np.array([example.id for example in examples], dtype=np.int64)
        labels = np.array([example.label for example in examples], dtype=np.int64)
        return TextSplit(split, ids, ([example.sentence for example in examples],), labels)


class _PluralSource(Source):
    """Sentences in the singular and in the plural that are generated; no files."""

    def load_split(self, task: TaskConfig, data: DataConfig, split: str) -> CompletionSplit:
        splits = plural_splits()
        if split not in splits:
            raise GeloraError(f"task=plural has no split {split}; accepted: {', '.join(splits)}")
        prompts = [pair.singular for pair in splits[split]]
        completions = [f" {pair.plural}" for pair in splits[split]]
        return CompletionSplit(split, np.arange(len(prompts), dtype=np.int64), prompts, completions)


class _InstructionSource(Source):
    """Prompts with completions, of the user's own or in the hub's layout."""

    def load_split(self, task: TaskConfig, data: DataConfig, split: str) -> CompletionSplit:
        return load_instructions(task, data, split)

    def complete(self, task: TaskConfig, data: DataConfig) -> TaskConfig:
        return complete_instructions(task, data)

    def find_files(self, task: TaskConfig, data: DataConfig) -> dict[str, tuple[Path, list[Path]]]:
        return find_instruction_files(task, data)

    def load_text(self, task: TaskConfig, data: DataConfig) -> tuple[TaskConfig, Split]:
        return self.complete(task, data), load_prompts(task, data)


class _UserSource(Source):
    """The user's own table, or text without labels."""

    def load_split(self, task: TaskConfig, data: DataConfig, split: str) -> TextSplit:
        return load_user_split(task, data, split)

    def complete(self, task: TaskConfig, data: DataConfig) -> TaskConfig:
        return complete_user_task(task, data)

    def find_files(self, task: TaskConfig, data: DataConfig) -> dict[str, tuple[Path, list[Path]]]:
        return find_user_files(task, data)

    def load_text(self, task: TaskConfig, data: DataConfig) -> tuple[TaskConfig, Split]:
        return load_user_text(task, data)


class _LayoutSource(Source):
    """A data set in the hub's layout; for a task on questions the user's JSON files may take its place."""

    def load_split(self, task: TaskConfig, data: DataConfig, split: str) -> Split:
        user_json = _find_user_json(task, data)
        if user_json is not None:
            return load_user_questions(user_json, task, split)
        load = load_questions if _has_questions(task) else load_split
        return load(source_directory(task, data), task, split)

    def find_files(self, task: TaskConfig, data: DataConfig) -> dict[str, tuple[Path, list[Path]]]:
        user_json = _find_user_json(task, data)
        if user_json is not None:
            return {task.source: (user_json, find_question_files(user_json, task))}
        directory = source_directory(task, data)
        return {task.source: (directory, sorted((directory / task_folder(task)).glob("*.parquet")))}


class _QuestionSource(_LayoutSource):
    """A data set of questions, whose answers are not needed if only the text is read."""

    def load_text(self, task: TaskConfig, data: DataConfig) -> tuple[TaskConfig, Split]:
        """Return the training rows; a user's questions come without answers if a run would refuse the answers."""
        try:
            return super().load_text(task, data)
        except GeloraError as error:
            user_json = _find_user_json(task, data)
            if user_json is None:
                raise
            # The answers of test splits are not read, so the training split is declared one.
            unlabelled_task = replace(task, test_splits=[*task.test_splits, "train"])
            split = load_user_questions(user_json, unlabelled_task, "train")
            return task, replace(split, note=f"answers left out: {error}")


def _find_user_json(task: TaskConfig, data: DataConfig) -> Path | None:
    """Return the user's JSON file, or directory of JSON files, for a task on questions; None for the hub's layout."""
    path = Path(getattr(data, task.source))
    # Parquet files in the task's folder win: a directory in the hub's layout may hold JSON files as well.
    if not _has_questions(task) or list(path.glob(f"{task_folder(task)}/*.parquet")):
        return None
    return path if is_question_json(path) else None


def _has_questions(task: TaskConfig) -> bool:
    return TASK_KINDS.get(task.kind).target == "answers"


SOURCES: dict[str, Source] = {
    "demo": _DemoSource(),
    "plural": _PluralSource(),
    "text": _UserSource(),
    "instruct": _InstructionSource(),
    "gsm8k": _InstructionSource(),
    "glue": _LayoutSource(),
    "squad": _QuestionSource(),
    "squad_v2": _QuestionSource(),
}
"""Name of a source (`task.source`, and the key below `data.`) -> how it gives rows."""
