"""`gelora report`: runs compared on one page."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from gelora_cli.commands.base import Command, Positional, check_values, relative, user_path
from gelora_cli.commands.terminal import wrapped
from gelora_cli.config.keys import key, section
from gelora_cli.config.schema import DEBUG
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import escape_controls
from gelora_cli.core.registries import COMMANDS


@dataclass
class FiguresConfig:
    """The keys of the section `figures.`."""

    draw: bool = key(True, help="draw the pictures", common=True)
    title: bool = key(True, help="write titles into them; without, as papers want them, a caption says it", common=True)
    pdf: bool = key(False, help="write each as a PDF, too", common=True)


def _paper_columns() -> tuple[str, ...]:
    from gelora_cli.report.board_tables import COLUMN_NAMES

    return COLUMN_NAMES


@dataclass
class ReportCommandConfig:
    """The keys of `gelora report DIR...`."""

    output: str = key("report", help="the folder to write; it is made if it does not exist", path=True, common=True)
    title: str = key("Which rank where", help="the heading of the page", common=True)
    mix_protocols: bool = key(False, help="accept runs of several protocols, each in tables of its own", common=True)
    ignore_trials: bool = key(
        False,
        help="give verdicts also where unequal numbers of trials are behind the settings of two rows",
        common=True,
    )
    against: list[str] = key(
        [],
        help="test only pairs with these methods or rows, such as against=lora; fewer tests are corrected for",
        common=True,
    )
    held_out: bool = key(
        False,
        help="show runs scored on held-out training rows, as the trials of gelora tune, beside other runs, too",
        common=True,
    )
    published: str | None = key(
        None, help="a CSV file of published values, shown in a table of their own", path=True, common=True
    )
    columns: list[str] = key(
        [],
        help="columns of the paper's table, such as means,average; empty: parameters, tasks, average, seeds",
        choices=_paper_columns,
        common=True,
    )
    figures: FiguresConfig = section(FiguresConfig, help="the pictures")
    force: bool = key(
        False, help="write into a folder of other files, and replace those of the same names", common=True
    )
    debug: bool = key(False, help=DEBUG, common=True)


@COMMANDS.register
class ReportCommand(Command[ReportCommandConfig]):
    """Write the page of a comparison, with its tables and pictures."""

    name = "report"
    summary = "compare runs on one page: tables, tests, pictures"
    examples = """  gelora report runs
  gelora report runs/cola runs/sst2 output=compared 'title="CoLA and SST-2"'
  gelora report runs mix_protocols=true published=published.csv"""
    keys = ReportCommandConfig
    positional = Positional("DIR", many=True)
    renamed: ClassVar[Mapping[str, str]] = {
        "figures=false": "figures.draw=false",
        "figures=true": "figures.draw=true",
    }

    def handle(self, config: ReportCommandConfig, paths: list[Path], typed: str) -> None:
        """Write the report, and print what it says and which runs it left out."""
        check_values(config)
        from gelora_cli.commands.outputs import check_outside_runs
        from gelora_cli.report.analysis import PairTests
        from gelora_cli.report.board_tables import DEFAULT_COLUMNS
        from gelora_cli.report.build import Drawing, write_report

        if not config.output:
            raise GeloraError(
                "output= is empty; give a directory, which is made if it does not exist; output=. is the current one"
            )
        if repeated := [name for name, count in Counter(config.columns).items() if count > 1]:
            raise GeloraError(f"columns=[{','.join(config.columns)}]: {', '.join(repeated)} twice; name a column once")
        check_outside_runs(user_path(config.output))
        report = write_report(
            paths,
            user_path(config.output),
            title=config.title,
            mix_protocols=config.mix_protocols,
            published=user_path(config.published) if config.published else None,
            figures=Drawing(titles=config.figures.title, pdf=config.figures.pdf) if config.figures.draw else None,
            columns=config.columns or DEFAULT_COLUMNS,
            force=config.force,
            testing=PairTests(against=tuple(config.against), ignore_trials=config.ignore_trials),
            held_out=config.held_out,
        )
        for line in report.summary:
            print(wrapped(line, first_indent="- "))
        for run in report.unused:
            print(escape_controls(f"not used: {run}", one_line=True), file=sys.stderr)
        print(f"report:  {relative(report.page)} (open it in a browser; {report.files} files in that folder)")
