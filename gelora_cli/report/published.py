"""Published figures beside ours: read from a CSV, shown apart, never mixed into ours; no torch."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from gelora_cli.core.budget import parse_budget
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import METHODS
from gelora_cli.report.rows import Row
from gelora_cli.report.tables import NONE, Table

FIELDS = ("task", "model", "method", "modules", "budget", "params", "metric", "value", "seeds", "protocol", "source")
NEEDED = ("task", "method", "metric", "value", "source")


@dataclass(frozen=True)
class Published:
    """One published value, in the units of our metric; what the source does not say is empty."""

    task: str
    model: str
    method: str
    modules: str
    budget: str
    params: str
    metric: str
    value: float
    seeds: str
    protocol: str
    source: str


def read_published(path: Path) -> list[Published]:
    """The lines of a CSV with the columns `FIELDS`.

    Raises:
        GeloraError: it can't be read, has other columns, or lines without one of `NEEDED` or with no number as value;
            all of them at once.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            lines, columns = list(reader), reader.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise GeloraError(
            f"published={path} can't be read: {reason}; accepted: a CSV in UTF-8 with the columns {', '.join(FIELDS)}. "
            "Give one that is there, or leave published= out."
        ) from error
    if set(columns) != set(FIELDS):
        raise GeloraError(f"published={path}: columns {', '.join(columns)} given, accepted: {', '.join(FIELDS)}")
    problems = [f"line {place}: {problem}" for place, line in enumerate(lines, 2) if (problem := _problem(line))]
    if problems:
        raise GeloraError(f"published={path}: " + "; ".join(problems))
    return [
        Published(**{name: line[name] for name in FIELDS if name != "value"}, value=float(line["value"]))
        for line in lines
    ]


def _problem(line: dict[str, str | None]) -> str | None:
    if None in line or None in line.values():
        return f"{len(FIELDS)} fields are needed (a comma inside one needs quotes)"
    missing = [name for name in NEEDED if not line[name]]
    if missing:
        return f"{', '.join(missing)} is empty"
    try:
        float(line["value"] or "")
    except ValueError:
        return f"value {line['value']} is no number"
    return None


def published_table(figures: Sequence[Published], rows: Sequence[Row]) -> Table | None:
    """The figures on tasks that we have rows of, each with our matching rows and the gap, ours minus theirs.

    A row matches in task, method and metric, and in model, modules and budget where the figure names them; bottleneck
    adapters, whose published sizes are no budget of ours, in any budget where there is none of the same. A smoke trial
    matches nothing.
    """
    tasks = {row.task for row in rows}
    kept = [figure for figure in figures if figure.task in tasks]
    lines = [line for figure in kept for line in _lines(figure, _matching(figure, rows))]
    titles = ("task", "model", "method", "modules", "budget", "parameters", "metric", "published", "seeds", "protocol")
    caption = (
        "Published figures: not ours, and under other protocols. Ours is the row of the same task, method and metric "
        "(and model, modules and budget, where the source names them; adapters stand beside any budget if need be); "
        "the gap is ours minus the published value."
    )
    ends = ("ours", "our row", "gap", "source")
    return Table(caption, (*titles, *ends), tuple(lines)) if kept else None


def _matching(figure: Published, rows: Sequence[Row]) -> list[Row]:
    found = [row for row in rows if _matches(figure, row)]
    same = [row for row in found if row.budget == _budget_name(figure.budget)]
    beside_any = not figure.budget or (figure.method in METHODS and METHODS.get(figure.method).has_own_sizes)
    return same or (found if beside_any else [])


def _matches(figure: Published, row: Row) -> bool:
    modules = row.runs[0].config.method.modules
    return (
        not row.smoke
        and (figure.task, figure.method) == (row.task, row.method)
        and figure.metric in row.metrics
        and figure.model in ("", row.model)
        and figure.modules in ("", modules)
    )


def _budget_name(text: str) -> str:
    try:
        return parse_budget(text).name
    except GeloraError:
        return text


def _lines(figure: Published, rows: Sequence[Row]) -> list[tuple[str, ...]]:
    return [_line(figure, row) for row in rows] or [_line(figure, None)]


def _line(figure: Published, row: Row | None) -> tuple[str, ...]:
    digits = 2 if figure.value > 1 else 4
    theirs = [figure.task, figure.model, figure.method, figure.modules, figure.budget, figure.params, figure.metric]
    ours, name, gap = NONE, NONE, NONE
    if row is not None:
        value = mean(row.metrics[figure.metric])
        ours, gap = f"{value:.{digits}f}", f"{value - figure.value:+.{digits}f}"
        name = f"{row.name}, budget {row.budget}, protocol {row.protocol}"
    cells = [*theirs, f"{figure.value:.{digits}f}", figure.seeds, figure.protocol, ours, name, gap, figure.source]
    return tuple(cell or NONE for cell in cells)
