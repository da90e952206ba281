"""Published figures beside ours: read from a CSV, shown apart, never mixed into ours; no torch."""

from __future__ import annotations

import contextlib
import csv
import math
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
REQUIRED = ("task", "method", "metric", "value", "source")

TITLES = (
    "task",
    "model",
    "method",
    "modules",
    "budget",
    "parameters",
    "metric",
    "published",
    "seeds",
    "protocol",
    "ours",
    "our row",
    "gap",
    "source",
)
CAPTION = (
    "Published figures: not ours, and under other protocols. Ours is the row of the same task, method and metric (and "
    "model, modules and budget, where the source names them; adapters stand beside any budget if need be); the gap is "
    "ours minus the published value."
)


@dataclass(frozen=True)
class PublishedFigure:
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


def read_published(path: Path) -> list[PublishedFigure]:
    """Read the lines of a CSV with the columns `FIELDS`.

    Raises:
        GeloraError: it can't be read, has other columns, or lines without one of `REQUIRED` or with a value that is no
            finite number; all of them at once.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets write a byte order mark
            reader = csv.DictReader(file)
            lines, columns = list(reader), reader.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise GeloraError(
            f"published={path} can't be read: {reason}; accepted: a CSV in UTF-8 with the columns {', '.join(FIELDS)}. "
            "Give one that exists, or leave published= out."
        ) from error
    if set(columns) != set(FIELDS):
        raise GeloraError(f"published={path}: columns {', '.join(columns)} given, accepted: {', '.join(FIELDS)}")
    problems = []
    for number, line in enumerate(lines, start=2):  # the header is line 1
        problem = _find_problem(line)
        if problem:
            problems.append(f"line {number}: {problem}")
    if problems:
        raise GeloraError(f"published={path}: " + "; ".join(problems))
    figures = []
    for line in lines:
        texts = {name: line[name] for name in FIELDS if name != "value"}
        figures.append(PublishedFigure(**texts, value=float(line["value"])))
    return figures


def _find_problem(line: dict[str, str | None]) -> str:
    """Return what is wrong with a line; empty where nothing is."""
    if None in line or None in line.values():  # so csv gives lines of too many or too few fields
        return f"{len(FIELDS)} fields are needed (a comma inside one needs quotes)"
    missing = [name for name in REQUIRED if not line[name]]
    if missing:
        return f"{', '.join(missing)} is empty"
    try:
        is_finite = math.isfinite(float(line["value"] or ""))
    except ValueError:
        is_finite = False
    return "" if is_finite else f"value {line['value']} is no finite number"


def published_table(figures: Sequence[PublishedFigure], rows: Sequence[Row]) -> Table | None:
    """Return the figures on tasks that we have rows of, each with our matching rows and the gap, ours minus theirs.

    A row matches in task, method and metric, and in model, modules and budget where the figure names them. Bottleneck
    adapters, whose published sizes are no budget of ours, match in any budget where there is none of the same. A smoke
    trial matches nothing, nor does a value on held-out training rows.
    """
    tasks = {row.task for row in rows}
    lines: list[tuple[str, ...]] = []
    for figure in figures:
        if figure.task in tasks:
            matching = _matching_rows(figure, rows)
            lines += [_line(figure, row) for row in matching] or [_line(figure, None)]
    return Table(CAPTION, TITLES, tuple(lines)) if lines else None


def _matching_rows(figure: PublishedFigure, rows: Sequence[Row]) -> list[Row]:
    """Return the rows of the figure's budget, or of any budget for methods whose sizes are no budgets of ours."""
    matching = [row for row in rows if _matches(figure, row)]
    budget = figure.budget
    with contextlib.suppress(GeloraError):  # a text such as `exempt` is no budget, and is compared as it is
        budget = parse_budget(figure.budget).name
    same_budget = [row for row in matching if row.budget == budget]
    matches_any_budget = not figure.budget or (figure.method in METHODS and METHODS.get(figure.method).has_own_sizes)
    if same_budget or not matches_any_budget:
        return same_budget
    return matching


def _matches(figure: PublishedFigure, row: Row) -> bool:
    """Return whether a row is what a figure is of, whatever their budgets."""
    modules = row.runs[0].config.method.modules
    return (
        not row.smoke
        and not row.on_holdout
        and (figure.task, figure.method) == (row.task, row.method)
        and figure.metric in row.metrics
        and figure.model in ("", row.model)
        and figure.modules in ("", modules)
    )


def _line(figure: PublishedFigure, row: Row | None) -> tuple[str, ...]:
    """Return the cells of a figure beside a row of ours, in the order of `TITLES`."""
    digits = 2 if figure.value > 1 else 4  # percentages and fractions
    ours, name, gap = NONE, NONE, NONE
    if row is not None:
        value = mean(row.metrics[figure.metric])
        ours = f"{value:.{digits}f}"
        gap = f"{value - figure.value:+.{digits}f}"
        name = f"{row.name}, budget {row.budget}, protocol {row.protocol}"
    cells = (
        figure.task,
        figure.model,
        figure.method,
        figure.modules,
        figure.budget,
        figure.params,
        figure.metric,
        f"{figure.value:.{digits}f}",
        figure.seeds,
        figure.protocol,
        ours,
        name,
        gap,
        figure.source,
    )
    return tuple(cell or NONE for cell in cells)
