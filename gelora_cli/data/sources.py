"""Where a task's rows come from: generated, a local directory, or the hub; one function for every task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gelora_cli.artifacts import GeloraError
from gelora_cli.data.demo import demo_splits
from gelora_cli.data.glue import load_split
from gelora_cli.data.splits import TextSplit
from gelora_cli.data.squad import QuestionSplit, load_questions
from gelora_cli.data.tables import folder

Split = TextSplit | QuestionSplit

HUB_SECONDS = 5.0


def task_split(task: Any, source: str | None, split: str) -> Split:
    """One split of a task; `source` is a hub id or a local directory, not used by `task=demo`."""
    if task.source == "demo":
        return _demo_split(split)
    if source is None:
        raise GeloraError(f"task={task.name} needs data: give data.{task.source}=DIR")
    load = load_questions if task.kind == "question_answering" else load_split
    return load(source_directory(task, source), task, split)


def source_directory(task: Any, source: str) -> Path:
    """Where a task's files lie: the local directory that `source` names by an absolute path, or the hub's snapshot."""
    local = Path(source)
    return local if local.is_absolute() else dataset_directory(source, folder(task), f"data.{task.source}")


def dataset_directory(repository: str, config: str, key: str) -> Path:
    """The hub's snapshot of one configuration of a data set, in its own layout; the cached one where offline.

    Raises:
        GeloraError: the hub can't be reached and nothing is cached, or it has no such data set.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, HTTPError, RepositoryNotFoundError  # type: ignore[attr-defined]

    wanted = [f"{config}/*.parquet"]
    try:
        revision = HfApi().dataset_info(repository, timeout=HUB_SECONDS).sha
        return Path(snapshot_download(repository, repo_type="dataset", revision=revision, allow_patterns=wanted))
    except (HFValidationError, RepositoryNotFoundError) as error:
        raise GeloraError(f"{key}={repository}: the hub has no such data set; give another id or {key}=DIR.") from error
    except (HTTPError, OSError) as error:
        try:
            return Path(
                snapshot_download(repository, repo_type="dataset", local_files_only=True, allow_patterns=wanted)
            )
        except OSError:
            raise GeloraError(
                f"{key}={repository}: the hub is not reachable ({type(error).__name__}) and no copy is cached. Give a "
                f"local directory in the hub's layout, {key}=DIR with {config}/train-*.parquet, or take task=demo."
            ) from error


def _demo_split(split: str) -> TextSplit:
    splits = demo_splits()
    if split not in splits:
        raise GeloraError(f"task=demo has no split {split}; accepted: {', '.join(splits)}")
    rows = splits[split]
    ids = np.array([row.id for row in rows], dtype=np.int64)
    labels = np.array([row.label for row in rows], dtype=np.int64)
    return TextSplit(split, ids, ([row.sentence for row in rows],), labels)


def unlabelled_split(task: Any, source: str | None, split: str) -> Split:
    """A split to be labelled; the labels that it may have are checked like any others, and forgotten."""
    return task_split(replace(task, test_splits=[split]), source, split).unlabelled()
