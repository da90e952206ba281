"""`gelora pack`: finished runs in one file."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from gelora_cli.commands.base import Command, Positional, check_values, relative, user_path
from gelora_cli.commands.terminal import labelled, next_commands
from gelora_cli.config.keys import key
from gelora_cli.config.schema import DEBUG
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import escape_controls
from gelora_cli.core.registries import COMMANDS


@dataclass
class PackCommandConfig:
    """The keys of `gelora pack DIR...`."""

    output: str | None = key(
        None, help="the archive to write or to add to, such as results/runs.jsonl.zst", path=True, common=True
    )
    mix_commits: bool = key(
        False, help="accept runs of several commits, of changed files, or of no known commit", common=True
    )
    force: bool = key(False, help="begin the archive from scratch: what is at output= is lost", common=True)
    debug: bool = key(False, help=DEBUG, common=True)


@COMMANDS.register
class Pack(Command[PackCommandConfig]):
    """Pack finished runs and studies into an archive."""

    name = "pack"
    summary = "pack finished runs and studies into one file that report, ls and tune read"
    examples = """  gelora pack runs output=results/runs.jsonl.zst
  gelora pack one.jsonl.zst two.jsonl.zst output=both.jsonl.zst
  gelora pack runs/sst2 runs/tune output=sst2.jsonl.zst   # again later: adds what is new"""
    keys = PackCommandConfig
    positional = Positional("DIR", many=True)

    def handle(self, config: PackCommandConfig, paths: list[Path], typed: str) -> None:
        """Write the archive, and print what it holds and which runs it left out."""
        from gelora_cli.archive.reading import archive_of
        from gelora_cli.archive.writing import pack
        from gelora_cli.commands.outputs import check_output, check_outside_runs
        from gelora_cli.core.environment import git_takes
        from gelora_cli.core.logs import setup_logging

        check_values(config)
        if not config.output:
            raise GeloraError("output=FILE is needed: the archive to write or to add to, such as runs.jsonl.zst")
        if missing := [str(path) for path in paths if not path.is_dir() and archive_of(path) is None]:
            raise GeloraError(
                f"{', '.join(missing)}: no such directory; give run directories, those above them, or archives of "
                "gelora pack"
            )
        output = user_path(config.output)
        check_outside_runs(output)
        # With force: an archive keeps its lines, and any other file is refused when it is read.
        check_output(output, force=True, example="runs.jsonl.zst")
        if output.exists() and not output.is_file():
            raise GeloraError(f"output={output} is a device or a pipe; name a file, which is replaced as a whole")
        setup_logging()  # says whom the command waits for
        # The file behind a link is written, and the link stays.
        summary = pack(paths, output.resolve(), mix_commits=config.mix_commits, force=config.force)
        for reason in summary.refused:
            print(escape_controls(f"not packed: {reason}", one_line=True), file=sys.stderr)
        print(labelled("archive", f"{relative(summary.path)} ({summary.size:,} bytes)"))
        print(labelled("runs", f"{summary.runs:,} ({summary.new_runs:,} new)"))
        print(labelled("studies", f"{summary.studies:,} ({summary.new_studies:,} new or grown)"))
        if summary.unfinished:
            print(labelled("not done", f"{summary.unfinished:,} runs, which are left out"))
        if summary.commits:
            print(labelled("commits", ", ".join(summary.commits)))
        if not summary.runs:
            print(labelled("note", "studies alone: to report on runs, pack the directory above them, too"))
        if git_takes(summary.path):
            print(next_commands(f"git add {shlex.quote(str(relative(summary.path)))}"))
