"""From `plan.yaml` to jobs: what each stage runs, what is done of it, and what the rest costs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

from gelora_cli.config.tuned import TunedPreset

PLAN = Path(__file__).resolve().parent / "plan.yaml"
ROOT = PLAN.parents[2]
FORWARD = 3.0  # a forward pass is about so many times as fast as a step of training

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

GROUPS = ("task", "model", "method")
"""Groups of the configuration, whose value in `config.yaml` is the field `name`."""

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

    def is_run_of(self, config: Values, presets: Presets, trials: int) -> bool:
        """Return whether a run with this configuration (nested values) is this job, with the settings of its preset."""
        preset = presets.get((self.task, self.method, self.variant))
        if preset is None or config.get("preset_trials") != trials:
            return False
        expected = UNSET | preset.settings | self.values
        return all(_equal(_value(config, key), value) for key, value in expected.items())


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
        lists = [value if isinstance(value, list) else [value] for value in self.settings.values()]
        return [dict(zip(self.settings, chosen, strict=True)) for chosen in itertools.product(*lists)]

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
    def carried(self) -> dict[str, str]:
        """Return for tasks without a study of their own the task whose settings they take."""
        return dict(self.values["carried"])

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


@dataclass(frozen=True)
class Progress:
    """What is done of a stage: `left` are the runs, or the studies by task, that are not; `hours` is their cost."""

    stage: Stage
    total: int
    left: tuple[Job, ...]
    open_studies: tuple[str, ...]
    hours: float

    @property
    def done(self) -> int:
        """Return how many runs are done, trials counted as runs."""
        if not self.stage.is_tuning:
            return self.total - len(self.left)
        return self.total - self.total // len(self.stage.tasks) * len(self.open_studies)

    @property
    def whole_rounds(self) -> list[int]:
        """Return the seeds of which no run is left."""
        begun = {job.values["seed"] for job in self.left}
        return [seed for seed in self.stage.seeds if seed not in begun]


def load_scale(name: str) -> Scale:
    """Return a scale of `plan.yaml`."""
    plan = cast(Values, yaml.safe_load(PLAN.read_text(encoding="utf-8")))
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
    return list(yaml.safe_load(PLAN.read_text(encoding="utf-8"))["scales"])


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


def progress(scale: Scale, configs: Iterable[Values], presets: Presets) -> list[Progress]:
    """Return what is done of each stage, from the configurations of finished runs and the presets that are there."""
    by_run: dict[RunKey, list[Values]] = {}
    for config in configs:
        by_run.setdefault(run_key(config), []).append(config)
    stages = []
    for stage in scale.stages:
        stages.append(_tuned(scale, stage, presets) if stage.is_tuning else _run(scale, stage, by_run, presets))
    return stages


def run_key(config: Values) -> RunKey:
    """Return what a run with this configuration is looked up by."""
    return config["task"]["name"], config["method"]["name"], config["seed"]


def _run(scale: Scale, stage: Stage, by_run: Mapping[RunKey, list[Values]], presets: Presets) -> Progress:
    jobs = scale.jobs(stage)
    left = []
    for job in jobs:
        candidates = by_run.get(job.key, [])
        if not any(job.is_run_of(config, presets, scale.trials) for config in candidates):
            left.append(job)
    hours = math.fsum(scale.hours(job.task, job.method, job.values) for job in left)
    return Progress(stage, len(jobs), tuple(left), (), hours)


def _tuned(scale: Scale, stage: Stage, presets: Presets) -> Progress:
    needed = list(itertools.product(stage.methods, stage.variants()))
    open_studies = tuple(task for task in stage.tasks if not is_tuned(scale, presets, task, needed))
    hours = math.fsum(
        scale.hours(task, method, scale.values["studies"][task]) * scale.trials
        for task, (method, _) in itertools.product(open_studies, needed)
    )
    return Progress(stage, len(stage.tasks) * len(needed) * scale.trials, (), open_studies, hours)


def is_tuned(scale: Scale, presets: Presets, task: str, needed: Iterable[tuple[str, str]]) -> bool:
    """Return whether each of these methods and forms has a preset for a task, with all trials behind it."""
    there = [presets.get((task, method, variant)) for method, variant in needed]
    return all(preset is not None and preset.trials >= scale.trials for preset in there)


def sweeps(jobs: Iterable[Job]) -> Iterator[Values]:
    """Return jobs as sweeps over methods, those that differ in nothing else together, in the order of the jobs."""
    grouped: dict[str, list[Job]] = {}
    for job in jobs:
        grouped.setdefault(repr(job.beside_method), []).append(job)
    for group in grouped.values():
        yield group[0].beside_method | {"method": [job.method for job in group]}


def _value(config: Values, key: str) -> Any:
    """Return the value of a key in a configuration; that of a group is its name, of a key it lacks `UNSET`'s."""
    if key in GROUPS:
        return config[key]["name"]
    value: Any = config
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            return UNSET.get(key)
        value = value[part]
    return value


def _equal(first: Any, second: Any) -> bool:
    """Return whether two values are the same setting, however YAML wrote a number."""
    if isinstance(first, bool) or isinstance(second, bool) or first is None or second is None:
        return first is second
    try:
        return float(first) == float(second)
    except (TypeError, ValueError):
        return str(first) == str(second)
