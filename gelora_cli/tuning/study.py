"""The record of a study as it grows: new, read again, with what came of a trial; where it is kept."""

from __future__ import annotations

import hashlib
import json
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from gelora_cli.archive.reading import find_done, open_run
from gelora_cli.config.keys import Key
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.artifacts.study import MethodStudy, SearchedKey, Study, Trial
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.environment import utc_now
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.run_reader import artifact_of
from gelora_cli.launchers.job import Outcome
from gelora_cli.tuning.space import LEARNING_RATE
from gelora_cli.tuning.widening import method_edges, position

STUDIES = "tune"
"""The directory below `runs_dir` that holds the studies."""


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """What the user asked for, the same for all methods.

    Attributes:
        trials: trials for each method.
        holdout: share of the training rows that trials are scored on.
        sampler: `sobol` or `tpe`.
        seed: what the points are drawn by.
        widen: how often ranges may be made wider.
    """

    trials: int
    holdout: float
    sampler: str
    seed: int
    widen: int

    @property
    def first_points(self) -> int:
        """Return how many trials have Sobol points before TPE proposes others."""
        return self._quarter

    @property
    def added_trials(self) -> int:
        """Return how many trials more each method gets when ranges are made wider."""
        return self._quarter

    @property
    def _quarter(self) -> int:
        """Return a quarter of the trials, rounded up, and at least two."""
        return max(2, math.ceil(self.trials / 4))


@dataclass(frozen=True, kw_only=True)
class StudiedMethod:
    """A method of a study.

    Attributes:
        label: how tables and pictures name it.
        method: the name of the method.
        overrides: what sets it apart from the others.
        space: the searched keys, as its file gives them.
        declared: the declaration of each searched key.
    """

    label: str
    method: str
    overrides: tuple[str, ...]
    space: tuple[SearchedKey, ...]
    declared: Mapping[str, Key]

    def without_trials(self) -> MethodStudy:
        """Return the record of its search before the first trial."""
        return MethodStudy(self.label, self.method, self.overrides, self.space, ())


def study_directory(
    runs_dir: Path, name: str, settings: StudySettings, methods: Sequence[StudiedMethod], runs: Mapping[str, str]
) -> Path:
    """Return where a study is kept: equal commands on equal data share it, any other has its own.

    Args:
        runs_dir: the directory of all runs.
        name: task, model and budget.
        settings: what the user asked for.
        methods: the methods.
        runs: for each label the hash of the first trial's run, which stands for model, data and all settings.
    """
    spaces = {}
    for method in methods:
        spaces[method.label] = [asdict(searched) for searched in method.space]
    values = {"settings": asdict(settings), "spaces": spaces, "runs": dict(runs)}
    digits = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
    return runs_dir / STUDIES / f"{name}-{digits}"


def open_study(directory: Path, new: Study, archives: Sequence[str] = ()) -> Study:
    """Return the study in a directory, under the command of the new one, or the new one where there is none.

    A trial whose run is neither there nor in one of the `archives` counts as planned again.

    Raises:
        GeloraError: the file is damaged.
    """
    if not (directory / Study.FILE).exists():
        return new
    try:
        study = read_artifact(Study, directory / Study.FILE)
    except GeloraError as error:
        raise GeloraError(
            f"{error} Or remove {directory}: the same command makes it again, and runs no trial that is done."
        ) from error
    methods_there = tuple(_with_runs_there(directory, method, archives) for method in study.methods)
    return replace(study, methods=methods_there, command=new.command)


def _with_runs_there(directory: Path, method: MethodStudy, archives: Sequence[str]) -> MethodStudy:
    """Return a method of a study, with trials planned again whose runs are gone."""
    trials = []
    for trial in method.trials:
        is_there = trial.status != "done" or find_done(directory / trial.directory, archives) is not None
        trials.append(trial if is_there else Trial(trial.number, trial.values))
    return replace(method, trials=tuple(trials))


def finished_trial(trial: Trial, outcome: Outcome, directory: Path) -> tuple[Trial, int | None]:
    """Return a trial with what came of its run, and how many held-out rows it was scored on.

    Args:
        trial: the trial as planned.
        outcome: what the launcher says.
        directory: the directory of the study.
    """
    if outcome.code or not outcome.directory:
        path = "" if outcome.directory is None else os.path.relpath(outcome.directory, directory)
        message = outcome.message or f"it ended with exit code {outcome.code}"
        return Trial(trial.number, trial.values, path, status="failed", message=message), None
    run = open_run(Path(outcome.directory))
    result, manifest = artifact_of(RunResult, run), artifact_of(RunManifest, run)
    done = Trial(
        number=trial.number,
        values=trial.values,
        directory=os.path.relpath(run.place, directory),
        status="done",
        value=result.value,
        collapsed=result.collapsed,
        seconds=round(sum(manifest.seconds.values()), 3),
    )
    return done, result.results[0].examples


def with_trial(study: Study, label: str, trial: Trial, examples: int | None) -> Study:
    """Return a study with one trial of a method replaced."""
    methods = list(study.methods)
    place = next(index for index, method in enumerate(methods) if method.label == label)
    trials = list(methods[place].trials)
    trials[trial.number - 1] = trial
    methods[place] = replace(methods[place], trials=tuple(trials))
    return replace(study, methods=tuple(methods), examples=examples or study.examples, date=utc_now())


def summarized(method: MethodStudy, declared: Mapping[str, Key]) -> MethodStudy:
    """Return a method with its best trial, the keys at an edge and the spread of its values."""
    done = [trial for trial in method.trials if trial.value is not None]
    values = [trial.value for trial in done if trial.value is not None]
    best = best_of(method.space, done)
    method = replace(
        method,
        best=None if best is None else best.number,
        spread=statistics.stdev(values) if len(values) > 1 else None,
    )
    return replace(method, at_edge=tuple(method_edges(method, declared)))


def best_of(space: Sequence[SearchedKey], done: Sequence[Trial]) -> Trial | None:
    """Return the trial with the highest value; of equal ones that with the learning rate nearest to the middle."""
    rate = next((searched for searched in space if searched.key == LEARNING_RATE), None)

    def merit(trial: Trial) -> tuple[float, float, int]:
        off_middle = 0.0 if rate is None or rate.choices else abs(position(rate, trial.values[rate.key]) - 0.5)
        return (trial.value or 0.0, -off_middle, -trial.number)

    return max(done, key=merit, default=None)
