"""The plan of the comparison as `plan.yaml` says it: scales, their stages, the jobs of a stage and what a job costs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gelora_cli.config.tuned import TunedPreset
from scripts.evidence.plan_checks import check, plan_problems, read_values
from scripts.planned_jobs import FORWARD, combinations

PLAN = Path(__file__).resolve().parent / "plan.yaml"
ROOT = PLAN.parents[2]

UNSET: dict[str, Any] = {
    "data.holdout": None,
    "data.max_train_examples": None,
    "data.max_eval_examples": None,
    "method.variant": "lora",
    "method.modules": "attention",
    "smoke": False,
    "init_from": None,
}
"""Values that a run of the comparison has where its job says nothing, so that trials and other runs are none of it."""

Values = dict[str, Any]
RunKey = tuple[str, str, int]
"""Task, method and seed."""
Presets = Mapping[tuple[str, str, str], TunedPreset]
"""By task, method and form of the update."""


@dataclass(frozen=True)
class Job:
    """One run of the comparison: its keys with their values, as `gelora run` takes them."""

    values: Values

    @property
    def task(self) -> str:
        """Return the name of the task."""
        return str(self.values["task"])

    @property
    def method(self) -> str:
        """Return the name of the method."""
        return str(self.values["method"])

    @property
    def variant(self) -> str:
        """Return the form of the update."""
        return str(self.values.get("method.variant", UNSET["method.variant"]))

    @property
    def key(self) -> RunKey:
        """Return what its runs are looked up by."""
        return self.task, self.method, int(self.values["seed"])

    @property
    def beside_method(self) -> Values:
        """Return the values without the method: jobs that share them are one sweep."""
        return {key: value for key, value in self.values.items() if key != "method"}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of the plan: a study for each of its tasks, or rounds of runs.

    Attributes:
        id: its name.
        says: what it is, in a line.
        is_tuning: whether it runs studies.
        tasks: names of its tasks.
        methods: names of its methods.
        seeds: a round each; none of a stage of studies.
        settings: keys with their values in all of its runs; a list stands for one run of each value.
    """

    id: str
    says: str
    is_tuning: bool
    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...] = ()
    settings: Values = field(default_factory=dict)

    def combinations(self) -> list[Values]:
        """Return every combination of the settings."""
        return combinations(self.settings)

    def variants(self) -> list[str]:
        """Return the forms of the update of its runs."""
        return [str(values.get("method.variant", UNSET["method.variant"])) for values in self.combinations()]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """One scale of the plan, with what all scales share. `values` are those of its YAML."""

    name: str
    commit: str
    rows: Mapping[str, tuple[int, int]]
    relative_seconds: Mapping[str, float]
    values: Values
    stages: tuple[Stage, ...]

    @property
    def archive(self) -> Path:
        """Return where the archive of this scale is committed."""
        return ROOT / str(self.values["archive"])

    @property
    def presets(self) -> Path:
        """Return the directory that `--config-dir` names, with the settings that the studies found."""
        return ROOT / str(self.values["presets"])

    @property
    def unit(self) -> str:
        """Return what its hours are of."""
        return str(self.values["unit"])

    @property
    def trials(self) -> int:
        """Return how many trials are behind the settings of every method."""
        return int(self.values["studies"]["shared"]["tune.trials"])

    @property
    def seeds(self) -> int:
        """Return how many rounds every stage of runs has."""
        return max(len(stage.seeds) for stage in self.stages)

    @property
    def carried(self) -> dict[str, str]:
        """Return for tasks that take the settings of another which one that is."""
        return dict(self.values["carried"])

    @property
    def studied(self) -> list[str]:
        """Return the tasks whose own study found their settings."""
        return [task for task in self.values["studies"] if task != "shared" and task not in self.carried]

    def rate_factor(self, method: str) -> float:
        """Return what the learning rate of a method is multiplied by where its settings are carried to another task."""
        factors = self.values.get("carried_rate", {})
        return float(factors.get(method, factors.get("default", 1.0)))

    def jobs(self, stage: Stage) -> list[Job]:
        """Return the runs of a stage, round by round; of a task those that take longest come first."""
        methods = sorted(stage.methods, key=self.relative, reverse=True)
        return [
            Job(self._task_values(task) | values | {"task": task, "seed": seed, "method": method})
            for seed, task, values, method in itertools.product(stage.seeds, stage.tasks, stage.combinations(), methods)
        ]

    def study_values(self, stage: Stage, task: str) -> Values:
        """Return the keys of the study of a task, with their values."""
        own = self.values["studies"]
        settings = {"task": task, "method": list(stage.methods)} | stage.settings
        return {**self.values["shared"], **settings, **own[task], **own["shared"]}

    def _task_values(self, task: str) -> Values:
        return {**self.values["shared"], **self.values["tasks"][task]}

    def relative(self, method: str) -> float:
        """Return the seconds of training of a method over those of lora."""
        return float(self.relative_seconds.get(method, 1.0))

    def hours(self, task: str, method: str, settings: Values) -> float:
        """Return what one run costs: training, an evaluation after each epoch, and a fixed part."""
        train, evaluated = self.rows[task]
        examples = min(train, settings.get("data.max_train_examples") or train)
        work = examples * self.relative(method) + evaluated / FORWARD  # of an epoch, in examples of training
        rate = float(self.values["examples_per_second"][task])
        epochs = int(settings["train.epochs"])
        return (epochs * work / rate + float(self.values["seconds_per_run"])) / 3600


def load_scale(name: str) -> Scale:
    """Return a scale of `plan.yaml`.

    Raises:
        GeloraError: the file is not as it has to be; the message has all that is wrong.
    """
    plan = _read_plan()
    values = plan["scales"][name]
    return Scale(
        name=name,
        commit=plan["commit"],
        rows={task: (int(train), int(evaluated)) for task, (train, evaluated) in plan["rows"].items()},
        relative_seconds=plan["relative_seconds"],
        values=values,
        stages=tuple(map(_stage, values["stages"])),
    )


def scale_names() -> list[str]:
    """Return the names of the scales."""
    return list(_read_plan()["scales"])


def _read_plan() -> Values:
    values = read_values(PLAN)
    check(plan_problems(values), PLAN)
    return values


def _stage(values: Values) -> Stage:
    return Stage(
        id=values["id"],
        says=values["says"],
        is_tuning=values.get("tune", False),
        tasks=tuple(values["tasks"]),
        methods=tuple(values["methods"]),
        seeds=tuple(values.get("seeds", ())),
        settings=values.get("settings", {}),
    )


def sweeps(jobs: Iterable[Job]) -> Iterator[Values]:
    """Return jobs as sweeps over methods, those that differ in nothing else together, in the order of the jobs."""
    grouped: dict[str, list[Job]] = {}
    for job in jobs:
        grouped.setdefault(repr(job.beside_method), []).append(job)
    for group in grouped.values():
        yield group[0].beside_method | {"method": [job.method for job in group]}
