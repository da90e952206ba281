"""`gelora tune`: the same number of trials for every method, so that a comparison is one of methods."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gelora_cli.commands.base import ExtendedRunConfig, RunCommand
from gelora_cli.commands.tune_keys import TuneConfig
from gelora_cli.config.keys import section
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import COMMANDS

if TYPE_CHECKING:
    from gelora_cli.launchers.job import Outcome


@dataclass
class TuneCommandConfig(ExtendedRunConfig):
    """The keys of a run, and how it is tuned."""

    tune: TuneConfig = section(TuneConfig, help="how learning rates and other settings are searched")


@COMMANDS.register
class Tune(RunCommand[TuneCommandConfig]):
    """Search the learning rate and other settings of several methods, with as many trials for each."""

    name = "tune"
    summary = "search learning rates and other settings, with the same number of trials for every method"
    examples = """  gelora tune task=sst2 model=minilm method=gelora,lora,adalora,sora budget=0.15M data.glue=DIR
  gelora tune task=cola model=minilm method=gelora method.variant=lora,dora budget=0.1M tune.trials=8 data.glue=DIR
  gelora tune task=sst2 model=minilm method=gelora,lora budget=0.1M data.glue=DIR dry_run=true   # hours, no run
  gelora tune task=sst2 model=minilm method=gelora 'tune.budgets=[0.05M,0.1M,0.3M]' data.glue=DIR  # how large a rank"""
    keys = TuneCommandConfig
    compares = True

    def compare(self, flags: list[str], overrides: list[str], words: list[str]) -> int:
        """Run the study, and print its table."""
        from gelora_cli.commands.budget_study import names_budgets, run_budget_study
        from gelora_cli.commands.studying import run_study
        from gelora_cli.launchers.torchrun import inside_workers

        if inside_workers():
            raise GeloraError("gelora tune starts processes itself: give launch.processes=N and leave torchrun out")
        if names_budgets(overrides):
            return run_budget_study(flags, overrides, words)
        return run_study(flags, overrides, words)

    def handle(self, config: TuneCommandConfig, paths: list[Path], typed: str) -> Outcome:
        """Refuse to run as a single job, which only a launcher of Hydra asks for.

        Raises:
            GeloraError: always.
        """
        raise GeloraError("gelora tune starts its trials itself: leave hydra/launcher out, and give launch.parallel=N")
