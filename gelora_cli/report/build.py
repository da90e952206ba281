"""`gelora report`: many runs to one folder with a page, tables and pictures; no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gelora_cli.core.directories import create_directory, remove_partial_writes
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import read_text, write_atomic
from gelora_cli.core.messages import escape_markdown
from gelora_cli.plots.base import report_pictures
from gelora_cli.report.compared import comparisons, row_groups
from gelora_cli.report.page import Shown, comparison_tables, page, summary
from gelora_cli.report.published import Published, published_table, read_published
from gelora_cli.report.rows import rows_of
from gelora_cli.report.runs import Collected, Run, Unused, collect
from gelora_cli.report.tables import TEX_HEAD, Table, csv_text, latex, markdown, metric_tables, result_tables

PAGE, CONTENTS = "report.html", "report.json"


@dataclass(frozen=True)
class Written:
    """Where a report is, and what it says first."""

    page: Path
    files: int
    runs: int
    unused: tuple[Unused, ...]
    summary: tuple[str, ...]


def write_report(
    directories: Sequence[Path],
    output: Path,
    *,
    title: str = "Which rank where",
    mix_protocols: bool = False,
    published: Path | None = None,
    figures: bool = True,
    force: bool = False,
) -> Written:
    """Write `report.html`, `table.md`, `table.csv`, `table.tex` and pictures of all runs at or below `directories`.

    Every finished run is compared with its DONE first. Each file is written whole or not at all, the page last;
    pictures of an earlier report in the same folder that this one does not have are removed. Files of the same names
    that no earlier report wrote are replaced with `force` alone.

    Raises:
        GeloraError: no such directory, no finished run, runs of several protocols without `mix_protocols`, `output` is
            a file, can't be written to or holds another's files, or `published` can't be read.
    """
    _check_places(directories, output)
    their_figures = read_published(published) if published else []
    found = collect(directories)
    _check_runs(found, directories, mix_protocols)
    shown = _shown(found, title, their_figures, figures)
    files = _files(shown)
    if not force:
        _check_others(output, files)
    _write(output, files)
    return Written(output / PAGE, len(files), len(found.runs), found.unused, tuple(summary(shown)))


def _check_places(directories: Sequence[Path], output: Path) -> None:
    problems = [
        f"{path}: no such directory; give run directories, or those above them"
        for path in directories
        if not path.is_dir()
    ]
    if output.exists() and not output.is_dir():
        problems.append(f"output={output} is a file; give a directory, which is made where there is none")
    if problems:
        raise GeloraError("\n".join(problems))


def _check_runs(found: Collected, directories: Sequence[Path], mix_protocols: bool) -> None:
    if not found.runs:
        where, left = ", ".join(map(str, directories)), "".join(f"\n  {_line(run)}" for run in found.unused)
        raise GeloraError(
            f"no finished run at or below {where}." + (f" Those that give no number:{left}" if left else "")
        )
    protocols: dict[str, list[Run]] = {}
    for run in found.runs:
        protocols.setdefault(run.result.protocol, []).append(run)
    if len(protocols) > 1 and not mix_protocols:
        counts = "; ".join(
            f"{name}: {len(runs)} runs, such as {runs[0].directory}" for name, runs in sorted(protocols.items())
        )
        raise GeloraError(
            f"runs of {len(protocols)} protocols given, whose values can't be compared ({counts}). Give directories of "
            "one, or mix_protocols=true, which shows each in tables of its own."
        )


def _line(run: Unused) -> str:
    return f"{run.status} {run.directory}" + (f": {run.reason}" if run.reason else "")


def _shown(found: Collected, title: str, their_figures: Sequence[Published], figures: bool) -> Shown:
    rows = rows_of(found.runs, found.unused)
    groups = row_groups(rows)
    compared, problems = comparisons(groups)
    return Shown(
        title=title,
        rows=tuple(rows),
        groups=tuple(groups),
        unused=found.unused,
        comparisons=tuple(compared),
        problems=tuple(problems),
        pictures=tuple(report_pictures(rows)) if figures else (),
        published=published_table(their_figures, rows),
    )


def _files(shown: Shown) -> dict[str, bytes]:
    """Name to content, the page last."""
    compared = comparison_tables(shown.groups, shown.comparisons)
    tables = [*result_tables(shown.rows), *metric_tables(shown.rows), *compared]
    files = {
        "table.md": _markdown(shown, tables).encode(),
        "table.csv": csv_text(shown.rows).encode(),
        "table.tex": (TEX_HEAD + "\n".join(map(latex, tables))).encode(),
    }
    drawn = {picture.name: picture.svg() for picture in shown.pictures}
    for picture in shown.pictures:
        files |= {f"{picture.name}.png": picture.png(), f"{picture.name}.svg": drawn[picture.name]}
    return files | {PAGE: page(shown, drawn).encode()}


def _markdown(shown: Shown, tables: Iterable[Table]) -> str:
    lines = "".join(f"- {escape_markdown(line)}\n" for line in summary(shown))
    parts = [f"# {escape_markdown(shown.title)}\n\n{lines}", *map(markdown, tables)]
    if shown.published:
        parts.append(markdown(shown.published))
    if shown.unused:
        parts.append(
            "Runs that give no number:\n\n" + "".join(f"- {escape_markdown(_line(run))}\n" for run in shown.unused)
        )
    return "\n".join(parts)


def _check_others(output: Path, files: Iterable[str]) -> None:
    """Refuse a folder whose files of these names are not those of an earlier report."""
    earlier = _earlier(output)
    others = [name for name in (*files, CONTENTS) if (output / name).exists() and name not in earlier]
    if others and not (earlier and others == [CONTENTS]):
        raise GeloraError(
            f"output={output} holds {others[0]}, which no earlier report wrote: give another directory, or "
            "force=true to replace it"
        )


def _write(output: Path, files: dict[str, bytes]) -> None:
    """The page of an earlier report goes first and the new one comes last, so that no mixture is read as whole."""
    create_directory(output, "output")
    for name in files:
        remove_partial_writes(output / name)
    earlier = _earlier(output)
    (output / PAGE).unlink(missing_ok=True)
    for name in earlier - set(files):
        (output / name).unlink(missing_ok=True)
    write_atomic(output / CONTENTS, json.dumps({"files": sorted(files)}, indent=1) + "\n")
    for name, content in files.items():
        write_atomic(output / name, content)


def _earlier(output: Path) -> set[str]:
    """The files of the report that is in this folder now, which may be removed."""
    try:
        names = json.loads(read_text(output / CONTENTS, "a report's list of files"))["files"]
        return {name for name in names if Path(name).name == name}
    except (GeloraError, ValueError, KeyError, TypeError, RecursionError):
        return set()
