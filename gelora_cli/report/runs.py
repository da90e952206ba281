"""Run directories as reports read them: what is finished and whole, and what is not; no torch."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gelora_cli.allocation.formatting import EXEMPT_BUDGET
from gelora_cli.config.files import read_config
from gelora_cli.config.identity import identity_values
from gelora_cli.config.schema import RunConfig
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.done import verify_checksums
from gelora_cli.core.errors import GeloraError, OtherVersionError
from gelora_cli.core.messages import quote
from gelora_cli.core.registries import METHODS
from gelora_cli.core.status import find_runs, status_of

Settings = tuple[tuple[str, str], ...]
Cell = tuple[str, str, str, str, Settings, str]
"""Task, model, budget, protocol, settings and method: what the runs of a row have in common."""

DAMAGED, OTHER_VERSION = "damaged", "of another version"
"""States of runs that can't be read, beside those of `run_status`."""

STATUSES = ("running", "done", "failed", "interrupted")
"""What `run.json` says of a run."""

LONGEST_REASON = 400

SEED_AND_HASH = re.compile(r"-?s\d+-[0-9a-f]{8}$")


@dataclass(frozen=True)
class Run:
    """A finished run; `settings` are those beside its seed and method."""

    directory: Path
    config: RunConfig
    manifest: RunManifest
    result: RunResult
    plan: RankPlan
    settings: Settings

    @property
    def cell(self) -> Cell:
        """What the runs of a row have in common."""
        result = self.result
        return (result.task, result.model, result.budget, result.protocol, self.settings, result.method)

    @property
    def start(self) -> str:
        """The fingerprint of the weights that it starts from, adapters of `init_from` merged."""
        return self.manifest.fingerprints.get("model", "")

    def profile(self) -> IdProfile | None:
        """The profile beside it, of a method that looks at one."""
        path = self.directory / IdProfile.FILE
        return read_artifact(IdProfile, path) if path.exists() else None

    def metric_lines(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`."""
        path = self.directory / run_files.METRICS
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]


@dataclass(frozen=True)
class Unused:
    """A run that gives no number: `running`, `failed`, `interrupted`, `damaged`, of another version, a `copy`; and why.

    `cell` is the row that it would belong to, where its configuration says so.
    """

    directory: Path
    status: str
    reason: str
    cell: Cell | None
    updated: str | None = None


@dataclass(frozen=True)
class Collected:
    """The runs at or below some directories: those to report, and those that give no number."""

    runs: tuple[Run, ...]
    unused: tuple[Unused, ...]


def collect(directories: Sequence[Path], *, verify: bool = True) -> Collected:
    """Return every run at or below these directories, each once; see `examine_runs` and `sort_runs`."""
    return sort_runs(examine_runs(directories, verify=verify))


def examine_runs(directories: Sequence[Path], *, verify: bool) -> list[Run | Unused]:
    """Return every run at or below these directories as far as it can be read, by directory and name.

    With `verify` every file of a finished run is compared with the sha256 that DONE names; without, only what is read
    has to be whole.
    """
    return [_examine(path, verify=verify) for path in _paths(directories)]


def sort_runs(examined: Iterable[Run | Unused]) -> Collected:
    """Part runs that give a number from those that don't.

    Of two runs of equal settings, seed and start the first by path counts, and the other is a `copy`.
    """
    runs: dict[tuple[Cell, int, str], Run] = {}
    unused = []
    for run in examined:
        if isinstance(run, Unused):
            unused.append(run)
            continue
        first = runs.setdefault((run.cell, run.result.seed, run.start), run)
        if first is not run:
            reason = f"equal settings and seed as {first.directory}, which counts"
            unused.append(Unused(run.directory, "copy", reason, run.cell, run.manifest.updated))
    return Collected(tuple(_told_apart(runs.values())), tuple(unused))


def _examine(directory: Path, *, verify: bool) -> Run | Unused:
    try:
        return _read(directory, verify=verify)
    except Exception as error:  # whatever is wrong with one run, the others are shown
        status = OTHER_VERSION if isinstance(error, OtherVersionError) else DAMAGED
        kind = "" if isinstance(error, GeloraError) else f"{type(error).__name__}: "
        reason = f"{kind}{error}"
        reason = reason if len(reason) <= LONGEST_REASON else f"{reason[: LONGEST_REASON - 3]}..."
        return Unused(directory, status, reason, _asked_cell(directory))


def _read(directory: Path, *, verify: bool) -> Run | Unused:
    manifest = read_artifact(RunManifest, directory / RunManifest.FILE, verify=verify)
    if age_seconds(manifest.updated) is None:
        raise GeloraError(f"{directory / RunManifest.FILE} is damaged: updated={quote(manifest.updated)} is no time.")
    if manifest.status not in STATUSES:
        raise GeloraError(
            f"{directory / RunManifest.FILE} is damaged: status={quote(manifest.status)}; gelora writes "
            f"{', '.join(STATUSES)}."
        )
    status = status_of(directory, manifest)
    if status != "done":
        return Unused(directory, status, manifest.error or "", _asked_cell(directory), manifest.updated)
    if verify:
        verify_checksums(directory)
    return _read_finished(directory, manifest, verify=verify)


def age_seconds(updated: str) -> int | None:
    """Return the seconds since a time as `run.json` has it, None where it is none; one without a zone is in UTC."""
    try:
        moment = datetime.fromisoformat(updated)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0, int((datetime.now(UTC) - moment).total_seconds()))
    except (ValueError, OverflowError):
        return None


def _told_apart(runs: Iterable[Run]) -> list[Run]:
    """Runs of a row that has a seed twice, from starts that differ in their seed, get their start as a setting."""
    found = list(runs)
    counts = Counter((run.cell, run.result.seed) for run in found)
    twice = {cell for (cell, _), count in counts.items() if count > 1}
    return [replace(run, settings=_with_start(run)) if run.cell in twice else run for run in found]


def _with_start(run: Run) -> Settings:
    return tuple(sorted({**dict(run.settings), "weights": run.start[:8]}.items()))


def read_run(directory: Path) -> Run:
    """A finished run from its directory.

    Raises:
        GeloraError: one of its files is missing or damaged, or of another schema version.
    """
    manifest = read_artifact(RunManifest, directory / RunManifest.FILE)
    return _read_finished(directory, manifest, verify=True)


def _read_finished(directory: Path, manifest: RunManifest, *, verify: bool) -> Run:
    result = read_artifact(RunResult, directory / RunResult.FILE, verify=verify)
    plan = read_artifact(RankPlan, directory / RankPlan.FILE, verify=verify)
    if not result.results or any(found.reported not in found.metrics for found in result.results):
        raise GeloraError(f"{directory / RunResult.FILE} is not a whole RunResult: it lacks the reported metric.")
    config = read_config(directory / run_files.CONFIG)
    return Run(directory, config, manifest, result, plan, _settings(config, manifest))


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings as `a.b.c` to text."""
    found: dict[str, str] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": str(value)}
    return found


def _paths(directories: Sequence[Path]) -> list[Path]:
    """Return the run directories, each once, in the order of their paths, however the directories were given."""
    found = {path.resolve(): path for directory in directories for path in find_runs(directory)}
    return [found[place] for place in sorted(found)]


def _settings(config: RunConfig, manifest: RunManifest) -> Settings:
    """What can change a number, as key and text, without what a row says anyway; data by eight digits of its print.

    `numerics` is that of the run, so that runs of another arithmetic are rows of their own.

    What the model started from counts by its own settings without the seed, so that a chain of runs over seeds is one
    row; where it can't be read any more, by its hash.
    """
    values = flat(identity_values(replace(config, precision=manifest.precision)) | {"numerics": manifest.numerics})
    prints = {name: digest[:8] for name, digest in manifest.fingerprints.items()}
    values |= {f"data.{name}": digest for name, digest in prints.items() if name not in ("model", "plan", "plugins")}
    if config.init_from:
        values |= _start_settings(Path(config.init_from))
    elif "model" in prints:
        values["weights"] = prints["model"]
    if "plan" in prints:
        values["ranks.plan"] = prints["plan"]
    if "plugins" in prints:
        values["plugins"] = prints["plugins"]
    said = ("seed", "budget", "method.name", "protocol")
    return tuple(sorted((key, value) for key, value in values.items() if key not in said))


def _start_settings(start: Path) -> dict[str, str]:
    name = "/".join(start.parts[-4:])
    try:
        config = read_config(start / run_files.CONFIG)
        found = dict(_settings(config, read_artifact(RunManifest, start / RunManifest.FILE)))
    except GeloraError:
        return {"init_from": name}
    found["protocol"] = config.protocol
    return {"init_from": SEED_AND_HASH.sub("", name), **{f"init_from.{key}": value for key, value in found.items()}}


def _model_name(config: RunConfig) -> str:
    """The model and the tasks that it was tuned on before, as results name it: `minilm+sst2`."""
    if config.init_from is None:
        return config.model.name
    earlier = read_config(Path(config.init_from) / run_files.CONFIG)
    return f"{_model_name(earlier)}+{earlier.task.name}"


def _asked_cell(directory: Path) -> Cell | None:
    """The row that an unfinished run is of; None where its configuration or manifest can't be read."""
    try:
        config = read_config(directory / run_files.CONFIG)
        settings = _settings(config, read_artifact(RunManifest, directory / RunManifest.FILE))
        model = _model_name(config)
        method = config.method.name
        is_exempt = method in METHODS and METHODS.get(method).exempt
        budget = EXEMPT_BUDGET if is_exempt else parse_budget(config.budget).name
    except Exception:  # as in `_examine`
        return None
    return (config.task.name, model, budget, config.protocol, settings, method)
