"""What is done of the plan, by the configurations of finished runs and the presets, and what the rest costs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from scripts.evidence.plan import UNSET, Job, Presets, RunKey, Scale, Stage, Values

GROUPS = ("task", "model", "method")
"""Groups of the configuration, whose value in `config.yaml` is the field `name`."""


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


def progress(scale: Scale, configs: Iterable[Values], presets: Presets) -> list[Progress]:
    """Return what is done of each stage, from the configurations of finished runs and the presets that are there."""
    by_run: dict[RunKey, list[Values]] = {}
    for config in configs:
        by_run.setdefault(run_key(config), []).append(config)
    stages = []
    for stage in scale.stages:
        if stage.is_tuning:
            stages.append(_progress_of_studies(scale, stage, presets))
        else:
            stages.append(_progress_of_rounds(scale, stage, by_run, presets))
    return stages


def run_key(config: Values) -> RunKey:
    """Return what a run with this configuration is looked up by."""
    return config["task"]["name"], config["method"]["name"], config["seed"]


def _progress_of_rounds(
    scale: Scale, stage: Stage, by_run: Mapping[RunKey, list[Values]], presets: Presets
) -> Progress:
    """Return what is done of a stage of runs."""
    jobs = scale.jobs(stage)
    left = []
    for job in jobs:
        candidates = by_run.get(job.key, [])
        if not any(is_run_of(job, config, presets, scale.trials) for config in candidates):
            left.append(job)
    hours = math.fsum(scale.hours(job.task, job.method, job.values) for job in left)
    return Progress(stage, len(jobs), tuple(left), (), hours)


def is_run_of(job: Job, config: Values, presets: Presets, trials: int) -> bool:
    """Return whether a run with this configuration (nested values) is this job, with the settings of its preset."""
    preset = presets.get((job.task, job.method, job.variant))
    if preset is None or config.get("preset_trials") != trials:
        return False
    expected = UNSET | preset.settings | job.values
    return all(_equal(_value(config, key), value) for key, value in expected.items())


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


def _progress_of_studies(scale: Scale, stage: Stage, presets: Presets) -> Progress:
    """Return what is done of a stage of studies."""
    needed = list(itertools.product(stage.methods, stage.variants()))
    open_studies = tuple(task for task in stage.tasks if not is_tuned(scale, presets, task, needed))
    hours = math.fsum(
        scale.hours(task, method, scale.values["studies"][task]) * scale.trials
        for task, (method, _) in itertools.product(open_studies, needed)
    )
    return Progress(stage, len(stage.tasks) * len(needed) * scale.trials, (), open_studies, hours)


def is_tuned(scale: Scale, presets: Presets, task: str, needed: Iterable[tuple[str, str]]) -> bool:
    """Return whether each of these methods and forms has a preset for a task, with all trials behind it."""
    committed = [presets.get((task, method, variant)) for method, variant in needed]
    return all(preset is not None and preset.trials >= scale.trials for preset in committed)
