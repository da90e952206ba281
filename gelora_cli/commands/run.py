"""`gelora run`: all stages, from the model and the data to a result."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from gelora_cli.commands.base import RunCommand, is_sweep
from gelora_cli.config.schema import RunConfig
from gelora_cli.core.registries import COMMANDS

if TYPE_CHECKING:
    from gelora_cli.launchers.job import Outcome


@COMMANDS.register
class Run(RunCommand[RunConfig]):
    """Profile, assign ranks, fine-tune, evaluate."""

    name = "run"
    summary = "the whole run: profile, ranks, fine-tuning, evaluation"
    examples = """  gelora run experiment=demo
  gelora run task=cola budget=0.3M
  gelora run task=cola model=minilm data.glue=DIR budget=0.05M launch.processes=2
  gelora run task=text data.text=reviews.csv 'task.columns=[review]' task.label=sentiment model=minilm budget=0.1M
  gelora run task=instruct data.instruct=train.jsonl model.path=DIR budget=rank:8   # a decoder, on prompts
  gelora run -m task=cola,rte budget=0.1M,0.3M seed=0,1,2
  gelora run task=rte model=minilm init_from=RUN        # start from the adapter of RUN, merged into the same base"""
    keys = RunConfig
    launchable = True
    sweepable = True
    writes_run = True

    def handle(self, config: RunConfig, paths: list[Path], typed: str) -> Outcome:
        """Run every stage that is not done, and print where the results are."""
        return run_and_report(config, typed, measure=True)


def run_and_report(config: RunConfig, typed: str, *, measure: bool) -> Outcome:
    """Run, or with `dry_run` estimate, and print what came of it.

    Args:
        config: the composed configuration.
        typed: the command as it was typed.
        measure: whether to measure a profile where there is none; `gelora train` does not.
    """
    from gelora_cli.commands.run_summary import run_summary
    from gelora_cli.core.logs import setup_logging
    from gelora_cli.launchers.job import Outcome
    from gelora_cli.pipeline.dry_run import estimate
    from gelora_cli.pipeline.run import run

    setup_logging()
    if config.dry_run:
        text, cost = estimate(config, measure=measure, show=lambda forecast: print(forecast, flush=True))
        print(text)
        return Outcome(0, cost=None if cost is None else asdict(cost))
    finished = run(config, typed, measure=measure)
    print(run_summary(finished, wants_track=config.profile.track, sweeping=is_sweep(typed)))
    return Outcome(
        0,
        str(finished.directory),
        value=finished.result.value,
        already_done=finished.already_done,
        linked=finished.same_as is not None,
    )
