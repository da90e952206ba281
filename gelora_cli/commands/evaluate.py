"""`gelora evaluate`: a finished run's adapter, scored again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from gelora_cli.commands.base import Command, Positional, user_path
from gelora_cli.commands.terminal import wrapped
from gelora_cli.config.keys import key, section
from gelora_cli.config.schema import DEBUG, FORCE_OUTPUT, WorkersConfig
from gelora_cli.core.registries import COMMANDS


@dataclass
class EvaluateCommandConfig:
    """The keys of `gelora evaluate RUN`."""

    launch: WorkersConfig = section(WorkersConfig, help="worker processes")
    output: str | None = key(None, help="also write the results to this JSON file", path=True, common=True)
    force: bool = key(False, help=FORCE_OUTPUT, common=True)
    debug: bool = key(False, help=DEBUG, common=True)


@COMMANDS.register
class Evaluate(Command[EvaluateCommandConfig]):
    """Score the adapter of a run on its evaluated splits."""

    name = "evaluate"
    summary = "evaluate a finished run again"
    examples = "  gelora evaluate RUN\n  gelora evaluate RUN launch.processes=2 output=results.json"
    keys = EvaluateCommandConfig
    groups: ClassVar[Mapping[str, str]] = {"launch": "local"}
    positional = Positional("RUN")
    launchable = True

    def handle(self, config: EvaluateCommandConfig, paths: list[Path], typed: str) -> None:
        """Score, print a line for each split, and write them where `output` asks for it."""
        from gelora_cli.commands.outputs import check_output, write_output
        from gelora_cli.core.codec import to_json
        from gelora_cli.pipeline.predict import EvaluationReport, evaluate

        if config.output:  # before the scoring, which may take minutes
            check_output(user_path(config.output), force=config.force, endings=(".json",), kinds="JSON")
        results = evaluate(paths[0].absolute(), config.launch.processes)
        for result in results:
            print(wrapped(f"{result.split}: {result.examples} examples  {result.in_words()}"))
            if result.remark:
                print(wrapped(result.remark))
        if config.output:
            write_output(user_path(config.output), to_json(EvaluationReport(results)), force=config.force)
