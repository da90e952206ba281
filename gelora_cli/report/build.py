"""`gelora report`: many runs to one folder with a page, tables and pictures; no torch.

The steps, each with one entry point: `collect` reads the runs, `analyse` compares them (`make_rows` groups them over
their seeds, `group_rows` says which rows may be compared, `compare_groups` tests their differences), `tables` and
`formats` write them down, and `page` shows all of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gelora_cli.archive.reading import archive_of
from gelora_cli.core.directories import create_directory, remove_partial_writes
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import read_text, write_atomic
from gelora_cli.core.messages import escape_markdown
from gelora_cli.plots.base import report_pictures
from gelora_cli.plots.style import titles
from gelora_cli.report.analysis import EVERY_PAIR, PairTests, analyse
from gelora_cli.report.answer_tables import answer_tables
from gelora_cli.report.board_tables import DEFAULT_COLUMNS, board_tables
from gelora_cli.report.content import ReportContent, summary
from gelora_cli.report.formats import PAPER_TEX_HEAD, TEX_HEAD, csv_text, latex, markdown, pairs_csv
from gelora_cli.report.page import page
from gelora_cli.report.predictions import without_damaged_predictions
from gelora_cli.report.published import published_table, read_published
from gelora_cli.report.rendering import USUAL_KINDS, render_pictures
from gelora_cli.report.runs import CollectedRuns, Run, UnusedRun, collect
from gelora_cli.report.tables import PAIRS, Table, comparison_tables, metric_tables, result_tables

PAGE, CONTENTS = "report.html", "report.json"
"""The page, and the list of the files that a report wrote, which a later one may replace."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How pictures are drawn: with titles inside or without, and whether as PDF, too."""

    titles: bool = True
    pdf: bool = False

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of their files."""
        return (*USUAL_KINDS, "pdf") if self.pdf else USUAL_KINDS


DRAWING = Drawing()
"""With titles, as PNG and SVG."""


@dataclass(frozen=True, kw_only=True)
class WrittenReport:
    """Where a report is, and what it says first."""

    page: Path
    files: int
    runs: int
    unused: tuple[UnusedRun, ...]
    summary: tuple[str, ...]


def write_report(
    directories: Sequence[Path],
    output: Path,
    *,
    title: str = "Which rank where",
    mix_protocols: bool = False,
    published: Path | None = None,
    figures: Drawing | None = DRAWING,
    columns: Sequence[str] = DEFAULT_COLUMNS,
    force: bool = False,
    testing: PairTests = EVERY_PAIR,
    held_out: bool = False,
) -> WrittenReport:
    """Write `report.html`, `table.md`, `table.csv`, `table.tex` and pictures of runs.

    Every finished run is compared with its DONE first. Each file is written whole or not at all, the page last.
    Pictures of an earlier report in the same folder that this one does not have are removed.

    Args:
        directories: run directories, those above them, and archives.
        output: the folder to write into.
        title: the heading of the page.
        mix_protocols: accept runs of several protocols, each in tables of its own.
        published: a CSV of published figures, shown apart.
        figures: how pictures are drawn; None for no pictures.
        columns: those of the paper's table beside the method, in this order; names of `board_tables.COLUMN_NAMES`.
        force: write also into a folder that holds no report, and replace files of the same names there.
        testing: which pairs are tested, and when they get a verdict.
        held_out: also show runs scored on held-out training rows where other runs are there.

    Raises:
        GeloraError: no such directory, no finished run, runs of several protocols without `mix_protocols`, `output` is
            a file, can't be written to or holds another's files, `published` can't be read, or `testing` names no row.
    """
    _check_paths(directories, output, force=force)  # before the reading of many runs
    published_figures = read_published(published) if published else []
    all_runs = collect(directories)
    collected = all_runs if held_out else _without_held_out(all_runs)
    left_out = len(all_runs.runs) - len(collected.runs)
    _check_runs(collected, directories, mix_protocols)
    analysis = analyse(collected, testing)
    if analysis.problems:  # the predictions of one run may be damaged, which the others are compared without
        readable = without_damaged_predictions(collected)
        if len(readable.runs) < len(collected.runs):
            collected = readable
            _check_runs(collected, directories, mix_protocols)
            analysis = analyse(collected, testing)
    with titles(figures is None or figures.titles):
        pictures = tuple(report_pictures(analysis.rows)) if figures else ()
    content = ReportContent(
        title=title,
        analysis=analysis,
        unused=collected.unused,
        pictures=pictures,
        published=published_table(published_figures, analysis.rows),
        left_out=left_out,
    )
    files = _render(content, figures.kinds if figures else (), columns)
    if not force:  # all names are known by now, and nothing is written yet
        _check_foreign_files(output, files)
    _write(output, files)
    return WrittenReport(
        page=output / PAGE,
        files=len(files),
        runs=len(collected.runs),
        unused=collected.unused,
        summary=tuple(summary(content)),
    )


def _check_paths(directories: Sequence[Path], output: Path, *, force: bool) -> None:
    """Refuse directories that are not there, and an output that is a file or, without `force`, another's folder.

    Raises:
        GeloraError: all of them at once.
    """
    problems = [
        f"{path}: no such directory; give run directories, those above them, or an archive of gelora pack"
        for path in directories
        if not path.is_dir() and archive_of(path) is None
    ]
    if output.exists() and not output.is_dir():
        problems.append(f"output={output} is a file; give a directory, which is made where there is none")
    elif not force and (foreign := _foreign_entry(output)):
        problems.append(
            f"output={output} holds {foreign}, and no earlier report: give another directory, such as "
            f"output={output / 'report'}, or force=true to write into this one"
        )
    if problems:
        raise GeloraError("\n".join(problems))


def _without_held_out(collected: CollectedRuns) -> CollectedRuns:
    """Return the runs without those scored on held-out training rows, unless there are no others.

    Trials of `gelora tune` are many, and their values are on other rows: no mean, test or picture may mix both.
    """
    runs = tuple(run for run in collected.runs if not run.result.on_holdout)
    return replace(collected, runs=runs) if runs else collected


def _check_runs(collected: CollectedRuns, directories: Sequence[Path], mix_protocols: bool) -> None:
    """Refuse a report of no run, and one whose values were selected under several protocols.

    Raises:
        GeloraError: with the runs that give no number, or a run of each protocol.
    """
    if not collected.runs:
        message = f"no finished run at or below {', '.join(map(str, directories))}."
        if collected.unused:
            message += " Those that give no number:" + "".join(f"\n  {run}" for run in collected.unused)
        else:
            message += " Give the directories of finished runs, those above them, or an archive that holds runs"
        raise GeloraError(message)
    by_protocol: dict[str, list[Run]] = {}
    for run in collected.runs:
        by_protocol.setdefault(run.result.protocol, []).append(run)
    if len(by_protocol) > 1 and not mix_protocols:
        counts = "; ".join(
            f"{name}: {len(runs)} such as {runs[0].directory}" for name, runs in sorted(by_protocol.items())
        )
        raise GeloraError(
            f"runs of {len(by_protocol)} protocols given, whose values can't be compared ({counts}). Give directories "
            "of one, or mix_protocols=true, which shows each in tables of its own."
        )


def _render(content: ReportContent, kinds: Sequence[str], columns: Sequence[str]) -> dict[str, bytes]:
    """Return the files of a report, name to content, the page last.

    Args:
        content: what it shows.
        kinds: the kinds of the pictures' files.
        columns: those of the paper's table.
    """
    analysis = content.analysis
    tables = [
        *result_tables(analysis.rows),
        *answer_tables(analysis.answers, analysis.power),
        *metric_tables(analysis.rows),
        *comparison_tables(analysis.groups, analysis.comparisons),
    ]
    paper = list(board_tables(analysis.boards, columns))
    files = {
        "paper.md": _utf8("\n".join(map(markdown, paper))),
        "paper.tex": _utf8(PAPER_TEX_HEAD + "\n".join(map(latex, paper))),
        "table.md": _utf8(_render_markdown(content, tables)),
        "table.csv": _utf8(csv_text(analysis.rows)),
        "table.tex": _utf8(TEX_HEAD + "\n".join(map(latex, tables))),
    }
    if analysis.comparisons:
        files[PAIRS] = _utf8(pairs_csv(analysis.comparisons))
    rendered = render_pictures(content.pictures, kinds)
    for rendering in rendered.values():
        files |= rendering.files
    drawn = {name: rendering.inline for name, rendering in rendered.items()}
    files[PAGE] = _utf8(page(content, drawn))  # last, since files are written in this order
    return files


def _utf8(text: str) -> bytes:
    """Return the bytes of a file; bytes of a path that are not UTF-8 are shown by their numbers."""
    return text.encode(errors="backslashreplace")


def _render_markdown(content: ReportContent, tables: Iterable[Table]) -> str:
    lines = "".join(f"- {escape_markdown(line)}\n" for line in summary(content))
    parts = [f"# {escape_markdown(content.title)}\n\n{lines}", *map(markdown, tables)]
    if content.published:
        parts.append(markdown(content.published))
    if content.unused:
        unused = "".join(f"- {escape_markdown(str(run))}\n" for run in content.unused)
        parts.append(f"Runs that give no number:\n\n{unused}")
    return "\n".join(parts)


def _foreign_entry(output: Path) -> str:
    """Return an entry of a folder without a report; empty where it is one, has none, or is not there.

    Hidden entries don't count: a report that was killed as it began leaves one behind.
    """
    if not output.is_dir() or _earlier_files(output):
        return ""
    return next((path.name for path in sorted(output.iterdir()) if not path.name.startswith(".")), "")


def _check_foreign_files(output: Path, files: Iterable[str]) -> None:
    """Refuse a folder whose files of these names are not those of an earlier report."""
    earlier = _earlier_files(output)
    foreign = [name for name in (*files, CONTENTS) if (output / name).exists() and name not in earlier]
    # The list itself is ours where it names files of a report.
    if foreign and not (earlier and foreign == [CONTENTS]):
        raise GeloraError(
            f"output={output} holds {foreign[0]}, which no earlier report wrote: give another directory, or "
            "force=true to replace it"
        )


def _write(output: Path, files: dict[str, bytes]) -> None:
    """Write the files; the page of an earlier report goes first, so that no mixture is read as one report."""
    create_directory(output, "output=DIR")
    earlier = _earlier_files(output)
    for name in {CONTENTS, *files, *earlier}:
        remove_partial_writes(output / name)
    (output / PAGE).unlink(missing_ok=True)
    for name in earlier - set(files):
        (output / name).unlink(missing_ok=True)
    # Before the files: a report that is killed here can be replaced by the next one without force=true.
    contents = json.dumps({"files": sorted(files)}, indent=1) + "\n"
    write_atomic(output / CONTENTS, contents, setting="output=DIR")
    for name, content in files.items():
        write_atomic(output / name, content, setting="output=DIR")


def _earlier_files(output: Path) -> set[str]:
    """Return the files of the report that is in this folder now, which may be removed."""
    try:
        names = json.loads(read_text(output / CONTENTS, "a report's list of files"))["files"]
        return {name for name in names if Path(name).name == name}  # no path: nothing outside the folder is removed
    except (GeloraError, ValueError, KeyError, TypeError, RecursionError):
        return set()
