"""`gelora tune`: the same number of trials for every method, so that a comparison is one of methods."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from gelora_cli.commands.base import Command
from gelora_cli.commands.tune_keys import TuneConfig
from gelora_cli.config.keys import section
from gelora_cli.config.schema import RunConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import COMMANDS

if TYPE_CHECKING:
    from gelora_cli.launchers.job import Outcome


@dataclass
class TuneCommandConfig(RunConfig):
    """The keys of a run, and how it is tuned."""

    tune: TuneConfig = section(TuneConfig, help="how learning rates and other settings are searched")

    @property
    def run_config(self) -> RunConfig:
        """Return the keys of a run alone, which are what is frozen and hashed."""
        return RunConfig(**{item.name: getattr(self, item.name) for item in fields(RunConfig)})


@COMMANDS.register
class Tune(Command[TuneCommandConfig]):
    """Search the learning rate and other settings of several methods, with as many trials for each."""

    name = "tune"
    summary = "search learning rates and other settings, with the same number of trials for every method"
    examples = """  gelora tune task=sst2 model=minilm method=gelora,lora,adalora,sora budget=0.15M data.glue=DIR
  gelora tune task=cola model=minilm method=gelora method.variant=lora,dora budget=0.1M tune.trials=8 data.glue=DIR
  gelora tune task=sst2 model=minilm method=gelora,lora budget=0.1M data.glue=DIR dry_run=true   # hours, no run
  gelora tune task=sst2 model=minilm method=gelora 'tune.budgets=[0.05M,0.1M,0.3M]' data.glue=DIR  # how large a rank"""
    keys = TuneCommandConfig
    compares = True

    def with_defaults(self, config: TuneCommandConfig) -> TuneCommandConfig:
        """Return the configuration with the names of its task and the training settings of its preset."""
        from gelora_cli.config.complete import with_task
        from gelora_cli.config.presets import with_presets

        return with_presets(with_task(config))

    def compare(self, flags: list[str], overrides: list[str], words: list[str]) -> int:
        """Run the study, and print its table."""
        from gelora_cli.commands.budget_study import names_budgets, run_budget_study
        from gelora_cli.commands.studying import run_study

        if names_budgets(overrides):
            return run_budget_study(flags, overrides, words)
        return run_study(flags, overrides, words)

    def handle(self, config: TuneCommandConfig, paths: list[Path], typed: str) -> Outcome:
        """Refuse to run as a single job, which only a launcher of Hydra asks for.

        Raises:
            GeloraError: always.
        """
        raise GeloraError("gelora tune starts its trials itself: leave hydra/launcher out, and give launch.parallel=N")
