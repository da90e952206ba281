"""`gelora tune`: the same number of trials for every method, so that a comparison is one of methods."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from gelora_cli.commands.base import Command
from gelora_cli.config.keys import key, section
from gelora_cli.config.schema import LARGEST_SEED, RunConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import COMMANDS

if TYPE_CHECKING:
    from gelora_cli.launchers.job import Outcome

SAMPLERS = ("sobol", "tpe")


@dataclass
class TuneConfig:
    """How learning rates and other settings are searched."""

    trials: int = key(16, help="runs for each method", low=1, high=10_000, identity=False, common=True)
    holdout: float = key(
        0.1,
        help="share of the training rows that trials are scored on and not trained on",
        above=0,
        high=0.5,
        identity=False,
        common=True,
    )
    sampler: str = key(
        "sobol",
        help="points that fill the space evenly, the same for all methods; tpe: proposals from the values so far",
        choices=SAMPLERS,
        identity=False,
        common=True,
    )
    seed: int = key(0, help="what the points are drawn by", low=0, high=LARGEST_SEED, identity=False)
    space: str | None = key(
        None,
        help="a YAML file with the searched keys, in place of those of each method",
        path=True,
        identity=False,
        common=True,
    )
    widen: int = key(
        1,
        help="how often ranges are made wider, for all methods, while a best value lies on their edge",
        low=0,
        high=10,
        identity=False,
    )


@dataclass
class TuneCommandConfig(RunConfig):
    """The keys of a run, and how it is tuned."""

    tune: TuneConfig = section(TuneConfig, help="how learning rates and other settings are searched")

    @property
    def run_config(self) -> RunConfig:
        """The keys of a run alone, which are what is frozen and hashed."""
        return RunConfig(**{item.name: getattr(self, item.name) for item in fields(RunConfig)})


@COMMANDS.register
class Tune(Command[TuneCommandConfig]):
    """Search the learning rate and other settings of several methods, with as many trials for each."""

    name = "tune"
    summary = "search learning rates and other settings, with the same number of trials for every method"
    examples = """  gelora tune task=sst2 model=minilm method=gelora,lora,adalora,sora budget=0.15M data.glue=DIR
  gelora tune task=cola model=minilm method=gelora method.variant=lora,dora budget=0.1M tune.trials=8 data.glue=DIR
  gelora tune task=sst2 model=minilm method=gelora,lora budget=0.1M data.glue=DIR dry_run=true   # hours, no run"""
    keys = TuneCommandConfig
    compares = True

    def with_defaults(self, config: TuneCommandConfig) -> TuneCommandConfig:
        """Return the configuration with the names of its task and the training settings of its preset."""
        from gelora_cli.config.complete import with_task
        from gelora_cli.config.presets import with_presets

        return with_presets(with_task(config))

    def sweep(self, flags: list[str], overrides: list[str], words: list[str]) -> int:
        """Run the study, and print its table."""
        from gelora_cli.commands.studying import run_study

        return run_study(flags, overrides, words)

    def handle(self, config: TuneCommandConfig, paths: list[Path], typed: str) -> Outcome:
        """Refuse to run as a single job, which only a launcher of Hydra asks for.

        Raises:
            GeloraError: always.
        """
        raise GeloraError("gelora tune starts its trials itself: leave hydra/launcher out, and give launch.parallel=N")
