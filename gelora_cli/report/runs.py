"""Step 1 of a comparison: runs of directories and archives to those that give a number, and the others; no torch.

`collect` is the entry point. `gelora ls` calls its two halves, `read_runs` and `select_runs`, by themselves.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from gelora_cli.allocation.formatting import EXEMPT_BUDGET
from gelora_cli.archive.reading import open_runs
from gelora_cli.config.files import config_of
from gelora_cli.config.schema import RunConfig
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.artifacts.result import EvalResult, RunResult
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.errors import GeloraError, OtherVersionError
from gelora_cli.core.messages import quote
from gelora_cli.core.registries import METHODS
from gelora_cli.core.run_reader import RunFiles, artifact_of, as_run_files
from gelora_cli.report.settings import FINGERPRINT_DIGITS, Settings, as_settings, run_settings
from gelora_cli.trackers.json_lines import metric_lines_of

GELORA, UNIFORM = "gelora", "lora"
"""The method whose plan a control may repeat, and the one that every comparison refers to."""

DAMAGED, OTHER_VERSION, COPY, CONTRADICTION = "damaged", "of another version", "copy", "contradiction"
"""States of runs that give no number, beside those of `status_of`."""

STATUSES = ("running", "done", "failed", "interrupted")
"""What `run.json` says of a run."""

LONGEST_REASON = 400
"""Characters of why a run can't be read."""

LARGEST_NUMBER = 1e100
"""A value or a time is below it, so that squares and sums over runs are floats."""


class RowKey(NamedTuple):
    """What the runs of one row have in common. They differ in their seeds."""

    task: str
    model: str
    budget: str
    protocol: str
    settings: Settings
    method: str

    def without_settings(self) -> RowKey:
        """Return the key that rows of one method share, whatever their settings."""
        return self._replace(settings=())


@dataclass(frozen=True)
class Run:
    """A finished run; `settings` are those beside its seed and method."""

    files: RunFiles
    config: RunConfig
    manifest: RunManifest
    result: RunResult
    plan: RankPlan
    settings: Settings

    @property
    def directory(self) -> Path:
        """Return the run's directory; of a packed run its path in the archive, which is in no file system."""
        return self.files.place

    @property
    def key(self) -> RowKey:
        """Return the key of the row that the run belongs to."""
        result = self.result
        return RowKey(result.task, result.model, result.budget, result.protocol, self.settings, result.method)

    @property
    def start_fingerprint(self) -> str:
        """Return the fingerprint of the weights that it starts from, with adapters of `init_from` merged."""
        return self.manifest.fingerprints.get("model", "")

    def profile(self) -> IdProfile | None:
        """Read the profile of a run whose method looks at one."""
        return artifact_of(IdProfile, self.files) if self.files.has(IdProfile.FILE) else None

    def results_by_ending(self) -> list[tuple[str, EvalResult]]:
        """Return each reported split with what names of its values end with: none of the first, `_mismatched`."""
        results = []
        for number, evaluated in enumerate(self.result.results):
            split = re.sub(r" \(.*\)$", "", evaluated.split).removeprefix("validation_")
            results.append((f"_{split}" if number else "", evaluated))
        return results

    def metric_lines(self) -> list[dict[str, Any]]:
        """Read the lines of `metrics.jsonl`."""
        return metric_lines_of(self.files)


@dataclass(frozen=True)
class UnusedRun:
    """A run that gives no number.

    Attributes:
        directory: where it is.
        status: `running`, `failed`, `interrupted`, `damaged`, `of another version`, `copy` or `contradiction`.
        reason: why, in words.
        key: the row that it would belong to; None where its configuration can't be read.
        updated: when `run.json` was written, in its own format.
    """

    directory: Path
    status: str
    reason: str
    key: RowKey | None
    updated: str | None = None

    def __str__(self) -> str:
        first = self.reason.partition("\n")[0]  # later lines are the warnings of the run
        reason = f": {first}" if first else ""
        return f"{self.status} {self.directory}{reason}"


@dataclass(frozen=True)
class CollectedRuns:
    """The runs at or below some directories: those to report, and those that give no number."""

    runs: tuple[Run, ...]
    unused: tuple[UnusedRun, ...]


def collect(directories: Sequence[Path], *, verify: bool = True) -> CollectedRuns:
    """Return every run of these directories and archives, each once; see `read_runs` and `select_runs`."""
    return select_runs(read_runs(directories, verify=verify))


