"""`gelora fetch`: what a run needs, as a directory for machines without a network."""

from __future__ import annotations

import shlex
from pathlib import Path

from gelora_cli.commands.base import Command, Positional, relative
from gelora_cli.config.schema import RunConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import COMMANDS


@COMMANDS.register
class Fetch(Command[RunConfig]):
    """Copy model, tokenizer and data (see `fetching`)."""

    name = "fetch"
    summary = "copy model and data into the directory DIR, for a machine without network"
    examples = "  gelora fetch offline task=cola model=deberta_v3_base"
    keys = RunConfig
    positional = Positional("DIR")
    refused_keys = ("dry_run",)

    def handle(self, config: RunConfig, paths: list[Path], typed: str) -> None:
        """Copy, and print the command that takes what was copied."""
        from gelora_cli.commands.fetching import Fetched, fetch
        from gelora_cli.config.complete import complete
        from gelora_cli.core.logs import setup_logging

        if config.dry_run:
            raise GeloraError("dry_run=true: gelora fetch has none; leave it out")
        setup_logging()
        target = paths[0].absolute()
        fetched = fetch(complete(config), target)
        checksums = relative(target / Fetched.FILE)
        print(f"model:  {fetched.model}\ndata:   {fetched.data}")
        print(f"{len(fetched.files)} files, their sha256 in {checksums}; where there is no network:")
        words = shlex.split(typed)
        task = [word for word in words if word.startswith("task=")] or [f"task={config.task.name}"]
        task += [word for word in words if word.startswith("task.") and "=" in word]  # not a DIR of such a name
        print(f"  {shlex.join(['gelora', 'run', *task, *fetched.overrides])}")
        print("The directory may be moved; paths may be relative: what counts is what the files hold.")
