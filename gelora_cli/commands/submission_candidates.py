"""The runs that can answer a submission: found below directories, and one chosen for each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gelora_cli.commands.submission_files import TASKS
from gelora_cli.config.checks import list_problems
from gelora_cli.config.files import read_config
from gelora_cli.config.schema import RunConfig
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.result import SMOKE_REMARK, RunResult
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.done import is_done
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.status import find_runs


@dataclass(frozen=True)
class Candidate:
    """A finished run that could answer its task's files; `value` is the reported one, on the dev set."""

    directory: Path
    config: RunConfig
    metric: str
    value: float

    @property
    def scale(self) -> str:
        """Return what its value measures; values of another metric or protocol can't be compared with it."""
        rows = self.config.data.max_eval_examples
        drawn = f", data.max_eval_examples={rows}" if rows else ""
        share = self.config.data.holdout
        held_out = f", data.holdout={share:g}" if share else ""
        return f"{self.metric}, protocol={self.config.protocol}{drawn}{held_out}"

    def __str__(self) -> str:
        return f"{self.directory} ({self.scale}: {self.value:.4f})"


def find_candidates(directories: Sequence[Path]) -> tuple[list[Candidate], list[str]]:
    """Return the finished runs on GLUE's tasks at or below the directories, each once, and what was left out and why.

    Raises:
        GeloraError: a directory without runs, or a run given by itself that is not finished; none on GLUE.
    """
    problems: list[str] = []
    paths: dict[Path, None] = {}  # an ordered set: a run below two of the directories counts once
    for directory in directories:
        below = find_runs(directory.resolve())
        if not below:
            problems.append(f"{directory}: no run directory there or below; gelora ls DIR shows the runs there are")
        elif below == [directory.resolve()] and not is_done(directory):
            problems.append(f"{directory} is not finished; end it with the command that began it, or leave it out")
        paths |= dict.fromkeys(below)
    candidates, left_out = _usable_runs(list(paths))
    if not candidates and not problems:
        reasons = "".join(f"\n  {text}" for text in left_out)
        problems.append(f"no finished run on a task of GLUE ({', '.join(TASKS)}) is given:{reasons}")
    if problems:
        raise GeloraError(list_problems(problems))
    return candidates, left_out


def _usable_runs(paths: Sequence[Path]) -> tuple[list[Candidate], list[str]]:
    """Return the runs that can answer a task of GLUE, and for each of the others why it can't."""
    candidates, left_out = [], []
    for path in paths:
        if not is_done(path):
            left_out.append(f"{path}: not finished")
            continue
        config, result = read_config(path / run_files.CONFIG), read_artifact(RunResult, path / RunResult.FILE)
        if config.smoke:  # the value of a smoke trial says nothing
            left_out.append(f"{path}: {SMOKE_REMARK}")
        elif config.task.name in TASKS and config.task.source == "glue":
            candidates.append(Candidate(path, config, result.reported, result.value))
        else:
            left_out.append(f"{path}: task={config.task.name} is not one of GLUE's")
    return candidates, left_out


def choose_runs(candidates: Sequence[Candidate], choose: str | None) -> dict[str, Candidate]:
    """Return for each task the run that answers it: the only one, or with `choose="best"` the one of the largest value.

    Of equal ones the first in the order of their paths is taken.

    Raises:
        GeloraError: several runs for a task, and no rule that decides: none is given, or their values are those of
            different metrics or protocols.
    """
    by_task: dict[str, list[Candidate]] = {task: [] for task in TASKS}  # in the order of the benchmark
    for run in candidates:
        by_task[run.config.task.name].append(run)
    several = {task: runs for task, runs in by_task.items() if len(runs) > 1}
    if choose is None and several:
        raise GeloraError(
            "several runs for one task, and a submission takes one: give that one alone, or choose=best for the "
            f"largest value on the dev set{_listed(several)}"
        )
    mixed = {}
    for task, runs in several.items():
        scales = {run.scale for run in runs}
        if len(scales) > 1:
            mixed[task] = runs
    if mixed:
        raise GeloraError(
            "choose=best compares values of one metric on the same rows under one protocol; give runs of one, or a "
            "single run"
            f"{_listed(mixed)}"
        )
    ordered = {task: sorted(runs, key=lambda run: (-run.value, run.directory)) for task, runs in by_task.items()}
    return {task: runs[0] for task, runs in ordered.items() if runs}


def _listed(by_task: Mapping[str, Sequence[Candidate]]) -> str:
    """Return the runs of each task as lines of a message."""
    lines = ""
    for task, runs in by_task.items():
        lines += f"\n  task={task}:" + "".join(f"\n    {run}" for run in runs)
    return lines
