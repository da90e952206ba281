"""`gelora submit`: what the GLUE benchmark takes, from finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gelora_cli.commands.base import Command, Positional, check_values, output_directory, relative
from gelora_cli.commands.registry import COMMANDS

if TYPE_CHECKING:
    from gelora_cli.config.schema import SubmitCommandConfig


@COMMANDS.register
class Submit(Command["SubmitCommandConfig"]):
    """Answer the benchmark's test rows (see `submission`)."""

    name = "submit"
    summary = "a submission to the GLUE benchmark from finished runs"
    examples = """  gelora submit runs output=submission
  gelora submit runs/cola runs/mnli output=submission choose=best fill_missing=true data.glue=DIR"""
    schema = "submit"
    positional = Positional("DIR", many=True)

    def handle(self, config: SubmitCommandConfig, paths: list[Path], typed: str) -> None:
        """Predict, write, and print a line for each file."""
        from gelora_cli.commands.submission import submit, summary
        from gelora_cli.config.paths import local_or_hub
        from gelora_cli.core.runtime import setup_logging

        check_values(config)
        target = output_directory(config.output)
        setup_logging()
        written = submit(
            paths,
            target,
            glue=config.data.glue and local_or_hub(config.data.glue),
            choose=config.choose,
            check_rows=config.check_rows,
            fill_missing=config.fill_missing,
        )
        print(summary(written, relative(target)))
