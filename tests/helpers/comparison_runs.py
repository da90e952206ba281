"""Made runs of the plan of the comparison, and made settings that its studies found: no training, seconds for all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from gelora_cli.config.files import read_config, write_config
from gelora_cli.config.tuned import FOLDER, TunedPreset
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.codec import read_artifact, write_artifact
from gelora_cli.core.done import mark_done
from scripts.evidence.plan import Job, Scale
from scripts.evidence.presets import committed_presets, take_presets
from tests.helpers.report_runs import write_whole

RATE = 1e-3


def made_preset(task: str, method: str, **changes: Any) -> TunedPreset:
    """Return what a study would have found for a method."""
    values: dict[str, Any] = {
        "task": task,
        "model": "minilm",
        "method": method,
        "budget": "0.15M",
        "settings": {"train.epochs": 3, "train.learning_rate": RATE},
        "trials": 12,
        "best": 0.9,
        "space": {"train.learning_rate": "1e-4 to 1e-2, log"},
        "command": "gelora tune task=sst2 data.glue=/home/somebody/glue runs_dir=/home/somebody/runs",
        "date": "2026-01-01T00:00:00+00:00",
    }
    return TunedPreset(**values | changes)


def write_study(directory: Path, *presets: TunedPreset) -> Path:
    """Write presets as `gelora tune` leaves them in the directory of a study."""
    folder = directory / "presets" / FOLDER
    folder.mkdir(parents=True)
    for preset in presets:
        values = {name: value for name, value in vars(preset).items() if value not in (None, {}, [], "")}
        name = f"{preset.task}-{preset.method}-{preset.when.get('method.variant', 'lora')}.yaml"
        (folder / name).write_text(yaml.safe_dump(values, sort_keys=False))
    return directory


def take_made_presets(scale: Scale, place: Path) -> None:
    """Let a scale have settings for the methods of its first stage."""
    studied = [made_preset(task, method) for task in scale.stages[0].tasks for method in scale.stages[0].methods]
    take_presets(scale, [write_study(place, *studied)])


def write_jobs(scale: Scale, root: Path, jobs: Iterable[Job], right: Callable[[Job], int]) -> None:
    """Write a finished run for each job, with `right` of 40 answers and the scale's settings."""
    presets = committed_presets(scale)
    for job in jobs:
        settings = presets[job.task, job.method, job.variant].settings
        rate, batch = float(settings["train.learning_rate"]), job.values.get("train.batch_size")
        directory = write_whole(root / job.task / "minilm", job.method, job.values["seed"], right(job), task=job.task)
        config = read_config(directory / run_files.CONFIG)
        config = replace(
            config,
            data=replace(config.data, max_train_examples=job.values.get("data.max_train_examples")),
            train=replace(config.train, epochs=job.values["train.epochs"], learning_rate=rate, batch_size=batch),
            budget=str(job.values["budget"]),
            precision=job.values["precision"],
            preset_trials=12,
        )
        write_config(config, directory / run_files.CONFIG)
        result = read_artifact(RunResult, directory / RunResult.FILE)
        write_artifact(replace(result, budget="0.15M"), directory)
        manifest = read_artifact(RunManifest, directory / RunManifest.FILE)
        done = replace(manifest, git_commit="a" * 40, seconds={"train": 60.0}, precision=job.values["precision"])
        write_artifact(done, directory)
        mark_done(directory)