def read_runs(directories: Sequence[Path], *, verify: bool) -> list[Run | UnusedRun]:
    """Read every run at or below these directories as far as it can be read, sorted by path.

    Args:
        directories: run directories, those above them, and archives, in any order.
        verify: compare every file of a finished run with the sha256 that DONE names. Without it, only the files that
            are read have to be intact.

    Raises:
        GeloraError: a file is no archive.
    """
    return [_read_or_explain(files, verify=verify) for files in open_runs(directories)]


def _read_or_explain(files: RunFiles, *, verify: bool) -> Run | UnusedRun:
    """Read a run, or say what is wrong with it."""
    try:
        return _read(files, verify=verify)
    except Exception as error:  # whatever is wrong with one run, the others are shown
        return unreadable_run(files, error)


def unreadable_run(files: RunFiles, error: Exception) -> UnusedRun:
    """Return a run that gives no number because reading it ended in an error."""
    status = OTHER_VERSION if isinstance(error, OtherVersionError) else DAMAGED
    reason = str(error) if isinstance(error, GeloraError) else f"{type(error).__name__}: {error}"
    if len(reason) > LONGEST_REASON:
        reason = f"{reason[: LONGEST_REASON - 3]}..."
    return UnusedRun(files.place, status, reason, _configured_key(files))


def _read(files: RunFiles, *, verify: bool) -> Run | UnusedRun:
    """Read a run.

    Raises:
        Exception: its files can't be read, or hold what no run writes.
    """
    path = files.place / RunManifest.FILE
    manifest = artifact_of(RunManifest, files, verify=verify)
    if age_seconds(manifest.updated) is None:
        raise GeloraError(f"{path} is damaged: updated={quote(manifest.updated)} is no time.")
    if manifest.status not in STATUSES:
        raise GeloraError(f"{path} is damaged: status={quote(manifest.status)}; gelora writes {', '.join(STATUSES)}.")
    status = files.status(manifest)
    if status != "done":
        return UnusedRun(files.place, status, manifest.error or "", _configured_key(files), manifest.updated)
    if verify:  # after the status: an unfinished run has no checksums
        files.verify()
    run = _read_finished(files, manifest, verify=verify)
    if verify:
        _check_contents(run)
    return run


def _read_finished(files: RunFiles, manifest: RunManifest, *, verify: bool) -> Run:
    result = artifact_of(RunResult, files, verify=verify)
    plan = artifact_of(RankPlan, files, verify=verify)
    if not result.results or any(part.reported not in part.metrics for part in result.results):
        raise GeloraError(f"{files.place / RunResult.FILE} is damaged: it lacks the value of the reported metric.")
    config = config_of(files)
    return Run(files, config, manifest, result, plan, run_settings(config, manifest, files))


def _check_contents(run: Run) -> None:
    """Read what a report shows of a run beside its result, and refuse what no run writes.

    Checksums do not say it all: a file may have been damaged, or made by another program, before they were taken. The
    predictions are read by the tests alone, since they are long.

    Raises:
        Exception: a file can't be read, or holds what no run writes.
    """
    run.metric_lines()
    run.profile()
    problem = _impossible_number(run)
    if problem:
        raise GeloraError(f"{run.directory} is damaged: {problem}. Restore it, or do the run again with force=true.")


def _impossible_number(run: Run) -> str:
    """Return which number of a run no run gives; empty where all may be.

    Raises:
        ValueError: a block of the plan has not as many ranks as modules.
    """
    result, pattern = run.result, run.plan.rank_pattern
    if result.reported not in result.results[0].metrics:
        return f"{RunResult.FILE} lacks the value of {quote(result.reported)}"
    if len(result.ranks) != len(run.plan.blocks):
        return f"{RankPlan.FILE} has {len(run.plan.blocks)} blocks, {RunResult.FILE} ranks of {len(result.ranks)}"
    numbers = {
        "value": result.value,
        "train_seconds": result.train_seconds,
        "profile_seconds": result.profile_seconds,
        "attach_seconds": result.attach_seconds,
        "train.seconds": result.train.seconds,
    }
    for evaluated in result.results:
        numbers |= evaluated.metrics
    for name, number in numbers.items():
        if abs(number) > LARGEST_NUMBER:
            return f"{quote(name)} is {number:g}"
    counts = {"adapter_params": result.adapter_params, **result.effective_ranks, **pattern}
    for name, count in counts.items():
        if count < 0:
            return f"{quote(name)} is {count}, below 0"
    return ""


