"""What is there of the comparison: the runs of whole rounds, the studies before them, and what they took."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gelora_cli.archive.reading import read_archive
from gelora_cli.core.artifacts.study import Study
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.errors import GeloraError
from gelora_cli.report.comparison import FEWEST_SEEDS
from gelora_cli.report.runs import Run, collect
from gelora_cli.tuning.study import STUDIES
from scripts.evidence.plan import Job, Presets, RunKey, Scale, Values
from scripts.evidence.presets import committed_presets
from scripts.evidence.progress import Progress, is_run_of, progress, run_key

OWN_SPLITS = {
    ("mrpc", "validation", 1725): "MSR's own split",
    ("mrpc", "train (holdout)", 408): "MSR's own split",  # a tenth of its 4,076 rows; GLUE's validation has 408, too
}
"""What a reader must know of tasks whose rows are not those of GLUE, by split and number of the evaluated rows."""

DATA_AND_WEIGHTS = ("data.", "weights")
"""How the names of the settings begin that all methods of a task share."""


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, with its configuration as nested values."""

    run: Run
    config: Values


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The comparison as far as it is.

    Attributes:
        scale: the plan.
        states: what is done of each stage.
        runs: the runs of the rounds that count.
        incomplete: finished runs of rounds that do not count yet, which no number here is of.
        trials: the runs of the studies.
        studies: the studies.
    """

    scale: Scale
    states: tuple[Progress, ...]
    runs: tuple[Run, ...]
    incomplete: int
    trials: tuple[Run, ...]
    studies: tuple[Study, ...]

    def task_name(self, task: str) -> str:
        """Return the name of a task, with what a reader must know of its rows."""
        for run in (*self.runs, *self.trials):
            evaluated = run.result.results[0]
            if run.result.task == task and (task, evaluated.split, evaluated.examples) in OWN_SPLITS:
                return f"{task} ({OWN_SPLITS[task, evaluated.split, evaluated.examples]})"
        return task

    def noted_tasks(self) -> list[str]:
        """Return the tasks whose rows are not those of GLUE."""
        tasks = sorted({run.result.task for run in (*self.runs, *self.trials)})
        return [task for task in tasks if self.task_name(task) != task]

    def hours(self, runs: Sequence[Run]) -> float:
        """Return the hours that runs took, side by side ones added up."""
        return math.fsum(sum(run.manifest.seconds.values()) for run in runs) / 3600

    def machines(self, runs: Sequence[Run]) -> dict[str, int]:
        """Return on which machines runs were done, with how many on each."""
        return dict(Counter(run.manifest.device for run in runs).most_common())

    def commits(self, runs: Sequence[Run]) -> list[str]:
        """Return the commits that runs were done at."""
        return sorted({run.manifest.git_commit or "unknown" for run in runs})

    def dates(self, runs: Sequence[Run]) -> str:
        """Return the first and the last day of runs."""
        days = sorted({run.manifest.updated[:10] for run in runs})
        return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def read_evidence(scale: Scale, places: Sequence[Path]) -> Evidence:
    """Read the runs at some places (directories or archives), and keep those of whole rounds.

    Args:
        scale: the plan.
        places: directories and archives of runs; none of them has to exist.

    Raises:
        GeloraError: rounds differ in data, starting weights or another setting, so that they are no rounds of one
            comparison.
    """
    places = [place for place in places if place.exists()]
    collected = collect(places)
    presets = committed_presets(scale)
    finished = [FinishedRun(run, asdict(run.config)) for run in collected.runs]
    states = progress(scale, [one.config for one in finished], presets)
    by_key: dict[RunKey, list[FinishedRun]] = {}
    for one in finished:
        by_key.setdefault(run_key(one.config), []).append(one)
    done: list[tuple[Job, Run]] = []
    chosen: list[Run] = []
    for state in states:
        counted = _counted_rounds(state, is_first=not chosen)
        for job in scale.jobs(state.stage):
            run = _run_of(job, by_key.get(job.key, []), presets, scale.trials)
            if run is not None:
                done.append((job, run))
                chosen += [run] if job.values["seed"] in counted else []
    check_alike(done)
    return Evidence(
        scale=scale,
        states=tuple(states),
        runs=tuple({run.directory: run for run in chosen}.values()),
        incomplete=len(done) - len(chosen),
        trials=tuple(run for run in collected.runs if run.result.on_holdout),
        studies=tuple(study for place in places for study in read_studies(place)),
    )


def read_studies(place: Path) -> list[Study]:
    """Return the studies of an archive, or below a directory of runs."""
    if place.is_file():
        archive = read_archive(place)
        return [archive.study(path) for path in sorted(archive.studies)]
    return [read_artifact(Study, file) for file in sorted(place.glob(f"{STUDIES}/*/{Study.FILE}"))]


def _counted_rounds(state: Progress, *, is_first: bool) -> list[int]:
    """Return the seeds whose rounds count: whole ones, of a later stage from as many on as a test needs.

    A task with two seeds beside tasks with five would leave every contrast over the tasks without a test.
    """
    whole = state.whole_rounds
    return whole if is_first or len(whole) >= FEWEST_SEEDS else []


def _run_of(job: Job, candidates: Iterable[FinishedRun], presets: Presets, trials: int) -> Run | None:
    """Return the run of a job among those of its task, method and seed; None where it is not done."""
    for candidate in candidates:
        if is_run_of(job, candidate.config, presets, trials):
            return candidate.run
    return None


def check_alike(done: Iterable[tuple[Job, Run]]) -> None:
    """Refuse rounds that differ in more than their seed, and methods of a task that saw other data or weights.

    The plan names the settings that it chooses. All others, and the data, have to be those of the first run.

    Raises:
        GeloraError: a line for each run that differs, with the settings of both.
    """
    first_of_job: dict[str, Run] = {}
    first_of_task: dict[str, Run] = {}
    problems = []
    for job, run in done:
        beside_seed = repr({key: value for key, value in job.values.items() if key != "seed"})
        first = first_of_job.setdefault(beside_seed, run)
        differences = _differences(first, run, "")
        if not differences:
            first = first_of_task.setdefault(job.task, run)
            differences = _differences(first, run, DATA_AND_WEIGHTS)
        if differences:
            problems.append(f"{run.directory} has {', '.join(differences)} of {first.directory}")
    if problems:
        lead = "not every run is a round of one comparison. Move these elsewhere, and run them again:"
        raise GeloraError("\n".join([lead, *problems]))


def _differences(first: Run, other: Run, keys: str | tuple[str, ...]) -> list[str]:
    """Return in what settings, of those that begin with `keys`, a run differs from the first one of its kind."""
    before, now = dict(first.settings), dict(other.settings)
    names = sorted(key for key in before.keys() | now.keys() if key.startswith(keys))
    return [
        f"{name}={now.get(name, 'nothing')} in place of {before.get(name, 'nothing')}"
        for name in names
        if before.get(name) != now.get(name)
    ]
