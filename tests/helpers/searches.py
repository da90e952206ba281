"""Studies of two methods whose runs are written in place of trained."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from gelora_cli.config.identity import NUMERICS
from gelora_cli.config.keys import declared_keys
from gelora_cli.config.schema import MethodConfig, RunConfig
from gelora_cli.core.artifacts.study import SearchedKey, Study, Trial
from gelora_cli.launchers.job import Outcome
from gelora_cli.tuning.search import PlannedTrial, Search
from gelora_cli.tuning.study import StudiedMethod, StudySettings, open_study
from tests.helpers.written_runs import write_run

RATE = SearchedKey("train.learning_rate", 1e-4, 1e-2, log=True)
DROPOUT = SearchedKey("method.dropout", None, None, choices=("0.0", "0.1"))
RATIO = SearchedKey("method.start_ratio", 1.25, 3.0)
SETTINGS = StudySettings(trials=4, holdout=0.1, sampler="sobol", seed=0, widen=1)


def studied(method: str, *space: SearchedKey) -> StudiedMethod:
    """Return a method with its searched keys."""
    declared = {entry.name: entry for entry in declared_keys(RunConfig, {"method": MethodConfig.class_of(method)})}
    return StudiedMethod(
        label=method,
        method=method,
        overrides=(f"method={method}",),
        space=space,
        declared={searched.key: declared[searched.key] for searched in space},
    )


METHODS = (studied("lora", RATE, DROPOUT), studied("adalora", RATE, DROPOUT, RATIO))


class WrittenRuns:
    """Stands for a launcher: the value of a run is highest at a learning rate, whatever else it has.

    Args:
        root: where the runs are written.
        best_rate: that learning rate.
        stop_after: how many trials end before a signal comes; None: all.
        failing: method and number of trials that fail.
    """

    def __init__(
        self,
        root: Path,
        best_rate: float = 1e-3,
        *,
        stop_after: int | None = None,
        failing: Sequence[tuple[str, int]] = (),
    ) -> None:
        self.root, self.best_rate, self.stop_after, self.failing = root, best_rate, stop_after, failing
        self.started: list[tuple[str, int]] = []

    def run_trials(self, planned: Sequence[PlannedTrial]) -> Iterator[Outcome]:
        """Yield what came of each trial until the signal."""
        for item in planned:
            if len(self.started) == self.stop_after:
                return
            key = (item.label, item.trial.number)
            self.started.append(key)
            if key in self.failing:
                yield Outcome(1, message="out of memory")
                continue
            rate = float(item.trial.values[RATE.key])
            directory = self.root / item.label / f"s{item.trial.number}-{rate}"
            if not directory.exists():  # else it was done before
                value = 0.9 - 0.1 * abs(math.log10(rate / self.best_rate))
                write_run(self.root, item.label, item.trial.number, value, rate=rate)
            yield Outcome(0, str(directory))


def run_written(
    directory: Path,
    runs: WrittenRuns,
    settings: StudySettings = SETTINGS,
    methods: Sequence[StudiedMethod] = METHODS,
) -> Search:
    """Run what is left of the study in a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    new = Study(
        task="demo",
        model="minilm",
        budget="rank:5",
        reported="accuracy",
        holdout=settings.holdout,
        examples=None,
        sampler=settings.sampler,
        seed=settings.seed,
        trials=settings.trials,
        overrides=("task=demo",),
        numerics=NUMERICS,
        date="",
        methods=tuple(method.without_trials() for method in methods),
        command="gelora tune task=demo",
    )
    search = Search(open_study(directory, new), settings, methods, directory, lambda label, trial: None)
    search.run(runs.run_trials)
    return search


def timeless(study: Study) -> Study:
    """Return a study without its date and command, which no two have in common."""
    return replace(study, date="", command="")


def values_of(study: Study, label: str) -> list[float]:
    """Return the learning rates of a method's trials."""
    trials: tuple[Trial, ...] = next(method.trials for method in study.methods if method.label == label)
    return [float(trial.values[RATE.key]) for trial in trials]