def read_run(run: RunFiles | Path) -> Run:
    """Read a finished run from its files or its directory.

    Raises:
        GeloraError: one of its files is missing or damaged, or of another schema version.
    """
    files = as_run_files(run)
    return _read_finished(files, artifact_of(RunManifest, files), verify=True)


def _configured_key(files: RunFiles) -> RowKey | None:
    """Return the row that an unfinished run belongs to; None where configuration or manifest can't be read."""
    try:
        config = config_of(files)
        settings = run_settings(config, artifact_of(RunManifest, files), files)
        model = _model_name(config, files)
        method = config.method.name
        is_exempt = method in METHODS and METHODS.get(method).exempt
        budget = EXEMPT_BUDGET if is_exempt else parse_budget(config.budget).name
    except Exception:  # as in `_read_or_explain`
        return None
    return RowKey(config.task.name, model, budget, config.protocol, settings, method)


def _model_name(config: RunConfig, files: RunFiles) -> str:
    """Return the model and the tasks that it was tuned on before, as results name it: `minilm+sst2`."""
    if config.init_from is None:
        return config.model.name
    start = files.start(config.init_from)
    earlier = config_of(start)
    return f"{_model_name(earlier, start)}+{earlier.task.name}"


def select_runs(read: Iterable[Run | UnusedRun]) -> CollectedRuns:
    """Separate the runs that give a number from those that don't.

    Of two runs of equal settings, seed and start the first by path counts, and the other is a `copy`, or a
    `contradiction` where its results are others.
    """
    selected: dict[tuple[RowKey, int, str], Run] = {}
    unused = []
    for run in read:
        if isinstance(run, UnusedRun):
            unused.append(run)
            continue
        first = selected.setdefault((run.key, run.result.seed, run.start_fingerprint), run)
        if first is not run:
            unused.append(_repeated(run, first))
    return CollectedRuns(tuple(disambiguate(list(selected.values()))), tuple(unused))


def _repeated(run: Run, first: Run) -> UnusedRun:
    """Return a run of equal settings, seed and start as one that counts."""
    status, reason = COPY, f"equal settings and seed as {first.directory}, which counts"
    if difference := _first_difference(run.result, first.result):
        status = CONTRADICTION
        reason = (
            f"{difference} in {first.directory}, which has equal settings and seed and counts, as the first by path. "
            "Leave out the one that is not to count"
        )
    return UnusedRun(run.directory, status, reason, run.key, run.manifest.updated)


def _first_difference(result: RunResult, other: RunResult) -> str:
    """Return the first metric in which two results differ, with its values, the reported one first; empty for none."""
    if result.value != other.value:
        return f"{result.reported} {result.value:.10g} here, but {other.value:.10g}"
    for part, other_part in zip_longest(result.results, other.results):
        if part is None or other_part is None or part.split != other_part.split:
            return f"{_splits(result)} evaluated here, but {_splits(other)}"
        for name in part.metrics | other_part.metrics:
            value, other_value = part.metrics.get(name), other_part.metrics.get(name)
            if value != other_value:
                return f"{name} {_metric(value)} on {part.split} here, but {_metric(other_value)}"
    return ""


def _splits(result: RunResult) -> str:
    return " and ".join(part.split for part in result.results)


def _metric(value: float | None) -> str:
    return "missing" if value is None else f"{value:.10g}"


def disambiguate(runs: Sequence[Run]) -> list[Run]:
    """Name the starting weights in the settings of every row that would otherwise have a seed twice.

    That happens where runs start from others that differ in nothing but their seed.
    """
    counts = Counter((run.key, run.result.seed) for run in runs)
    ambiguous = {key for (key, _), count in counts.items() if count > 1}
    unambiguous = []
    for run in runs:
        if run.key in ambiguous:
            settings = {**dict(run.settings), "weights": run.start_fingerprint[:FINGERPRINT_DIGITS]}
            unambiguous.append(replace(run, settings=as_settings(settings)))
        else:
            unambiguous.append(run)
    return unambiguous


def age_seconds(updated: str) -> int | None:
    """Return the seconds since a time as `run.json` has it, None where it is no time; without a zone it is in UTC."""
    try:
        time = datetime.fromisoformat(updated)
        if time.tzinfo is None:
            time = time.replace(tzinfo=UTC)
        return max(0, int((datetime.now(UTC) - time).total_seconds()))
    except (ValueError, OverflowError):
        return None
