"""The page of a report: one HTML file that needs nothing beside it; no torch."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gelora_cli.plots.base import Picture
from gelora_cli.report.compared import RowGroup, shown_name
from gelora_cli.report.rows import Row
from gelora_cli.report.runs import Unused
from gelora_cli.report.tables import COLUMNS, NONE, Table, metric_tables, number, result_tables

if TYPE_CHECKING:
    from gelora_cli.report.significance import Comparison

TEMPLATE = "report.html.j2"
REFERENCE = "lora"
HEADING_COLUMNS = ("task", "model", "metric")


@dataclass(frozen=True)
class Shown:
    """All that a report shows."""

    title: str
    rows: tuple[Row, ...]
    groups: tuple[RowGroup, ...]
    unused: tuple[Unused, ...]
    comparisons: tuple[Comparison, ...]
    problems: tuple[str, ...]
    pictures: tuple[Picture, ...]
    published: Table | None


def page(shown: Shown, drawn: Mapping[str, bytes]) -> str:
    """The HTML text; `drawn` are the pictures as SVG by name, put into it."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template(TEMPLATE).render(
        title=shown.title,
        summary=list(summary(shown)),
        sections=list(_sections(shown.rows)),
        metrics=list(metric_tables(shown.rows)),
        comparisons=list(comparison_tables(shown.groups, shown.comparisons)),
        problems=shown.problems,
        pictures=[(picture, _data_uri(drawn[picture.name])) for picture in shown.pictures],
        published=shown.published,
        unused=shown.unused,
        runs=[run for row in shown.rows for run in row.every_run],
    )


def summary(shown: Shown) -> Iterator[str]:
    """What was compared, and of each group the best row and whether it is shown to differ from uniform LoRA."""
    runs = [run for row in shown.rows for run in row.every_run]
    merged = sum(len(row.merged) for row in shown.rows)
    seeds = sorted({run.result.seed for run in runs})
    methods = list(dict.fromkeys(run.result.method for run in runs))
    tasks = list(dict.fromkeys(row.task for row in shown.rows))
    yield (
        f"{_many(len(runs), 'finished run')}: {_many(len(methods), 'method')} ({', '.join(methods)}), "
        f"{_many(len(tasks), 'task')} ({', '.join(tasks)}), {_many(len(seeds), 'seed')} ({', '.join(map(str, seeds))})."
    )
    if merged:
        yield f"{_many(merged, 'run')} of controls with GeLoRA's plan and seeds: named in its row, not used twice."
    if shown.unused:
        yield f"{_many(len(shown.unused), 'run')} beside them gave no number; they are listed at the end."
    if smoke := sum(len(row.every_run) for row in shown.rows if row.smoke):
        yield f"{_many(smoke, 'run')} with smoke=true: short trials on few rows in rows of their own, not results."
    if collapsed := sum(row.collapsed for row in shown.rows):
        yield f"{_many(collapsed, 'run')} collapsed: in every mean and test, with the mean without them beside."
    for group in shown.groups:
        yield _best_line(group, shown.comparisons)


