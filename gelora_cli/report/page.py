"""Step 6 of a comparison: the page, one HTML file that needs nothing beside it; no torch."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gelora_cli.report.content import ReportContent, summary
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

    analysis = content.analysis
    sections = []
    for protocol in sorted({row.protocol for row in analysis.rows}):
        members = [row for row in analysis.rows if row.protocol == protocol]
        sections.append(Section(protocol, result_caption(members), tuple(task_tables(members))))
    pictures = []
    for picture in content.pictures:
        base64_text = base64.b64encode(drawn[picture.name]).decode()
        pictures.append((picture, f"data:image/svg+xml;base64,{base64_text}"))
    loader = FileSystemLoader(Path(__file__).parent)
    # Escaped, since names of runs, labels and messages may hold any text, HTML included.
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template(TEMPLATE).render(
        title=content.title,
        summary=list(summary(content)),
        sections=sections,
        metrics=list(metric_tables(analysis.rows)),
        comparisons=list(comparison_tables(analysis.groups, analysis.comparisons)),
        problems=analysis.problems,
        pictures=pictures,
        published=content.published,
        unused=content.unused,
        runs=[run for row in analysis.rows for run in row.all_runs],
    )
