"""Metrics as lines of JSON in the run directory: the tracker that is always there."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gelora_cli.config.schema import TrackerConfig
from gelora_cli.core import run_files
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import append_line
from gelora_cli.core.messages import quote
from gelora_cli.core.registries import TRACKERS
from gelora_cli.core.run_reader import RunFiles
from gelora_cli.trackers.base import Tracker, TrackerKind

MOST_LOGGED = sys.float_info.max
"""The largest number that can be drawn."""


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
    """Return the lines of a `metrics.jsonl`; none where there is no such file.

    Raises:
        GeloraError: a line is none that a training logs.
    """
    if not path.exists():
        return []
    return _parse_lines(path.read_text(encoding="utf-8"), path)


def metric_lines_of(files: RunFiles) -> list[dict[str, Any]]:
    """Return the lines of a run's `metrics.jsonl`; none where it has no such file.

    Raises:
        GeloraError: a line is none that a training logs.
    """
    if not files.has(run_files.METRICS):
        return []
    return _parse_lines(files.text(run_files.METRICS, "metrics"), files.place / run_files.METRICS)


def _parse_lines(text: str, path: Path) -> list[dict[str, Any]]:
    lines = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            lines.append(_checked(json.loads(line)))
        except (ValueError, RecursionError) as error:
            reason = f"{path} is damaged: line {number}: {str(error)[:200]}"
            raise GeloraError(f"{reason}. Restore it, or do the run again with force=true.") from error
    return lines


def _checked(values: object) -> dict[str, Any]:
    """Return the values of a line in which everything that pictures draw is a number.

    Raises:
        ValueError: it is no object with a step, or something else stands where a training logs a number.
    """
    if not isinstance(values, dict) or "step" not in values:
        raise ValueError(f"{quote(values)} given, an object with a step expected")
    ranks = values.get("ranks", [])
    # A line with a split is an evaluation, whose other values are numbers whatever the metrics are called.
    drawn = {"step", "loss", "adapter_params"} | (values.keys() - {"split"} if "split" in values else set())
    numbers = {name: value for name, value in values.items() if name in drawn}
    numbers |= {f"ranks[{block}]": rank for block, rank in enumerate(ranks if isinstance(ranks, list) else [ranks])}
    for name, value in numbers.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)  # True is an int for Python
        if not is_number or not abs(value) <= MOST_LOGGED:
            raise ValueError(f"{name}: {quote(value)} given, a finite number expected")
    return values
