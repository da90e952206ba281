"""Step 6 of a comparison: the page, one HTML file that needs nothing beside it; no torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gelora_cli.core.messages import escape_controls
from gelora_cli.plots.inline import palette, share_styles
from gelora_cli.plots.style import has_title
from gelora_cli.report.content import ReportContent, summary
from gelora_cli.report.headline import headline
from gelora_cli.report.page_tables import (
    TaggedTable,
    filters_of,
    tagged_answers,
    tagged_boards,
    tagged_comparisons,
    tagged_metrics,
    tagged_results,
)
from gelora_cli.report.rows import Row
from gelora_cli.report.tables import result_caption

if TYPE_CHECKING:
    from markupsafe import Markup

TEMPLATE = "report.html.j2"
PARTS = re.compile(r"[^._/=,]*[._/=,]+|[^._/=,]+")
"""Parts of a name, each with the signs that end it."""
MOST_GROUPS = 4
"""Groups whose best rows the summary names; of more it names them in a fold."""


@dataclass(frozen=True)
class Section:
    """The tables of one protocol, one for each task and model."""

    protocol: str
    caption: str
    tables: tuple[TaggedTable, ...]


def page(content: ReportContent, drawn: Mapping[str, str]) -> str:
    """Return the HTML text; `drawn` are the pictures as `<svg>` elements by name, put into it.

    Control characters, which names may hold, are shown by their numbers.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    rows, comparisons = content.analysis.rows, content.analysis.comparisons
    lines, count = list(summary(content)), len(content.analysis.groups)  # the last lines are of groups, one each
    pictures = sorted(content.pictures, key=lambda picture: bool(picture.task))  # those over several tasks come first
    styles, svgs = share_styles(drawn)
    loader = FileSystemLoader(Path(__file__).parent)
    # Escaped, since names of runs, labels and messages may hold any text, HTML included.
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["breakable"] = breakable
    text = environment.get_template(TEMPLATE).render(
        title=content.title,
        palette=palette(),
        dark_palette=palette(dark=True),
        picture_styles=Markup(styles),
        headline=headline(content.analysis),
        summary=lines[:-count],
        groups=lines[-count:],
        is_folded=count > MOST_GROUPS or bool(content.analysis.leaderboards),
        filters=filters_of(rows),
        boards=list(tagged_boards(content.analysis.leaderboards)),
        answers=list(tagged_answers(content.analysis)),
        sections=list(_sections(rows)),
        metrics=list(tagged_metrics(rows)),
        comparisons=list(tagged_comparisons(content.analysis.groups, comparisons)),
        problems=content.analysis.problems,
        # An SVG of our own making is the only text that is not escaped; its labels are, by its writer.
        # A heading above a picture that has its title inside is for screen readers and outlines alone.
        pictures=[(picture, Markup(svgs[picture.name]), has_title(picture.figure)) for picture in pictures],
        published=TaggedTable(content.published) if content.published else None,
        unused=content.unused,
        runs=[run for row in rows for run in row.all_runs],
    )
    return escape_controls(text)


def breakable(text: str) -> Markup:
    """Return a name as HTML in which a line may end where a part of a key or path does, and not within a word."""
    from markupsafe import Markup, escape

    return Markup("<wbr>").join(map(escape, PARTS.findall(text)))


def _sections(rows: Sequence[Row]) -> Iterator[Section]:
    for protocol in sorted({row.protocol for row in rows}):
        members = [row for row in rows if row.protocol == protocol]
        yield Section(protocol, result_caption(members), tuple(tagged_results(members)))
