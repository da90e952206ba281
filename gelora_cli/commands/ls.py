"""`gelora ls`: the runs below a directory, or in an archive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from gelora_cli.commands.base import Command, Positional, user_path
from gelora_cli.config.keys import key
from gelora_cli.config.schema import DEBUG
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import COMMANDS


@dataclass
class LsCommandConfig:
    """The keys of `gelora ls DIR`."""

    runs_dir: str = key("runs", help="the directory to list, if none is given as DIR", path=True, common=True)
    verify: bool = key(False, help="compare every file of a finished run with its sha256, as report does", common=True)
    json: bool = key(False, help="print JSON in place of a table", common=True)
    debug: bool = key(False, help=DEBUG, common=True)


@COMMANDS.register
class Ls(Command[LsCommandConfig]):
    """List runs, as tables or as JSON."""

    name = "ls"
    summary = "list runs, their status and value"
    examples = """  gelora ls
  gelora ls runs/cola --json
  gelora ls results/glue.jsonl.zst                      # the runs of an archive
  gelora ls verify=true                                 # compare every file with its sha256, as report does"""
    keys = LsCommandConfig
    positional = Positional("DIR", required=False)
    flags: ClassVar[Mapping[str, str]] = {"--json": "json=true"}

    def handle(self, config: LsCommandConfig, paths: list[Path], typed: str) -> None:
        """Print the runs, and below them the grid of those that are done."""
        from gelora_cli.archive.reading import archive_of
        from gelora_cli.core.files import json_text
        from gelora_cli.report.grid import runs_table
        from gelora_cli.report.listing import describe_runs, format_runs
        from gelora_cli.report.queued import with_queued_runs
        from gelora_cli.report.runs import read_runs, select_runs
        from gelora_cli.report.text_table import terminal_width

        directory = paths[0] if paths else user_path(config.runs_dir)
        is_packed = archive_of(directory) is not None
        if not directory.is_dir() and not is_packed:
            raise GeloraError(
                f"{directory}: no such directory; give one with runs in it, or an archive of gelora pack: gelora ls DIR"
            )
        examined = read_runs([directory], verify=config.verify)
        listed = describe_runs(directory, examined)
        if not is_packed:  # a scheduler's runs have directories
            listed = with_queued_runs(directory, listed)
        if config.json:
            print(json_text([asdict(row) for row in listed], indent=1))
            return
        width = terminal_width()
        print(format_runs(directory, listed, width=width))
        if table := runs_table(select_runs(examined).runs, width=width):
            print(f"\n{table}")
