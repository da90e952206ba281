"""`gelora ls`: runs below a directory as a table; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from gelora_cli import rundir
from gelora_cli.artifacts import GeloraError, RunManifest, RunResult, read_artifact

HEADER = ("status", "value", "metric", "age", "run")


def list_runs(directory: Path) -> str:
    """A row per run: status, reported value, its metric, age, path below `directory`."""
    rows = [_row(path, directory) for path in rundir.find_runs(directory)]
    if not rows:
        return f"no runs in {directory}"
    return aligned(HEADER, rows)


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, two blanks apart."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (header, *rows)]
    return "\n".join(line.rstrip() for line in lines)


def _row(path: Path, directory: Path) -> tuple[str, ...]:
    name = str(path.relative_to(directory))
    try:
        status = rundir.status(path)
        manifest = read_artifact(RunManifest, path / RunManifest.FILE)
        if status != "done":
            return (status, "-", "-", _age(manifest.updated), name)
        result = read_artifact(RunResult, path / RunResult.FILE)
    except GeloraError as error:
        return ("damaged", "-", "-", "-", f"{name}: {error}")
    flag = " collapsed" if result.collapsed else ""
    return (status + flag, f"{result.value:.4f}", result.reported, _age(manifest.updated), name)


def _age(text: str) -> str:
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
