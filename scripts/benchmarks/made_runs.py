"""Many finished run directories for benchmarks of listing, reporting and planning: one short real run, multiplied.

A grid of 4 tasks, 5 methods, 5 budgets and the seeds that make up the number. Files have the sizes of a real run of
`task=demo model=minilm`; predictions of each run are the real ones with some answers changed, and its value is theirs.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from itertools import islice, product
from pathlib import Path

import numpy as np

from gelora_cli.commands.main import command_line
from gelora_cli.config.files import config_text, read_config
from gelora_cli.config.schema import MethodConfig, RunConfig
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.plan import BlockRank, RankPlan
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.codec import read_artifact, to_json
from gelora_cli.core.files import file_sha256
from gelora_cli.core.registries import METRICS, TASK_KINDS
from gelora_cli.metrics.definitions import of_all

TASKS = ("cola", "sst2", "rte", "mrpc")
METHODS = ("gelora", "lora", "shuffled", "random", "reversed")
BUDGETS = ("0.03M", "0.04M", "0.05M", "0.06M", "0.07M")
LARGEST_SHARE = 0.3
"""Share of the answers that the worst run changes."""


@dataclass(frozen=True)
class Template:
    """The run that is multiplied."""

    directory: Path
    config: RunConfig
    manifest: RunManifest
    plan: RankPlan
    result: RunResult
    rows: list[dict[str, object]]


def train_template(folder: Path) -> Template:
    """Train for two steps, and return the finished run."""
    overrides = ["experiment=demo", "train.max_steps=2", "profile.max_examples=200", f"runs_dir={folder}"]
    if command_line(["run", *overrides]) != 0:
        raise SystemExit("the run that is multiplied failed")
    (manifest,) = folder.glob(f"*/*/*/*/{RunManifest.FILE}")
    directory = manifest.parent
    lines = (directory / run_files.PREDICTIONS).read_text(encoding="utf-8").splitlines()
    return Template(
        directory,
        read_config(directory / run_files.CONFIG),
        read_artifact(RunManifest, manifest),
        read_artifact(RankPlan, directory / RankPlan.FILE),
        read_artifact(RunResult, directory / RunResult.FILE),
        [json.loads(line) for line in lines],
    )


def write_runs(template: Template, folder: Path, count: int) -> None:
    """Write so many run directories below a folder, seed by seed."""
    grid = product(range(count), BUDGETS, TASKS, METHODS)
    for seed, budget, task, method in islice(grid, count):
        name = f"b{budget}-s{seed}-00000000"
        _write_run(template, folder / task / "minilm" / method / name, (task, method, budget), seed)


def _write_run(template: Template, directory: Path, names: tuple[str, str, str], seed: int) -> None:
    task, method, budget = names
    shutil.copytree(template.directory, directory)
    numbers = [seed, TASKS.index(task), METHODS.index(method), BUDGETS.index(budget)]
    rows = _changed_answers(template, np.random.default_rng(numbers))
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    (directory / run_files.PREDICTIONS).write_text(text, encoding="utf-8")
    config = template.config
    chosen = MethodConfig.of(method, modules="attention", scaling=template.plan.scaling)
    config = replace(config, task=replace(config.task, name=task), method=chosen, seed=seed, budget=budget)
    (directory / run_files.CONFIG).write_text(config_text(config), encoding="utf-8")
    plan = replace(template.plan, method=method, budget=budget, budget_params=round(float(budget[:-1]) * 1e6))
    plan = replace(plan, blocks=_rotated(plan, METHODS.index(method)))
    first = template.result.results[0]
    value = _value(template, rows)
    evaluated = (replace(first, metrics=first.metrics | {first.reported: value}), *template.result.results[1:])
    result = replace(
        template.result, task=task, method=method, seed=seed, budget=budget, value=value, results=evaluated
    )
    for artifact in (plan, result):
        (directory / artifact.FILE).write_text(to_json(artifact), encoding="utf-8")
    _write_checksums(directory)


def _rotated(plan: RankPlan, places: int) -> tuple[BlockRank, ...]:
    """Return the blocks with the ranks of those so many places before them, so that no two methods have one plan."""
    ranks = [block.rank for block in plan.blocks]
    return tuple(replace(block, rank=ranks[index - places]) for index, block in enumerate(plan.blocks))


def _changed_answers(template: Template, generator: np.random.Generator) -> list[dict[str, object]]:
    """Return the rows of predictions with right answers, but for a share of them."""
    labels = template.config.task.labels
    wrong = generator.random(len(template.rows)) < LARGEST_SHARE * generator.random()
    rows = []
    for row, is_wrong in zip(template.rows, wrong, strict=True):
        other = next(label for label in labels if label != row["label"])
        rows.append(row | {"prediction": other if is_wrong else row["label"]})
    return rows


def _value(template: Template, rows: list[dict[str, object]]) -> float:
    task, reported = template.config.task, template.result.reported
    split = template.result.results[0].split
    chosen = [row for row in rows if row["split"] == split]
    predicted, true = TASK_KINDS.get(task.kind).arrays(task, reported, chosen)
    return float(of_all(METRICS.get(task.metric).scores[reported], predicted, true)[0])


def _write_checksums(directory: Path) -> None:
    """Write DONE as a run does, without its waiting for the disk."""
    names = [line.partition("  ")[2] for line in (directory / run_files.DONE).read_text().splitlines()]
    lines = [f"{file_sha256(directory / name)}  {name}" for name in names]
    (directory / run_files.DONE).write_text("\n".join(lines) + "\n", encoding="utf-8")
