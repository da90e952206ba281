"""`gelora run`: all stages, from the model and the data to a result."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from gelora_cli.commands.base import Command, relative
from gelora_cli.config.schema import RunConfig
from gelora_cli.core.registries import COMMANDS

if TYPE_CHECKING:
    from gelora_cli.launchers.job import Outcome
    from gelora_cli.pipeline.run import FinishedRun


@COMMANDS.register
class Run(Command[RunConfig]):
    """Profile, assign ranks, fine-tune, evaluate."""

    name = "run"
    summary = "profile, assign ranks, fine-tune, evaluate: all stages"
    examples = """  gelora run experiment=demo
  gelora run task=cola budget=0.3M
  gelora run task=cola model=minilm data.glue=DIR budget=0.05M launch.processes=2
  gelora run task=text data.text=reviews.csv 'task.columns=[review]' task.label=sentiment model=minilm budget=0.1M
  gelora run -m task=cola,rte budget=0.1M,0.3M seed=0,1,2
  gelora run task=rte init_from=RUN                     # start from the adapter of RUN, merged into the base"""
    keys = RunConfig
    launchable = True
    sweepable = True

    def with_defaults(self, config: RunConfig) -> RunConfig:
        """Return the configuration with the names of its task and the training settings of its preset."""
        from gelora_cli.config.complete import with_task
        from gelora_cli.config.presets import with_presets

        return with_presets(with_task(config))

    def run_directory(self, config: RunConfig) -> Path:
        """Return the directory that model, data and configuration give a run."""
        from gelora_cli.pipeline.inputs import directory_of

        return directory_of(config)

    def handle(self, config: RunConfig, paths: list[Path], typed: str) -> Outcome:
        """Run every stage that is not done, and print where the results are."""
        return run_and_report(config, typed, measure=True)


def run_and_report(config: RunConfig, typed: str, *, measure: bool) -> Outcome:
    """Run, or with `dry_run` estimate, and print what came of it; `measure` takes a profile where there is none."""
    from gelora_cli.core.logs import setup_logging
    from gelora_cli.launchers.job import Outcome
    from gelora_cli.pipeline.dry_run import estimate
    from gelora_cli.pipeline.run import run

    setup_logging()
    if config.dry_run:
        text, cost = estimate(config, measure=measure)
        print(text)
        return Outcome(0, cost=asdict(cost))
    outcome = run(config, typed, measure=measure)
    _print_outcome(outcome, track=config.profile.track)
    return Outcome(
        0,
        str(outcome.directory),
        value=outcome.value,
        already_done=outcome.already_done,
        linked=outcome.same_as is not None,
    )


def _print_outcome(outcome: FinishedRun, *, track: bool) -> None:
    """Print the value of a run, and the files that a reader wants to open."""
    from gelora_cli.core.run_files import TRACK

    directory = relative(outcome.directory)
    if outcome.already_done:
        print(f"done before, nothing to do (force=true does it again): {directory}")
    if outcome.same_as:
        same = relative(outcome.same_as)
        print(f"not trained: it has the ranks of {same}, so it is the same run (force=true trains it all the same)")
    print(f"{outcome.reported}: {outcome.value:.4f}", *outcome.remarks, sep="\n")
    print(f"results:  {directory / 'result.json'}\ncard:     {directory / 'README.md'}")
    if (outcome.already_done or outcome.same_as) and track and not (outcome.directory / TRACK).exists():
        print("it was not tracked: profile.track=true with force=true does it again, with the same numbers")
    for picture in ("profile.png", "ranks.png", TRACK):
        if (outcome.directory / picture).exists():
            print(f"picture:  {directory / picture}")
