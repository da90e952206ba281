"""`gelora profile`: the intrinsic dimension of every layer."""

from __future__ import annotations

import shlex
from pathlib import Path

from gelora_cli.commands.base import Command, is_sweep, relative
from gelora_cli.commands.terminal import next_commands, wrapped
from gelora_cli.config.schema import RunConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import COMMANDS


@COMMANDS.register
class Profile(Command[RunConfig]):
    """Measure a profile, which runs share."""

    name = "profile"
    summary = "measure the intrinsic dimension of every layer"
    examples = """  gelora profile task=sst2 model=minilm data.glue=DIR
  gelora profile task=text data.text=lines.txt model.path=DIR     # a text a line, no labels"""
    keys = RunConfig
    launchable = True
    sweepable = True
    needs_labels = False

    def handle(self, config: RunConfig, paths: list[Path], typed: str) -> None:
        """Measure, and print a row for each layer."""
        from gelora_cli.allocation.layer_checks import profile_table
        from gelora_cli.core.artifacts.profile import IdProfile
        from gelora_cli.core.logs import setup_logging
        from gelora_cli.pipeline.signal_stage import measure_profile

        if config.dry_run:
            raise GeloraError(
                "dry_run=true: gelora profile has no dry run; gelora run dry_run=true also estimates the profile"
            )
        setup_logging()
        directory, measured = measure_profile(config)
        print(profile_table(measured))
        print(wrapped("idim: intrinsic dimension after each layer; N/2, N/4: of a half and a quarter of the examples"))
        path = relative(directory / IdProfile.FILE)
        print(f"{measured.examples_used} examples, {measured.seconds:.1f} s: {path}")
        if not is_sweep(typed):
            print(next_commands(f"gelora ranks {shlex.quote(str(path))} budget=0.1M"))
