"""Lines of metrics as two runs are compared by them: without what a clock says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gelora_cli.core import run_files

TIMINGS = ("seconds", "examples_per_second")


def without_times(directory: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics of a run without their times."""
    lines = []
    for text in (directory / run_files.METRICS).read_text().splitlines():
        line = json.loads(text)
        lines.append({name: value for name, value in line.items() if name not in TIMINGS})
    return lines


def losses_of(directory: Path) -> list[float]:
    """Return the training losses that a run has logged."""
    return [line["loss"] for line in without_times(directory) if "loss" in line]
