"""`gelora submit`: what the GLUE benchmark takes, from finished runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gelora_cli.commands.base import Command, Positional, check_values, output_directory, relative
from gelora_cli.config.keys import key, section
from gelora_cli.config.schema import DEBUG
from gelora_cli.core.registries import COMMANDS


@dataclass
class SubmitDataConfig:
    """Where a submission's test rows are; None: where each run's data was."""

    glue: str | None = key(
        None, help="hub id or directory of the test rows; null: where each run's data was", path=True, common=True
    )


@dataclass
class SubmitCommandConfig:
    """The keys of `gelora submit DIR...`."""

    output: str | None = key(
        None, help="the directory to write: eleven files, submission.zip, submission.json", path=True, common=True
    )
    choose: str | None = key(
        None,
        help="best: of several runs of a task, take the one with the largest value on the dev set",
        choices=("best",),
        common=True,
    )
    check_rows: bool = key(True, help="refuse another number of test rows than the benchmark's", common=True)
    fill_missing: bool = key(
        False, help="fill the files of tasks without a run with a constant in every line", common=True
    )
    data: SubmitDataConfig = section(SubmitDataConfig, help="where the test rows are")
    debug: bool = key(False, help=DEBUG, common=True)


@COMMANDS.register
class Submit(Command[SubmitCommandConfig]):
    """Answer the benchmark's test rows (see `submission`)."""

    name = "submit"
    summary = "write a submission to the GLUE benchmark"
    examples = """  gelora submit runs output=submission
  gelora submit runs/cola runs/mnli output=submission choose=best fill_missing=true data.glue=DIR"""
    keys = SubmitCommandConfig
    positional = Positional("DIR", many=True)

    def handle(self, config: SubmitCommandConfig, paths: list[Path], typed: str) -> None:
        """Predict, write, and print a line for each file."""
        from gelora_cli.commands.submission import submit, summary
        from gelora_cli.config.paths import local_or_hub
        from gelora_cli.core.logs import setup_logging

        check_values(config)
        target = output_directory(config.output)
        setup_logging()
        submission = submit(
            paths,
            target,
            glue=config.data.glue and local_or_hub(config.data.glue),
            choose=config.choose,
            check_rows=config.check_rows,
            fill_missing=config.fill_missing,
        )
        print(summary(submission, relative(target)))
