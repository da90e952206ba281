"""What `gelora tune` tried of several methods on a task, `study.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

SettingValue = float | int | str | bool
"""A value of a searched key, as a user would write it behind `KEY=`."""


@dataclass(frozen=True)
class SearchedKey:
    """A key that is searched, and where.

    Attributes:
        key: Its full name, such as train.learning_rate.
        low: The lowest value; None of a key with choices.
        high: The highest value; None of a key with choices.
        log: Whether values are drawn evenly on a logarithmic scale.
        choices: The values of a key that is tried at a few, as a user would write them.
        integer: Whether its values are whole numbers.
        widened: How often the range was made wider, for all methods at once.
        first_low: The lowest value before the range was made wider; None where it was not.
        first_high: The highest value before the range was made wider; None where it was not.
    """

    key: str
    low: float | None
    high: float | None
    log: bool = False
    choices: tuple[str, ...] = ()
    integer: bool = False
    widened: int = 0
    first_low: float | None = None
    first_high: float | None = None


@dataclass(frozen=True)
class Trial:
    """One run of a search.

    Attributes:
        number: Its place in the search of its method, from 1.
        values: Each searched key with its value.
        directory: The run directory, as a path from the directory of the study; empty before the run has ended.
        status: `planned`, `done` or `failed`.
        value: The reported metric on the held-out rows; None unless it is done.
        collapsed: Whether its predictions say nothing.
        seconds: Time of the run's stages, of the process that ran it.
        message: Why it failed.
    """

    number: int
    values: dict[str, SettingValue]
    directory: str = ""
    status: str = "planned"
    value: float | None = None
    collapsed: bool = False
    seconds: float | None = None
    message: str = ""


@dataclass(frozen=True)
class MethodStudy:
    """The search of one method.

    Attributes:
        label: The method as pictures and tables name it, such as `gelora` or `gelora method.variant=dora`.
        method: The name of the method.
        overrides: The overrides that set it apart from the other methods, such as `method=gelora`.
        space: The searched keys, the learning rate first.
        trials: In the order of their numbers, `Study.trials` of them and those that a widening added.
        best: Number of the best trial; None before one is done.
        at_edge: Keys whose best value lies on the edge of the searched range.
        spread: Standard deviation of the values of the done trials; None below two.
    """

    label: str
    method: str
    overrides: tuple[str, ...]
    space: tuple[SearchedKey, ...]
    trials: tuple[Trial, ...]
    best: int | None = None
    at_edge: tuple[str, ...] = ()
    spread: float | None = None

    @property
    def best_trial(self) -> Trial | None:
        """Return the best trial; None before one is done."""
        return next((trial for trial in self.trials if trial.number == self.best), None)

    @property
    def ended_trials(self) -> int:
        """Return how many trials were made; a failed one is one, too."""
        return sum(trial.status != "planned" for trial in self.trials)


@dataclass(frozen=True)
class Widening:
    """Ranges that were made wider because the best trial of some method lay on their edge.

    All methods that search the key have it wider by the same factor, and all methods get the same trials more.

    Attributes:
        first: Number of the first trial that was added.
        trials: How many trials each method got.
        sides: Each key with the side that was made wider: `low`, `high` or `both`.
        methods: Labels of the methods whose best trial lay on an edge.
    """

    first: int
    trials: int
    sides: dict[str, str]
    methods: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """The same number of trials for several methods on one task, model and budget.

    Attributes:
        task: Name of the task.
        model: Name of the model.
        budget: Canonical text of the budget.
        reported: Name of the metric that decides; the higher the better.
        holdout: Share of the training rows that the trials are scored on and not trained on.
        examples: How many rows that is; None before a trial is done.
        sampler: `sobol` or `tpe`.
        seed: What the points of the search are drawn by.
        trials: Trials for each method, before ranges were made wider.
        overrides: The overrides that all trials have.
        numerics: Version of a run's arithmetic.
        date: When the last trial ended, in UTC.
        methods: A search for each method.
        widenings: What was made wider afterwards, in order.
        command: The command as it was last typed; empty in a study from before it was recorded.
    """

    task: str
    model: str
    budget: str
    reported: str
    holdout: float
    examples: int | None
    sampler: str
    seed: int
    trials: int
    overrides: tuple[str, ...]
    numerics: int
    date: str
    methods: tuple[MethodStudy, ...]
    widenings: tuple[Widening, ...] = ()
    command: str = ""

    FILE: ClassVar[str] = "study.json"

    @property
    def trials_per_method(self) -> int:
        """Return how many trials each method has, with those that widenings added."""
        return self.trials + sum(widening.trials for widening in self.widenings)
