"""`gelora profile`: the intrinsic dimension of every layer."""

from __future__ import annotations

from pathlib import Path

from gelora_cli.commands.base import Command, relative
from gelora_cli.config.schema import RunConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import COMMANDS


@COMMANDS.register
class Profile(Command[RunConfig]):
    """Measure a profile, which runs share."""

    name = "profile"
    summary = "stage 1: measure the intrinsic dimension of every layer"
    examples = """  gelora profile task=sst2 model=minilm data.glue=DIR
  gelora profile task=text data.text=lines.txt model.path=DIR     # a text a line, no labels"""
    keys = RunConfig
    launchable = True
    sweepable = True
    needs_labels = False

    def handle(self, config: RunConfig, paths: list[Path], typed: str) -> None:
        """Measure, and print a row for each layer."""
        from gelora_cli.allocation.layer_checks import profile_table
        from gelora_cli.core.logs import setup_logging
        from gelora_cli.pipeline.signal_stage import measure_profile

        if config.dry_run:
            raise GeloraError(
                "dry_run=true: gelora profile has none; gelora run dry_run=true shows a profile's cost too"
            )
        setup_logging()
        directory, measured = measure_profile(config)
        print(profile_table(measured))
        print(f"{measured.examples_used} examples, {measured.seconds:.1f} s: {relative(directory / 'profile.json')}")
