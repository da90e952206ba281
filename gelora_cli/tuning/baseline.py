"""What the trials of a study have to beat: one prediction for every held-out row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gelora_cli.archive.reading import open_run
from gelora_cli.config.files import config_of
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.artifacts.study import MethodStudy, Study
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import join_texts
from gelora_cli.core.run_reader import artifact_of
from gelora_cli.pipeline.baseline import constant_baseline, describe_constant

ROUNDING = 1e-9
"""By how much more a value must be above another one, so that rounding is no difference."""


@dataclass(frozen=True)
class Baseline:
    """One prediction for every held-out row in words, such as `the most common label`, and the value it reaches."""

    prediction: str
    value: float


def study_baseline(study: Study, directory: Path) -> Baseline | None:
    """Return what the trials of a study have to beat; all are scored on the same rows.

    Args:
        study: the study.
        directory: where it is kept, from which the paths of its runs go.

    Returns:
        The baseline; None for tasks without one, such as questions, and where no trial's predictions can be read.
    """
    for method in study.methods:
        for trial in method.trials:
            if trial.status != "done":
                continue
            try:
                run = open_run(directory / trial.directory)
                task = config_of(run).task
                value = constant_baseline(run, task, artifact_of(RunResult, run))
            except GeloraError:
                continue  # that of another trial is the same
            if value is not None:
                return Baseline(describe_constant(task, study.reported), value)
    return None


def describe_unbeaten(study: Study, baseline: Baseline | None) -> str:
    """Name the methods none of whose trials is above the baseline, with what to do; empty where each has one."""
    searched = [method for method in study.methods if method.best_trial is not None]
    unbeaten = [method.label for method in searched if baseline is not None and not _is_beaten(method, baseline)]
    if baseline is None or not unbeaten:
        return ""
    of_methods = "" if len(unbeaten) == len(study.methods) else f" of {join_texts(unbeaten)}"
    return (
        f"no trial{of_methods} is above {baseline.prediction} for every row ({study.reported} {baseline.value:.4f}), "
        "so the best of them is no finding: give more rows or epochs (train.epochs), or another range (tune.space)"
    )


def _is_beaten(method: MethodStudy, baseline: Baseline) -> bool:
    values = [trial.value for trial in method.trials if trial.value is not None]
    return max(values) > baseline.value + ROUNDING
