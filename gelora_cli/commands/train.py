"""`gelora train`: the stages after the profile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gelora_cli.commands.base import Command
from gelora_cli.commands.run import run_and_report
from gelora_cli.config.schema import RunConfig
from gelora_cli.core.registries import COMMANDS

if TYPE_CHECKING:
    from gelora_cli.launchers.job import Outcome


@COMMANDS.register
class Train(Command[RunConfig]):
    """Fine-tune and evaluate with a profile or a plan that is there."""

    name = "train"
    summary = "fine-tune and evaluate with a saved profile (of the runs directory) or plan (ranks.path=)"
    examples = """  gelora train task=cola model=minilm data.glue=DIR budget=0.1M
  gelora train task=cola model=minilm data.glue=DIR ranks.path=RUN seed=1"""
    keys = RunConfig
    launchable = True
    sweepable = True
    writes_run = True

    def handle(self, config: RunConfig, paths: list[Path], typed: str) -> Outcome:
        """Run the stages after the profile, and print where the results are."""
        return run_and_report(config, typed, measure=False)
