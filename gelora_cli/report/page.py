"""Step 6 of a comparison: the page, one HTML file that needs nothing beside it; no torch."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gelora_cli.report.content import ReportContent, summary
from gelora_cli.report.rows import Row
from gelora_cli.report.tables import Table, comparison_tables, metric_tables, result_caption, task_tables

TEMPLATE = "report.html.j2"


@dataclass(frozen=True)
class Section:
    """The tables of one protocol, one for each task and model."""

    protocol: str
    caption: str
    tables: tuple[Table, ...]


def page(content: ReportContent, drawn: Mapping[str, bytes]) -> str:
    """Return the HTML text; `drawn` are the pictures as SVG by name, put into it."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template(TEMPLATE).render(
        title=content.title,
        summary=list(summary(content)),
        sections=list(_sections(content.rows)),
        metrics=list(metric_tables(content.rows)),
        comparisons=list(comparison_tables(content.groups, content.comparisons)),
        problems=content.problems,
        pictures=[(picture, _data_uri(drawn[picture.name])) for picture in content.pictures],
        published=content.published,
        unused=content.unused,
        runs=[run for row in content.rows for run in row.all_runs],
    )


def _sections(rows: Sequence[Row]) -> Iterator[Section]:
    for protocol in sorted({row.protocol for row in rows}):
        members = [row for row in rows if row.protocol == protocol]
        yield Section(protocol, result_caption(members), tuple(task_tables(members)))


def _data_uri(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
