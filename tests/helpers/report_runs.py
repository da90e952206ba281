"""Shared by the tests of several packages, first met in test_report.py."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gelora_cli.config.files import read_config, write_config
from gelora_cli.config.schema import MethodConfig, ModelConfig, RunConfig, TaskConfig
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.result import EvalResult, RunResult
from gelora_cli.core.codec import read_artifact, write_artifact
from gelora_cli.core.done import mark_done
from tests.helpers.plans import PROFILE
from tests.helpers.written_runs import write_run

SPLITS = ("validation_matched", "validation_mismatched")


TASK = TaskConfig(name="mnli", labels=["no", "yes"], metric="accuracy", reported="accuracy", eval_splits=list(SPLITS))


EXAMPLES = 40


def write_whole(
    root: Path,
    method: str,
    seed: int,
    right: int,
    *,
    protocol: str = "last",
    collapsed: bool = False,
    task: str = "mnli",
) -> Path:
    """Write a finished run with metrics and predictions: `right` of 40 on the first split, one fewer on the second."""
    directory = write_run(root, method, seed, right / EXAMPLES, collapsed=collapsed)
    config = RunConfig(
        task=replace(TASK, name=task),
        model=ModelConfig(name="minilm"),
        method=MethodConfig.of(method, modules="attention", scaling=32.0),
        seed=seed,
        protocol=protocol,
        budget="rank:5",
    )
    write_config(config, directory / run_files.CONFIG)
    results = tuple(
        EvalResult(split, EXAMPLES, {"accuracy": (right - fewer) / EXAMPLES}, "accuracy", collapsed, 0.1)
        for fewer, split in enumerate(SPLITS)
    )
    result = read_artifact(RunResult, directory / RunResult.FILE)
    write_artifact(replace(result, task=task, results=results, protocol=protocol), directory)
    write_artifact(PROFILE, directory)
    _write_lines(directory / run_files.PREDICTIONS, _predictions(right, seed))
    _write_lines(directory / run_files.METRICS, _metrics(right, method))
    mark_done(directory)
    return directory


def _predictions(right: int, seed: int) -> list[dict[str, Any]]:
    places = np.random.default_rng(seed).permutation(EXAMPLES)
    return [
        {
            "split": split,
            "id": int(i),
            "prediction": "yes" if rank < right - fewer else "no",
            "label": "yes",
            "scores": [],
        }
        for fewer, split in enumerate(SPLITS)
        for rank, i in enumerate(places)
    ]


def _metrics(right: int, method: str) -> list[dict[str, Any]]:
    ranks = {"ranks": [2] * 6, "adapter_params": 100} if method in ("adalora", "sora") else {}
    losses = [{"step": step, "epoch": 1, "loss": 1 / step, **ranks} for step in (5, 10)]
    # A metric may be called `loss`, too, which is not that of the training.
    return [*losses, {"step": 10, "epoch": 1, "split": SPLITS[0], "accuracy": right / EXAMPLES, "loss": 9.0}]


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def score_on_holdout(directory: Path) -> None:
    """Let a written run be one that was scored on held-out training rows."""
    config = read_config(directory / run_files.CONFIG)
    write_config(replace(config, data=replace(config.data, holdout=0.1)), directory / run_files.CONFIG)
    result = read_artifact(RunResult, directory / RunResult.FILE)
    write_artifact(replace(result, results=(replace(result.results[0], split="train (holdout)"),)), directory)
    predictions = (directory / run_files.PREDICTIONS).read_text(encoding="utf-8")
    (directory / run_files.PREDICTIONS).write_text(predictions.replace(SPLITS[0], "train (holdout)"), encoding="utf-8")
    mark_done(directory)
