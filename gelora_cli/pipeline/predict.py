"""Scoring and labelling with the adapter of a finished run, from its directory alone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gelora_cli.config.schema import RunConfig, TaskConfig
from gelora_cli.core.artifacts.result import EvalResult
from gelora_cli.core.codec import read_artifact, to_json
from gelora_cli.core.files import write_atomic
from gelora_cli.core.memory import translate_oom
from gelora_cli.data.sources import Split
from gelora_cli.pipeline.dispatch import work_or_launch
from gelora_cli.pipeline.finished import check_unchanged, finished_config, reopen_run
from gelora_cli.pipeline.inputs import ResolvedInputs, resolve_inputs
from gelora_cli.pipeline.session import open_quiet_session, open_session


@dataclass(frozen=True)
class EvaluationReport:
    """The results of `gelora evaluate`, handed from the workers to the command that started them."""

    results: tuple[EvalResult, ...]


def evaluate(directory: Path, processes: int) -> tuple[EvalResult, ...]:
    """Score a finished run's adapter again on the task's evaluated splits, from its directory alone."""
    config = finished_config(directory)
    config = replace(config, launch=replace(config.launch, processes=processes))
    inputs = resolve_inputs(config)  # in the parent: an error is shown once, before workers start
    check_unchanged(directory, inputs)
    with tempfile.TemporaryDirectory(prefix="gelora-") as scratch:  # nothing is written to the run
        target = Path(scratch) / "results.json"
        arguments = ["evaluate", str(directory), str(target), str(processes)]
        work_or_launch(arguments, processes, lambda: work_evaluate(directory, target, inputs))
        return read_artifact(EvaluationReport, target).results


def work_evaluate(directory: Path, target: Path, inputs: ResolvedInputs) -> None:
    """Score the saved adapter, in every process; the main one writes the results to `target`."""
    with translate_oom():
        session = open_session(inputs, None)
        session.read_scale(directory)  # before anything is scored: otherwise the scale is fitted again
        model = session.with_adapter(session.loaded, directory)
        results = tuple(session.evaluate(model, split).result for split in session.reported_splits())
    if session.accelerator.is_main_process:
        write_atomic(target, to_json(EvaluationReport(results)))
    session.accelerator.wait_for_everyone()  # no process ends while another still gathers scores from it


def predict(directory: Path, rows: Callable[[RunConfig], Split]) -> tuple[TaskConfig, Split, list[dict[str, Any]]]:
    """Label rows with a finished run's adapter; `rows` gives them once the task is known.

    Returns:
        The run's task, the rows, and a prediction for each, in their order.
    """
    inputs = reopen_run(directory)
    split = rows(inputs.config)
    return inputs.config.task, split, predict_splits(directory, inputs, [split])[0]


def predict_splits(directory: Path, inputs: ResolvedInputs, splits: Sequence[Split]) -> list[list[dict[str, Any]]]:
    """Label the rows of each split with the adapter of a run that was reopened (`reopen_run`), loaded once."""
    from gelora_cli.training.evaluation import prediction_rows

    with translate_oom():
        session = open_quiet_session(inputs)
        session.read_scale(directory)
        model = session.with_adapter(session.loaded, directory)
        predictions = []
        for split in splits:  # one at a time: a split and its outputs can be large
            encoded = session.encode_and_warn(split)
            predictions.append(prediction_rows(inputs.config.task, encoded, session.outputs(model, encoded)))
        return predictions
