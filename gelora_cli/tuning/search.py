"""The order of a study: plan trials, run those without a value, record each, and make ranges wider at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gelora_cli.core.artifacts.study import MethodStudy, SearchedKey, SettingValue, Study, Trial, Widening
from gelora_cli.core.codec import write_artifact
from gelora_cli.core.errors import StoppedError
from gelora_cli.launchers.job import Outcome
from gelora_cli.tuning.journal import Journal
from gelora_cli.tuning.study import StudiedMethod, StudySettings, finished_trial, summarized, with_trial
from gelora_cli.tuning.widening import find_widening, point_value, widened_space


@dataclass(frozen=True)
class PlannedTrial:
    """A trial to run: its method and the trial."""

    label: str
    trial: Trial


RunTrials = Callable[[Sequence[PlannedTrial]], Iterable[Outcome]]
"""Run trials, and yield what came of each in their order; fewer where a signal came."""


class Search:
    """A study in progress, in a directory that this process has locked.

    Args:
        study: what is recorded so far.
        settings: what the user asked for.
        methods: the methods, with their original spaces.
        directory: where the study is kept.
        report: called with each trial that has ended.
    """

    def __init__(
        self,
        study: Study,
        settings: StudySettings,
        methods: Sequence[StudiedMethod],
        directory: Path,
        report: Callable[[str, Trial], None],
    ) -> None:
        self.study = study
        self.interrupted = False
        self._settings = settings
        self._methods = {method.label: method for method in methods}
        self._directory = directory
        self._report = report
        self._journal = Journal(directory, settings.seed)
        self._attempted: set[tuple[str, int]] = set()

    def run(self, run_trials: RunTrials) -> Study:
        """Run every trial that has no value, and return the study; a signal ends it early.

        Every method has the same number of trials at any time.
        """
        while True:
            for batch in self._batches():
                self._run_batch(batch, run_trials)
                if self.interrupted:
                    return self.study
            widening = self._next_widening()
            if widening is None:
                return self.study
            methods = []
            for method in self.study.methods:
                space = widened_space(method.space, widening, self._methods[method.label].declared)
                methods.append(replace(method, space=space))
            self._save(replace(self.study, methods=tuple(methods), widenings=(*self.study.widenings, widening)))

    def _batches(self) -> Iterator[list[PlannedTrial]]:
        """Yield trials that have no value, those that can run side by side together.

        The points of Sobol's sequence are known at once. TPE proposes a trial from the values of those before.
        """
        numbers = range(1, self.study.trials_per_method + 1)
        if self._settings.sampler == "sobol":
            self._plan(numbers)
            yield self._pending(numbers)
            return
        for number in numbers:
            self._plan([number])
            yield self._pending([number])

    def _plan(self, numbers: Iterable[int]) -> None:
        """Add the trials with these numbers to every method, as far as they are not there."""
        methods = []
        for method in self.study.methods:
            trials = list(method.trials)
            for number in numbers:
                values = self._values(method, number)
                if number > len(trials):
                    trials.append(Trial(number, values))
                elif (value := trials[number - 1].value) is not None:
                    self._journal.tell(method.label, number, value)  # nothing, unless the journal was lost
            methods.append(replace(method, trials=tuple(trials)))
        self._save(replace(self.study, methods=tuple(methods)))

    def _pending(self, numbers: Sequence[int]) -> list[PlannedTrial]:
        """Return the trials without a value, in turn for all methods; none that this command has run already."""
        pending = []
        for number in numbers:
            for method in self.study.methods:
                trial = method.trials[number - 1]
                if trial.status != "done" and (method.label, number) not in self._attempted:
                    pending.append(PlannedTrial(method.label, trial))
        return pending

    def _run_batch(self, batch: Sequence[PlannedTrial], run_trials: RunTrials) -> None:
        if not batch:
            return
        count = 0
        for outcome, planned in zip(run_trials(batch), batch, strict=False):
            if outcome.code == StoppedError.exit_code:
                break
            count += 1
            self._record(planned, outcome)
        self.interrupted = count < len(batch)

    def _record(self, planned: PlannedTrial, outcome: Outcome) -> None:
        """Write down what came of a trial: first for Optuna, then in the study, which says that it is done."""
        trial, examples = finished_trial(planned.trial, outcome, self._directory)
        self._attempted.add((planned.label, trial.number))
        if trial.value is not None:
            self._journal.tell(planned.label, trial.number, trial.value)
        study = with_trial(self.study, planned.label, trial, examples)
        methods = [summarized(method, self._methods[method.label].declared) for method in study.methods]
        self._save(replace(study, methods=tuple(methods)))
        self._report(planned.label, trial)

    def _save(self, study: Study) -> None:
        """Write the study whole, so that a kill leaves this version or the one before."""
        if study == self.study and (self._directory / Study.FILE).exists():
            return
        self.study = study
        write_artifact(study, self._directory)

    def _next_widening(self) -> Widening | None:
        if len(self.study.widenings) >= self._settings.widen:
            return None
        declared = {name: key for method in self._methods.values() for name, key in method.declared.items()}
        first = self.study.trials_per_method + 1
        return find_widening(self.study.methods, declared, first, self._settings.added_trials)

    def _values(self, method: MethodStudy, number: int) -> dict[str, SettingValue]:
        """Return the values of a trial, which the journal records."""
        known = next((trial for trial in method.trials if trial.number == number), None)
        space, before, index = self._spaces_at(method.label, number)

        def draw(searched: SearchedKey, proposal: Callable[[], SettingValue]) -> SettingValue:
            if known is not None:  # the journal was lost, or had not recorded it
                return known.values[searched.key]
            if self._settings.sampler == "tpe" and number > self._settings.first_points:
                return proposal()
            return point_value(
                searched, space=space, before=before, seed=self._settings.seed, number=number, index=index
            )

        return self._journal.ask(method.label, number, space, draw)

    def _spaces_at(
        self, label: str, number: int
    ) -> tuple[tuple[SearchedKey, ...], tuple[SearchedKey, ...] | None, int]:
        """Return the space of a trial, that before the widening that added it, and its place among those added."""
        method = self._methods[label]
        space: tuple[SearchedKey, ...] = method.space
        before, index = None, 0
        for widening in self.study.widenings:
            if number < widening.first:
                break
            before, index = space, number - widening.first
            space = widened_space(space, widening, method.declared)
        return space, before, index