def _many(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def _best_line(group: RowGroup, comparisons: Sequence[Comparison]) -> str:
    """The best mean under the budget, of every row that has it, and what is known of its difference to uniform LoRA."""
    rows = [row for row in group.rows if not row.exempt] or list(group.rows)
    highest = max(row.mean for row in rows)
    best = [row for row in rows if math.isclose(row.mean, highest, rel_tol=1e-12)]
    names, most = _listed([row.name for row in best]), max(len(row.runs) for row in rows)
    have = "has" if len(best) == 1 else "have"
    lead = f"{names} is the only row" if len(rows) == 1 else f"of {len(rows)} rows {names} {have} the highest mean"
    optimistic = " (optimistic)" if best[0].protocol == "dev" else ""
    spreads = "; ".join(dict.fromkeys(_spread(row, most) for row in best))
    head = f"{group.name}{optimistic}: {lead}, {best[0].metric} {number(highest, best[0].digits)} ({spreads})."
    return f"{head} {_against_reference(best, group, comparisons)}".rstrip()


def _listed(names: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _spread(row: Row, most: int) -> str:
    """Its sd and seeds, and how many other rows have where they have more."""
    count = len(row.runs)
    seeds = _many(count, "seed") + (f", others up to {most}" if count < most else "")
    return seeds if row.sd is None else f"sd {number(row.sd, row.digits)}, {seeds}"


def _against_reference(best: Sequence[Row], group: RowGroup, comparisons: Sequence[Comparison]) -> str:
    reference = max((row for row in group.rows if is_reference(row)), key=lambda row: row.mean, default=None)
    if best[0].exempt:
        return ""
    if reference is None:
        return "There is no uniform LoRA to compare it with."
    if reference in best:
        return "That is uniform LoRA." if len(best) == 1 else "Uniform LoRA is one of them."
    verdicts = []
    for row in best:
        names = {shown_name(row), shown_name(reference)}
        pairs = [pair for pair in comparisons if pair.group == group.name and {pair.first, pair.second} == names]
        verdicts.append(pairs[0].verdict if pairs else "not compared")
    return f"Uniform LoRA has {number(reference.mean, reference.digits)}: {'; '.join(dict.fromkeys(verdicts))}."


def is_reference(row: Row) -> bool:
    """Whether a row is uniform LoRA, alone or because GeLoRA's plan is the same."""
    return REFERENCE in row.name.split(" (")[0].split(" = ")


@dataclass(frozen=True)
class Section:
    """The tables of one protocol, one for each task and model."""

    protocol: str
    caption: str
    tables: tuple[Table, ...]


def _sections(rows: Sequence[Row]) -> Iterator[Section]:
    for table in result_tables(rows):
        members = [row for row in rows if row.protocol == table.protocol]
        yield Section(table.protocol, table.caption, tuple(_task_tables(members)))


def _task_tables(rows: Sequence[Row]) -> Iterator[Table]:
    """Without the columns that the heading says."""
    columns = [column for column in COLUMNS if column.title not in HEADING_COLUMNS]
    for task, model, metric in dict.fromkeys((row.task, row.model, row.metric) for row in rows):
        members = [row for row in rows if (row.task, row.model, row.metric) == (task, model, metric)]
        (table,) = result_tables(members, columns)
        yield replace(table, caption=f"{task}, {model}: {metric}")


TITLES = ("first", "second", "in words", "difference", "95 % interval", "effect size", "p", "p, corrected", "seeds")


def comparison_tables(groups: Sequence[RowGroup], comparisons: Sequence[Comparison]) -> Iterator[Table]:
    """A table per group, pairs with uniform LoRA first; its caption says what the tests draw."""
    for group in groups:
        references = {shown_name(row) for row in group.rows if is_reference(row)}
        pairs = [pair for pair in comparisons if pair.group == group.name]
        pairs.sort(key=lambda pair: not references & {pair.first, pair.second})
        if pairs:
            lines = tuple(_comparison_line(pair, group.rows[0].digits) for pair in pairs)
            caption = f"{group.name}: {pairs[0].metric}; {pairs[0].drawn}"
            yield Table(caption, (*TITLES, "collapsed"), lines)


def _comparison_line(pair: Comparison, digits: int) -> tuple[str, ...]:
    interval = NONE if pair.low is None else f"{number(pair.low, digits)} to {number(pair.high, digits)}"
    return (
        pair.first,
        pair.second,
        pair.verdict,
        f"{pair.difference:+.{digits}f}",
        interval,
        number(pair.effect_size, 2) or NONE,
        number(pair.p, 3) or NONE,
        number(pair.p_corrected, 3) or NONE,
        str(pair.seeds),
        f"{pair.collapsed_first}, {pair.collapsed_second}" if pair.collapsed_first + pair.collapsed_second else NONE,
    )


def _data_uri(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
