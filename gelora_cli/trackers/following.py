"""One tracker that follows a run directory: it is given what the directory has and it was not given before.

A resumed training takes the steps after its checkpoint again and writes their lines again, with the same values. So the
last step of each series is kept in the run directory, and no step is given twice.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from gelora_cli.config.schema import RunConfig
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.codec import read_artifact, to_json
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import file_sha256, write_atomic
from gelora_cli.core.messages import quote
from gelora_cli.core.plugins import describe_error
from gelora_cli.trackers.base import DONE, TrackedRun, Tracker, TrackerKind

NOT_IN_PARAMETERS = ("tracker", "trackers", "keys_given")
"""Keys of the configuration that say nothing of the run itself."""


@dataclass(frozen=True)
class Given:
    """What a tracker was given of a run, in a file of the run directory.

    Attributes:
        id: names the run in the tracker.
        steps: the last step of each series of lines: `loss`, `track`, or the name of a split.
        pictures: the sha256 of each picture, by the name of its file.
    """

    id: str
    steps: dict[str, int] = field(default_factory=dict)
    pictures: dict[str, str] = field(default_factory=dict)


class Follower:
    """Gives a tracker what a run directory has, until it fails.

    Args:
        directory: the run directory.
        kind: the tracker.
        config: the configuration of the run, with the settings of the tracker.
        report: takes `(level, text)` for the log of the run: `info` or `warning`.
    """

    def __init__(
        self, directory: Path, kind: TrackerKind[Any], config: RunConfig, report: Callable[[str, str], None]
    ) -> None:
        self.directory, self.kind, self.config, self.report = directory, kind, config, report
        self.state_file = directory / run_files.TRACKER_STATE.format(name=kind.name)
        self.tracker: Tracker | None = None
        self.failed = False
        # Of the system's generator, which has no seed.
        self.given = Given(id=f"{config.method.name}-{directory.name}-{secrets.token_hex(3)}")
        self._read_bytes = 0  # of metrics.jsonl

    def start(self) -> None:
        """Open the tracker, and tell it which run it is."""
        with self._guarded("is left out"):
            resumed = self.state_file.exists()
            if resumed:
                self.given = read_artifact(Given, self.state_file)
            else:
                self._remember(self.given)
            tracker = self.kind.open(self.directory, self.config.tracker[self.kind.name])
            for method in ("log", "close"):
                if not callable(getattr(tracker, method, None)):
                    raise GeloraError(f"open() returned {quote(tracker)}, which has no {method}(); add it")
            self.tracker = tracker
            where = self._call("start", tracked_run(self.directory, self.config, self.given.id, resumed=resumed))
            if where:
                self.report("info", f"tracker {self.kind.name}: {where}")
            self._give_pictures()  # before any line: these belong to step 0

    def update(self) -> None:
        """Give the tracker the lines and pictures that are new."""
        if self.tracker is None or self.failed:
            return
        with self._guarded("gets no further lines"):
            for line in self._new_lines():
                self.tracker.log(line)
            self._give_pictures()

    def end(self, state: str) -> None:
        """Give the tracker the last lines and how the run ended, and close it, also one that failed."""
        self.update()
        if self.tracker is None:
            return
        with self._guarded("may lack its last lines"):
            if not self.failed:
                self._call("end", state, final_values(self.directory) if state == DONE else {})
            self.tracker.close()

    def _give_pictures(self) -> None:
        """Give the tracker the pictures that are new or were drawn again."""
        for path in sorted(self.directory.glob("*.png")):
            digest = file_sha256(path)
            if self.given.pictures.get(path.name) != digest:
                self._remember(replace(self.given, pictures=self.given.pictures | {path.name: digest}))
                self._call("picture", path)

    def _new_lines(self) -> Iterator[dict[str, Any]]:
        """Yield the lines that are new in the file and whose step is new in their series."""
        path = self.directory / run_files.METRICS
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._read_bytes)
            whole_lines = file.read().rpartition(b"\n")[0]
        if not whole_lines:
            return
        self._read_bytes += len(whole_lines) + 1
        lines, steps = [], dict(self.given.steps)
        for line in map(json.loads, whole_lines.splitlines()):
            series = "track" if "track" in line else line.get("split", "loss")
            if line["step"] > steps.get(series, -1):
                steps[series] = line["step"]
                lines.append(line)
        # Before they are given: a process that is killed in between loses lines in the tracker and doubles none.
        self._remember(replace(self.given, steps=steps))
        yield from lines

    def _remember(self, given: Given) -> None:
        self.given = given
        write_atomic(self.state_file, to_json(given))

    def _call(self, hook: str, *arguments: Any) -> Any:
        """Call a hook of the tracker; one that is no subclass of `Tracker` may lack it."""
        method = getattr(self.tracker, hook, None)
        return None if method is None else method(*arguments)

    @contextlib.contextmanager
    def _guarded(self, consequence: str) -> Iterator[None]:
        """Turn any failure of the tracker into a warning; it is given nothing more."""
        try:
            yield
        except (Exception, SystemExit) as error:
            self.failed = True
            described = str(error) if isinstance(error, GeloraError) else describe_error(error)
            text = (
                f"tracker {self.kind.name} {consequence}: {described.rstrip('.')}. {run_files.METRICS} has every line"
            )
            self.report("warning", text)


def tracked_run(directory: Path, config: RunConfig, run_id: str, *, resumed: bool) -> TrackedRun:
    """Return what a tracker is told of the run in a directory: its names, its configuration and its plan."""
    parts = directory.parts[-4:]  # task, model, method, and what `core.run_files.run_path` names the run
    values = asdict(config)
    for name in NOT_IN_PARAMETERS:
        values.pop(name)
    parameters = dict(_dotted(values, ""))
    if (directory / RankPlan.FILE).exists():
        plan = read_artifact(RankPlan, directory / RankPlan.FILE)
        parameters |= {
            "plan.ranks": list(plan.ranks),
            "plan.budget": plan.budget,
            "plan.budget_params": plan.budget_params,
            "plan.adapter_params": plan.adapter_params,
            "plan.head_params": plan.head_params,
        }
    return TrackedRun(
        directory=directory,
        id=re.sub(r"[^A-Za-z0-9_.-]+", "-", run_id),  # what every tracker accepts
        name="/".join(parts),
        group="/".join(parts[:2]),
        resumed=resumed,
        parameters=parameters | {"run_directory": str(directory)},
    )


def final_values(directory: Path) -> dict[str, float]:
    """Return the final values of a run by name, `final/value` among them; empty without a `result.json`."""
    if not (directory / RunResult.FILE).exists():
        return {}
    result = read_artifact(RunResult, directory / RunResult.FILE)
    values = {"value": result.value, "adapter_params": result.adapter_params, "train_seconds": result.train_seconds}
    for row in result.results:
        values |= {f"{row.split}/{name}": value for name, value in row.metrics.items()}
    return {f"final/{name}": float(value) for name, value in values.items()}


def _dotted(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield every value of nested mappings by its dotted name."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
