"""Write docs/benchmarks.md and its pictures from the records in results/benchmarks/.

    python -m scripts.benchmarks.page [--check]

Equal records give equal bytes. `--check` writes nothing, and says whether the page is what the records give.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from gelora_cli.core.files import write_atomic
from scripts.benchmarks.pictures import draw, picture_name
from scripts.benchmarks.record import ROOT, BenchmarkRecord, Table, read_records

PAGE = ROOT / "docs" / "benchmarks.md"
IMAGES = ROOT / "docs" / "images"

ORDER = (
    "training",
    "packing",
    "memory_peaks",
    "gpu",
    "start",
    "overheads",
    "profile",
    "neighbours",
    "squad",
    "listing",
    "sweeps",
    "scaling",
)
"""The benchmarks as the page shows them and as `make benchmarks` measures them; others follow by name."""

CPU = "cpu"

INTRODUCTION = """\
# Benchmarks

How fast gelora is beside tools that anyone can install, and how far each goal was reached. This page is written by
`scripts/benchmarks/page.py` from `results/benchmarks/`: every number comes from a script that you can run.

**How it was measured.** The candidates of a comparison take turns (A B A B ...) after unmeasured calls of each, so that
a busy machine is busy for all of them. Seconds are medians. A ratio is the median of the ratios of the rounds, which
is steadier than the ratio of two medians. Machine, versions and day stand below each section. Ratios carry over to
other machines better than seconds do, and neither does exactly.

**What the words say.** *Measured* is what a clock or counter showed. *Computed* is what follows from measured laws and
the operations of the shapes; it was never run. Where a change is named, its figures before and after stand beside
it, also those of changes that were thrown out.

**Measure again.** `make benchmarks` runs every script, one after the other, and writes this page. Give it again where
it was stopped, and it resumes. `make benchmarks ONLY="listing squad"` runs some of them. Some comparisons need real
data in a folder with `glue` and `squad`: `export GELORA_DATA=DIR`. A script whose tools are not installed says so
and is left out.
"""


def main() -> int:
    """Write the page and its pictures, or compare the page with the records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the page is another")
    options = parser.parse_args()
    records = read_records()
    text = page_text(records)
    if options.check:
        is_current = PAGE.exists() and PAGE.read_text(encoding="utf-8") == text
        print(f"{PAGE.relative_to(ROOT)} is {'' if is_current else 'not '}what the records give")
        return 0 if is_current else 1
    write_page(records, PAGE, IMAGES)
    print(f"written: {PAGE.relative_to(ROOT)}, of {len(records)} records")
    return 0


def write_page(records: Sequence[BenchmarkRecord], page: Path, images: Path) -> None:
    """Write the page of some records, and a PNG for each of their pictures."""
    images.mkdir(parents=True, exist_ok=True)
    for record in records:
        if record.picture:
            draw(record.picture, images / picture_name(record))
    write_atomic(page, page_text(records))


def page_text(records: Sequence[BenchmarkRecord]) -> str:
    """Return the page: what it is, a table of goals, then a section for each benchmark with a part for each machine."""
    by_name: dict[str, list[BenchmarkRecord]] = {}
    for record in sorted(records, key=_place):
        by_name.setdefault(record.name, []).append(record)
    parts = [INTRODUCTION]
    if records:
        parts.append(_goals(by_name))
    for of_one_name in by_name.values():
        parts.append(f"## {of_one_name[0].title}\n")
        for record in of_one_name:
            parts += _section(record, is_only=len(of_one_name) == 1)
    return "\n".join(parts)


def _place(record: BenchmarkRecord) -> tuple[int, str, bool, str]:
    """Return the sorting key of a record: by `ORDER`, then by name; of one benchmark the CPU first."""
    index = ORDER.index(record.name) if record.name in ORDER else len(ORDER)
    return index, record.name, record.machine_kind != CPU, record.machine_kind


def _goals(by_name: dict[str, list[BenchmarkRecord]]) -> str:
    """Return the table of goals, with a row for each record; the benchmark is a link to its section."""
    rows = []
    for of_one_name in by_name.values():
        title = of_one_name[0].title
        for record in of_one_name:
            rows.append((f"[{title}](#{anchor(title)})", _short_kind(record), record.goal))
    table = Table(caption="", columns=("benchmark", "machine", "goal, and what was reached"), rows=tuple(rows))
    return f"## Goals\n\n{_table(table)}"


def _section(record: BenchmarkRecord, *, is_only: bool) -> list[str]:
    """Return what one record says: setting, goal, picture, tables, notes, machine, versions and command."""
    parts = []
    if not is_only:
        parts.append(f"### {record.title}: {_short_kind(record)}\n")
    parts.append(f"{record.setting}\n")
    parts.append(f"**Goal.** {record.goal}\n")
    if record.picture:
        parts.append(f"![{record.picture.alternative}](images/{picture_name(record)})\n")
    parts += [_table(table) for table in record.tables]
    if record.notes:
        parts.append("**What was tried, kept or thrown out.**\n")
        parts.append("".join(f"- {note}\n" for note in record.notes))
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    parts.append(f"*Measured on {record.measured}: {record.machine}. {versions}.*\n")
    parts.append(f"Again: `{record.command}`\n")
    return parts


def _short_kind(record: BenchmarkRecord) -> str:
    return "CPU" if record.machine_kind == CPU else record.machine_kind.upper()


def _table(table: Table) -> str:
    """Return a table as Markdown, below its caption if it has one; columns of numbers are set to the right."""
    rules = []
    for column in range(len(table.columns)):
        is_numeric = all(re.match(r"[-+~]?\d|-?$", row[column]) for row in table.rows)
        rules.append("---:" if is_numeric else "---")
    lines = [table.columns, tuple(rules), *table.rows]
    body = "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)
    return f"*{table.caption}*\n\n{body}" if table.caption else body


def _cell(text: str) -> str:
    """Return a text that ends no cell; other Markdown in it is shown."""
    return " ".join(text.replace("|", "\\|").split())


def anchor(title: str) -> str:
    """Return the anchor that a heading gets on the site."""
    kept = re.sub(r"[^\w\s-]", "", title.lower()).strip()
    return re.sub(r"[-\s]+", "-", kept)


if __name__ == "__main__":
    sys.exit(main())
