"""Metrics as lines of JSON in the run directory: the tracker that is always there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gelora_cli.config.schema import TrackerConfig
from gelora_cli.core import run_files
from gelora_cli.core.files import append_line
from gelora_cli.core.registries import TRACKERS
from gelora_cli.core.run_reader import RunFiles
from gelora_cli.trackers.base import Tracker, TrackerKind


class JsonLinesTracker(Tracker):
    """Appends each line to a file, so that a killed run keeps what it wrote."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def log(self, values: Mapping[str, Any]) -> None:
        """Append one line."""
        append_line(self.path, dict(values))


@TRACKERS.register
class JsonLines(TrackerKind[TrackerConfig]):
    """`metrics.jsonl`, which reports, pictures and resumed trainings read."""

    name = "json_lines"

    def open(self, directory: Path, settings: TrackerConfig) -> Tracker:
        """Return the tracker that writes `metrics.jsonl`."""
        return JsonLinesTracker(directory / run_files.METRICS)


def read_metric_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a `metrics.jsonl`; none where there is no such file."""
    if not path.exists():
        return []
    return _parse_lines(path.read_text(encoding="utf-8"))


def metric_lines_of(files: RunFiles) -> list[dict[str, Any]]:
    """Return the lines of a run's `metrics.jsonl`; none where it has no such file."""
    return _parse_lines(files.text(run_files.METRICS, "metrics")) if files.has(run_files.METRICS) else []


def _parse_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]
